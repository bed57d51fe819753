package house

import (
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

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const root = "../../.."

// importsOf returns the imports of each package, without those of tests.
func importsOf(t *testing.T) map[string][]string {
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || strings.HasPrefix(name, ".") && path != root) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			out[dir] = append(out[dir], p)
		}
		if _, seen := out[dir]; !seen {
			out[dir] = nil
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

func TestImportsGoDownwards(t *testing.T) {
	t.Parallel()
	require.Empty(t, violations(importsOf(t)))
}

// The search finds violations.
func TestViolationsAreFound(t *testing.T) {
	t.Parallel()
	imports := importsOf(t)
	imports["tasks"] = append(imports["tasks"], module+"worker")
	imports["tasks"] = append(imports["tasks"], "github.com/hibiken/asynq")
	imports["tasks/trail"] = append(imports["tasks/trail"], "github.com/redis/go-redis/v9", module+"tasks")
	imports["worker/policy"] = append(imports["worker/policy"], "golang.org/x/textual/norm", "github.com/hibiken/asynq/x/rate")
	imports["attic"] = nil
	delete(imports, "worker")
	require.Equal(t, []string{
		"package attic is not in the table",
		"package worker is in the table and does not exist",
		"tasks must not import github.com/hibiken/asynq",
		"tasks must not import worker",
		"tasks/trail must not import github.com/redis/go-redis/v9",
		"tasks/trail must not import tasks",
		"worker/policy must not import github.com/hibiken/asynq/x/rate",
		"worker/policy must not import golang.org/x/textual/norm",
	}, violations(imports))
}

func TestTopLevelStaysAsItIs(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !generated(name) {
			require.True(t, slices.Contains(topLevel, name), "%s does not belong at the top level", name)
		}
	}
}

// generated reports whether make creates a file at the top level; git ignores it.
func generated(name string) bool { return name == "bin" || name == "bench.json" || name == "artifacts" }

// CI and the container use the Go version of go.mod, and CI runs what make check runs.
func TestCIRunsWhatMakeCheckRuns(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		return string(text)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read("go.mod"))[1]
	ci := read(".github/workflows/ci.yml")
	require.Contains(t, ci, "container: golang:"+version+"\n")
	require.Contains(t, read("deploy/Dockerfile"), "FROM golang:"+version+" ")
	require.NoError(t, yaml.Unmarshal([]byte(ci), &map[string]any{}))
	require.Contains(t, ci, "- run: .ci/run\n")
	require.Contains(t, ci, "with: {fetch-depth: 0} ", "TestRollingUpgrade builds an earlier commit")
	require.Regexp(t, `(?m)^check:.*\n\t@\.ci/run\n`, read("Makefile"))
}
