package house

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// aboutWords are the files that have to contain the words.
var aboutWords = []string{"cmd/internal/house/words_test.go", "docs/style.md"}

// rule refuses what its expression matches, unless a group named ok… takes part.
type rule struct {
	re  *regexp.Regexp
	use string
}

// rules are the words that docs/style.md replaces, each with what to write instead. A space
// in an expression is any white space, so a phrase is also found across lines.
var rules = func() (out []rule) {
	for _, r := range [][2]string{
		{`mend(s|ed|ing)?`, "fix, correct"},
		{`(un)?heed(s|ed|ing)?`, "respect, follow"},
		{`befalls?|befell|befallen|befalling`, "happens to"},
		{`(takes?|taken|taking|took) up(?P<ok> (to|as|space|memory))?`, "retry, requeue"},
		{`(?P<ok>(yet|still|have) )?(come|comes|coming|came) to`, "result in, process, reach"},
		{`rather not`, "Cancel"},
		{`(?P<ok>there )?is no ((?P<ok2>longer|more|less|different|better|worse|such)|\w+)`, "is not a …, invalid …"},
		{`as good as (none|new)`, "not found, like new"},
		{`velocity|velocities`, "rate"},
		{`hand(s|ed|ing)? over|handover`, "submit, pass"},
		{`troubles?|troubled|troubling`, "fault, problem"},
		{`deeds?`, "action"},
		{`left (alone|out)|(leave|leaves|leaving) (alone|out)`, "skipped, omitted"},
		{`of itself`, "by itself"},
		{`in the manner of`, "following"},
		{`(project's|projects'|its|open|closed?|closes) gates?`, "pause"},
		{`(?P<ok>next )?doors?`, "listener, entry point"},
		{`(?P<ok>all )?(is|are|be|get|gets|getting) well(?P<ok2> (below|above|within))?`, "recovered"},
		{`the tries`, "the attempts, the retries"},
		{`thereof|therein|hitherto|forthwith|whence|lest|naught|aught|whilst`, "present-day English"},
	} {
		out = append(out, rule{regexp.MustCompile(`(?i)\b(?:` + strings.ReplaceAll(r[0], " ", `\s+`) + `)\b`), r[1]})
	}
	return out
}()

// marks are what begins a line of a comment.
var marks = regexp.MustCompile(`(?m)^[ \t]*(//|#+|\*)`)

// readable returns the text that people read, line by line: comments and string literals of
// Go, and everything but comment marks of other files.
func readable(path, text string) string {
	if !strings.HasSuffix(path, ".go") {
		return marks.ReplaceAllString(text, "")
	}
	var out strings.Builder
	var s scanner.Scanner
	file := token.NewFileSet().AddFile(path, -1, len(text))
	s.Init(file, []byte(text), nil, scanner.ScanComments)
	for done := 0; ; {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return out.String()
		}
		if tok == token.COMMENT || tok == token.STRING {
			at := file.Offset(pos)
			out.WriteString(strings.Repeat("\n", strings.Count(text[done:at], "\n")) + " " + marks.ReplaceAllString(lit, ""))
			done = at + len(lit)
		}
	}
}

// badWords lists what the rules refuse in a file.
func badWords(path, text string) (out []string) {
	text = readable(path, text)
	for _, r := range rules {
	next:
		for _, m := range r.re.FindAllStringSubmatchIndex(text, -1) {
			for i, name := range r.re.SubexpNames() {
				if strings.HasPrefix(name, "ok") && m[2*i] >= 0 {
					continue next
				}
			}
			word := strings.Join(strings.Fields(text[m[0]:m[1]]), " ")
			out = append(out, fmt.Sprintf("%s:%d: %q: write %s", path, 1+strings.Count(text[:m[0]], "\n"), word, r.use))
		}
	}
	return out
}

// longLines lists the lines of a file that do not fit a window beside another.
func longLines(path, text string) (out []string) {
	const most = 140
	n := 0
	for line := range strings.Lines(text) {
		n++
		if length := utf8.RuneCountInString(strings.TrimRight(line, "\n")); length > most {
			out = append(out, fmt.Sprintf("%s:%d: %d characters: at most %d", path, n, length, most))
		}
	}
	return out
}

// written returns the files that people write, by their paths from the root.
func written(t *testing.T) map[string]string {
	t.Helper()
	ends := []string{".go", ".md", ".yaml", ".yml", ".html", ".css", ".js", ".service", ".conf"}
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == ".git" || name == "testdata" || path != root && generated(name)) {
			return filepath.SkipDir
		}
		known := slices.Contains(ends, filepath.Ext(name)) || name == "Makefile" || name == "Dockerfile" ||
			name == "CODEOWNERS" || filepath.Base(filepath.Dir(path)) == ".ci"
		if d.IsDir() || !known {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		out[filepath.ToSlash(rel)] = string(text)
		return err
	}))
	return out
}

// in reports whether a list has a path, or its directory.
func in(list []string, path string) bool {
	return slices.Contains(list, path) || slices.Contains(list, filepath.ToSlash(filepath.Dir(path)))
}

// report fails with one line for each finding.
func report(t *testing.T, findings []string) {
	t.Helper()
	slices.Sort(findings)
	if len(findings) > 0 {
		t.Errorf("%d findings; docs/style.md says why:\n%s", len(findings), strings.Join(findings, "\n"))
	}
}

func TestLinesFitAnEditor(t *testing.T) {
	t.Parallel()
	var bad []string
	for path, text := range files(t, ".go") {
		// A row of a test's table is easier to read on one line.
		if !strings.HasSuffix(path, "_test.go") {
			bad = append(bad, longLines(path, text)...)
		}
	}
	report(t, bad)
}

// The search finds words in comments and literals, across lines, and nowhere else.
func TestBadWordsAreFound(t *testing.T) {
	t.Parallel()
	code := "package a\n\n// Amend it. It is taken\n// up, and takes up to 100.\n" +
		"var velocity, mend = \"Mend it\", `what\nit came to` // there is no deed\n"
	require.ElementsMatch(t, []string{
		`a.go:3: "taken up": write retry, requeue`,
		`a.go:5: "Mend": write fix, correct`,
		`a.go:6: "came to": write result in, process, reach`,
		`a.go:6: "deed": write action`,
	}, badWords("a.go", code))
	require.Equal(t, []string{`a.yaml:1: "came to": write result in, process, reach`}, badWords("a.yaml", "# it came\n  # to: `x:gate`\n"))
	long := "// " + strings.Repeat("é", 137)
	require.Equal(t, []string{"a.go:2: 141 characters: at most 140"}, longLines("a.go", long+"\n"+long+"e\n"))
}
