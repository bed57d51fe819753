package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks/redisfault"
)

// docs gives README, CONTRIBUTING and the pages of docs, by their paths.
func docs(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"../../../*.md", "../../../docs/*.md", "../../../docs/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			out[strings.TrimPrefix(path, "../../../")] = string(text)
		}
	}
	delete(out, "CHANGELOG.md") // of what was once
	require.Greater(t, len(out), 10)
	return out
}

var (
	docFence = regexp.MustCompile("(?ms)^[ \t]*```(\\w*)\n(.*?)^[ \t]*```[ \t]*$")
	docSpan  = regexp.MustCompile("`(detachd [^`\n]+)`")
)

// shell splits text into commands of words, as a shell would, and goes on within $(…),
// and within quotes that have a detachd command.
func shell(text string) (commands [][]string) {
	var words []string
	word, inWord := "", false
	endWord := func() {
		if inWord {
			words = append(words, word)
		}
		word, inWord = "", false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	rest := strings.ReplaceAll(text, "\\\n", " ")
	for len(rest) > 0 {
		c := rest[0]
		rest = rest[1:]
		switch {
		case c == '\'' || c == '"':
			quoted, after, _ := strings.Cut(rest, string(c))
			if strings.Contains(quoted, "detachd ") {
				commands = append(commands, shell(quoted)...)
			}
			word, inWord, rest = word+quoted, true, after
		case c == '$' && strings.HasPrefix(rest, "("):
			inner, after, _ := strings.Cut(rest[1:], ")")
			commands = append(commands, shell(inner)...)
			word, inWord, rest = word+"x", true, after
		case c == '#' && !inWord:
			_, rest, _ = strings.Cut(rest, "\n")
			endCommand()
		case c == '\\' && rest != "":
			word, inWord, rest = word+rest[:1], true, rest[1:]
		case strings.ContainsRune("\n|;&<>", rune(c)):
			endCommand()
		case c == ' ' || c == '\t':
			endWord()
		default:
			word, inWord = word+string(c), true
		}
	}
	endCommand()
	return commands
}

// ours gives the arguments of commands that run detachd, whatever stands before them.
func ours(text string) (out [][]string) {
	for _, words := range shell(text) {
		for i, w := range words {
			if words[0] == "redis-cli" || words[0] == "helm" {
				break // whose user, or release, is of that name
			}
			next := slices.Concat(words[i+1:], []string{""})[0]
			if filepath.Base(w) == "detachd" && next != "detachd" && !strings.HasPrefix(next, "=") {
				out = append(out, words[i+1:])
				break
			}
		}
	}
	return out
}

// parses says what the command line has against arguments. Those of a whole command must
// be as many as it takes.
func parses(args []string, whole bool) error {
	root := (&Program{LookupEnv: func(string) (string, bool) { return "", false }}).root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if !whole {
		for _, a := range rest {
			if name, isFlag := strings.CutPrefix(a, "--"); isFlag {
				if name, _, _ = strings.Cut(name, "="); cmd.Flag(name) == nil {
					return fmt.Errorf("%s has no flag --%s", cmd.CommandPath(), name)
				}
			}
		}
		if cmd == root && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			return fmt.Errorf("there is no command %s", rest[0])
		}
		return nil
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if help, _ := cmd.Flags().GetBool("help"); help {
		return nil
	}
	if !cmd.Runnable() {
		return fmt.Errorf("%s unknown command", cmd.CommandPath())
	}
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return err
	}
	if cmd.Args == nil {
		return nil
	}
	return cmd.Args(cmd, cmd.Flags().Args())
}

// Every detachd command in README and docs parses: in fences whole, in the text its
// name and flags.
func TestCommandsInDocsParse(t *testing.T) {
	t.Parallel()
	prompt := regexp.MustCompile(`(?m)^\$ ((?:.*\\\n)*.*)$`)
	n := 0
	for path, page := range docs(t) {
		for _, m := range docFence.FindAllStringSubmatch(page, -1) {
			text := m[2]
			switch m[1] {
			case "console":
				lines := ""
				for _, l := range prompt.FindAllStringSubmatch(text, -1) {
					lines += l[1] + "\n"
				}
				text = lines
			case "go", "yaml", "mermaid", "json":
				continue
			}
			for _, args := range ours(text) {
				if strings.Contains(m[2], "──") {
					continue // a drawing
				}
				require.NoError(t, parses(args, true), "%s: detachd %s", path, strings.Join(args, " "))
				n++
			}
		}
		for _, m := range docSpan.FindAllStringSubmatch(docFence.ReplaceAllString(page, ""), -1) {
			for _, args := range ours(m[1]) {
				require.NoError(t, parses(args, false), "%s: detachd %s", path, strings.Join(args, " "))
				n++
			}
		}
	}
	require.Greater(t, n, 50)
}

// What does not parse is found.
func TestCommandsThatDoNotParseAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"detachd detach --project hq --user zoe --wait":                                       "",
		"report | bin/detachd detach --file - --at '2026-11-30 18:00' # later":                "",
		"KEY=$(detachd keys create --name hr --role producer)":                                "",
		"0 18 * * 1-5  detachd  detachd detach --file x.csv":                                  "",
		"ExecStart=/bin/sh -c 'exec /usr/local/bin/detachd detach --fil x.csv'":               "unknown flag: --fil",
		"KEY=$(detachd keys creat)":                                                           "unknown command",
		"detachd detatch --file x.csv":                                                        `unknown command "detatch"`,
		"detachd detach \\\n  --projekt hq":                                                   "unknown flag: --projekt",
		"detachd status":                                                                      "OPERATION is missing",
		"true && detachd redrive start --per-second fast":                                     "invalid argument",
		"cat x.csv | sudo -u hr detachd dismiss --code NOT_FOUND --confirm 12 --reason 'x;y'": "",
	} {
		commands := ours(text)
		require.Len(t, commands, 1, text)
		err := parses(commands[0], true)
		if want == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
	require.Error(t, parses([]string{"retry", "OP", "--holds"}, false))
	require.Error(t, parses([]string{"retries"}, false))
	require.NoError(t, parses([]string{"retry", "--held"}, false))
}

// docs/cli.md has every command.
func TestDocsHaveEveryCommand(t *testing.T) {
	t.Parallel()
	page := docs(t)["docs/cli.md"]
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if c.Hidden || c.Name() == "help" {
				continue
			}
			if !c.HasAvailableSubCommands() {
				name := strings.TrimPrefix(c.CommandPath(), "detachd ")
				require.Regexp(t, "(?m)^\\|.*`"+name+"[` ].*\\|$", page, "the table of commands has no %s", name)
			}
			walk(c)
		}
	}
	walk((&Program{}).root())
}

// docs/runbook.md has a section for every failure code, and for no other, and a row for
// every code and class that the other tables have.
func TestRunbookHasEveryCode(t *testing.T) {
	t.Parallel()
	page := docs(t)["docs/runbook.md"]
	_, page, _ = strings.Cut(page, "\n## Failure codes\n")
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#{3,4} ([A-Z0-9._, ]+)$`).FindAllStringSubmatch(page, -1) {
		for code := range strings.SplitSeq(m[1], ", ") {
			require.False(t, sections[code], "%s has two sections", code)
			sections[code] = true
		}
	}
	known := map[string]bool{}
	v := server.Codes(nil)
	for _, c := range v.Codes {
		known[c.Code] = true
	}
	for _, r := range v.Readings {
		known[r.Code] = true
	}
	delete(known, "")
	for code := range known {
		require.True(t, sections[code], "docs/runbook.md has no section %s", code)
	}
	for code := range sections {
		require.True(t, known[code], "docs/runbook.md has a section of a code %s that does not exist", code)
	}
	for _, c := range v.Classes {
		require.Regexp(t, "(?m)^\\|.*`"+c.Class+"`", page)
	}
	for _, f := range redisfault.All() {
		require.Regexp(t, "(?m)^\\| `"+f.Code+"` \\|", page)
	}
}
