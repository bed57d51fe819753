package house

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/cli"
	"github.com/detachd/detachd/tasks"
)

// help returns the help of a command and of all its subcommands.
func help(t *testing.T, command ...string) string {
	t.Helper()
	var out bytes.Buffer
	p := cli.Program{Stdout: &out, Stderr: &out, LookupEnv: func(string) (string, bool) { return "", false }}
	require.Zero(t, p.Run(t.Context(), append(command, "--help")), out.String())
	text := out.String()
	if !strings.Contains(text, "[command] --help") {
		return text // no subcommands
	}
	commands, _, _ := strings.Cut(text, "\nFlags:\n")
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) {2,}\S`).FindAllStringSubmatch(commands, -1) {
		text += help(t, append(command[:len(command):len(command)], m[1])...)
	}
	return text
}

// The surface uses the words that the glossary says it does, and every state and note is explained.
func TestGlossaryIsOfTheSurface(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		return string(text)
	}
	page := read("docs/glossary.md")
	surface := strings.ToLower(read("cmd/internal/server/openapi.yaml") + help(t))
	surface = strings.Join(strings.Fields(surface), " ")
	words, notes, ok := strings.Cut(page, "\n## Notes\n")
	require.True(t, ok)
	onSurface := func(word string) {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(strings.ToLower(word)) + `(s|es)?\b`).MatchString(surface) {
			t.Errorf("docs/glossary.md has %q, which neither openapi.yaml nor the help of a command has", word)
		}
	}
	n := 0
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \| (.+?) \| (.*?) ?\|$`).FindAllStringSubmatch(words, -1) {
		if word, bold := strings.CutPrefix(row[1], "**"); bold {
			onSurface(strings.TrimSuffix(word, "**"))
			n++
		}
		for _, name := range span.FindAllString(row[3], -1) {
			onSurface(strings.Trim(name, "`"))
		}
	}
	require.Greater(t, n, 15)
	for _, s := range tasks.States {
		require.True(t, strings.Contains(words, "`"+s.String()+"`"), "docs/glossary.md has no state %s", s)
	}
	for _, note := range tasks.Notes {
		row := "\n| `" + string(note) + "` | " + note.Text() + " | "
		require.True(t, strings.Contains(notes, row), "docs/glossary.md lacks the row %s", row)
	}
	require.Len(t, regexp.MustCompile("(?m)^\\| `").FindAllString(notes, -1), len(tasks.Notes))
}
