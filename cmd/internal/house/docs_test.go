package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

// files returns the repository's files whose names end in end, by their paths from the root.
func files(t *testing.T, end string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "artifacts"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, end):
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

var (
	fence   = regexp.MustCompile("(?ms)^[ \t]*```(\\w*)\n(.*?)^[ \t]*```[ \t]*$")
	span    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// prose returns a page without its fenced blocks.
func prose(page string) string { return fence.ReplaceAllString(page, "") }

// anchors returns the targets of links into a page, as GitHub derives them from headings.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(prose(page), -1) {
		text := linked.ReplaceAllString(strings.ReplaceAll(m[1], "`", ""), "$1")
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, text)
		name := slug
		for n := 1; out[name]; n++ {
			name = slug + "-" + strconv.Itoa(n)
		}
		out[name] = true
	}
	return out
}

// brokenLinks lists the links of pages whose target does not exist.
func brokenLinks(pages map[string]string, exists func(path string) bool) (broken []string) {
	for path, page := range pages {
		for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(prose(page), ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(path), target))
			}
			if !exists(to) || anchor != "" && !anchors(pages[to])[anchor] {
				broken = append(broken, path+": "+m[1])
			}
		}
	}
	slices.Sort(broken)
	return broken
}

func exists(path string) bool {
	_, err := os.Stat(filepath.Join(root, path))
	return err == nil
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	require.Empty(t, brokenLinks(files(t, ".md"), exists))
}

// The search finds broken links.
func TestBrokenLinksAreFound(t *testing.T) {
	t.Parallel()
	pages := map[string]string{
		"README.md": "# A `b` c!\n[x](docs/a.md#d--e) [x](#a-b-c) [x](docs/none.md) ![x](none.png) `[x](no.md)`\n" +
			"```\n# f\n[x](no.md)\n```\n[x](#f)\n",
		"docs/a.md": "## d -e\n## d -e\n[x](../README.md) [x](#d--e-1) [x](#d--e-2) [x](https://example.com/none)\n",
	}
	in := func(path string) bool { return pages[path] != "" }
	require.Equal(t, []string{"README.md: #f", "README.md: docs/none.md", "README.md: none.png", "docs/a.md: #d--e-2"}, brokenLinks(pages, in))
}

// Every page of docs is reached from README.
func TestEveryPageIsReached(t *testing.T) {
	t.Parallel()
	pages := files(t, ".md")
	reached, next := map[string]bool{}, []string{"README.md"}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if reached[path] || pages[path] == "" {
			continue
		}
		reached[path] = true
		for _, m := range link.FindAllStringSubmatch(prose(pages[path]), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			next = append(next, filepath.ToSlash(filepath.Join(filepath.Dir(path), target)))
		}
	}
	for path := range pages {
		require.True(t, reached[path] || strings.HasPrefix(path, "."), "no link leads from README to %s", path)
	}
}

// Go in README and docs is a copy of an example or other code that is compiled.
func TestGoInDocsIsCompiled(t *testing.T) {
	t.Parallel()
	flat := func(code string) string {
		lines := strings.Split(strings.TrimSpace(code), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		return strings.Join(lines, "\n")
	}
	var all strings.Builder
	for _, code := range files(t, ".go") {
		all.WriteString(flat(code))
	}
	n := 0
	for path, page := range files(t, ".md") {
		for _, m := range fence.FindAllStringSubmatch(page, -1) {
			if m[1] == "go" {
				require.True(t, strings.Contains(all.String(), flat(m[2])), "%s has Go that no Go file contains:\n%s", path, m[2])
				n++
			}
		}
	}
	require.Positive(t, n)
}

// Tests named in pages exist.
func TestTestsInDocsExist(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, code := range files(t, "_test.go") {
		all.WriteString(code)
	}
	named := regexp.MustCompile(`\bTest[A-Z]\w+`)
	for path, page := range files(t, ".md") {
		for _, name := range named.FindAllString(page, -1) {
			require.True(t, strings.Contains(all.String(), "func "+name+"("), "%s names %s", path, name)
		}
	}
}

// The diagram of states has exactly the arrows that the record allows.
func TestDiagramHasTheLegalMoves(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	require.NoError(t, err)
	drawn := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+): \w.*$`).FindAllStringSubmatch(string(page), -1) {
		require.False(t, drawn[m[1]+" "+m[2]], "%s is drawn twice", m[0])
		drawn[m[1]+" "+m[2]] = true
	}
	for _, from := range tasks.States {
		for _, to := range tasks.States {
			require.Equal(t, from.CanMove(to), drawn[from.String()+" "+to.String()], "docs/architecture.md, the arrow from %s to %s", from, to)
			delete(drawn, from.String()+" "+to.String())
		}
		require.True(t, strings.Contains(string(page), "\n| "+from.String()+" | "), "docs/architecture.md, the table of states has no %s", from)
	}
	require.Empty(t, drawn)
}

// Each alert links to its own section of the runbook.
func TestEveryAlertHasARunbook(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(filepath.Join(root, "deploy/helm/detachd/files/prometheus-rules.yaml"))
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs/runbook.md"))
	require.NoError(t, err)
	parts := regexp.MustCompile(`(?m)^  - alert: `).Split(string(rules), -1)
	require.Greater(t, len(parts), 10)
	for _, rule := range parts[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		section := "https://github.com/detachd/detachd/blob/main/docs/runbook.md#" + strings.ToLower(name)
		require.Contains(t, rule, "\n      runbook_url: "+section+"\n", name)
		require.True(t, strings.Contains(string(page), "\n### "+name+"\n"), "docs/runbook.md has no section %s", name)
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Detachd\w+)$`).FindAllStringSubmatch(string(page), -1) {
		require.True(t, strings.Contains(string(rules), "- alert: "+m[1]+"\n"), "docs/runbook.md has a section for an unknown alert %s", m[1])
	}
}

// keyOf returns the Redis key that a concatenation makes, with * for variable parts. ok is
// false if it does not begin with the prefix of all keys.
func keyOf(sum *ast.BinaryExpr) (key string, ok bool) {
	var parts func(e ast.Expr) string
	parts = func(e ast.Expr) string {
		switch x := e.(type) {
		case *ast.BinaryExpr:
			return parts(x.X) + parts(x.Y)
		case *ast.SelectorExpr:
			if x.Sel.Name == "prefix" {
				return "detachd"
			}
		case *ast.BasicLit:
			text, _ := strconv.Unquote(x.Value)
			return text
		}
		return "*"
	}
	key = parts(sum)
	return key, strings.HasPrefix(key, "detachd:")
}

// The table of keys has every key that code makes.
func TestDocsHaveEveryKey(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	require.NoError(t, err)
	documented := "detachd:PROJECT:QUEUE\n" // the name of a queue
	for _, m := range regexp.MustCompile("`(detachd:[^`]+)`").FindAllStringSubmatch(string(page), -1) {
		documented += m[1] + "\n"
	}
	made := 0
	for path, code := range files(t, ".go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, code, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(node ast.Node) bool {
			sum, isSum := node.(*ast.BinaryExpr)
			if !isSum {
				return true
			}
			key, ok := keyOf(sum)
			if ok {
				made++
				pattern := strings.ReplaceAll(regexp.QuoteMeta(key), `\*`, `[^:}]+`)
				if strings.HasSuffix(key, ":") || strings.HasSuffix(key, "}") { // more follows
					pattern += ".*"
				}
				if !regexp.MustCompile("(?m)^" + pattern + "$").MatchString(documented) {
					t.Errorf("%s makes the key %s, which docs/architecture.md does not have", path, key)
				}
			}
			return false
		})
	}
	require.Greater(t, made, 30)
}

// CONTRIBUTING describes each package.
func TestContributingHasEveryPackage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	require.NoError(t, err)
	for path := range table {
		require.True(t, strings.Contains(string(page), "`"+path+"`"), "CONTRIBUTING.md does not describe %s", path)
	}
}
