package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// public are the packages that importers, or tests, use. Their examples, and whatever else
// is in package x_test, count as users of what they export.
var public = []string{"tasks/redistest", "tasks", "tasks/cron", "tasks/api", "tasks/producer", "apiclient", "apiclient/fakecloud", "worker"}

// calledByOthers are methods that the standard library and go-redis call.
var calledByOthers = []string{"Error", "Is", "Unwrap", "String", "MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON", "UnmarshalJSONFrom", "ScanRedis", "Write", "ServeHTTP", "ProcessTask", "RoundTrip", "Close", "Less", "Len", "Swap", "Set", "Type", "Read", "LogValue", "MarshalZerologObject", "Format", "GoString"}

// goFiles parses every Go file, by directory.
func goFiles(t *testing.T) map[string][]*ast.File {
	t.Helper()
	out := map[string][]*ast.File{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		f.Comments = nil
		if strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(f.Name.Name, "_test") {
			f.Name.Name += "_internal"
		}
		out[filepath.ToSlash(dir)] = append(out[filepath.ToSlash(dir)], f)
		return err
	})
	require.NoError(t, err)
	return out
}

// exported lists what a package exports, each with the names that stand for it: itself,
// methods as ".Name", the others of a block of typed constants. What stands in the
// signature of something exported is not listed: it is used with that.
func exported(files []*ast.File) map[string][]string {
	out := map[string][]string{}
	signed := map[string]bool{}
	sign := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				signed[id.Name] = true
			}
			return true
		})
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name.Name, "_test") || strings.HasSuffix(f.Name.Name, "_internal") {
			continue
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if !d.Name.IsExported() {
					continue
				}
				sign(d.Type)
				if d.Recv == nil {
					out[d.Name.Name] = []string{d.Name.Name}
				} else if !slices.Contains(calledByOthers, d.Name.Name) {
					out["."+d.Name.Name] = []string{"." + d.Name.Name}
				}
			case *ast.GenDecl:
				var block []string
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							out[s.Name.Name] = []string{s.Name.Name}
							sign(s.Type)
						}
					case *ast.ValueSpec:
						for _, n := range s.Names {
							block = append(block, n.Name)
							if n.IsExported() {
								out[n.Name] = []string{n.Name}
								if s.Type != nil {
									sign(s.Type)
								}
							}
						}
					}
				}
				if d.Tok == token.CONST && typed(d) {
					for _, n := range block {
						if out[n] != nil {
							out[n] = block
						}
					}
				}
			}
		}
	}
	maps.DeleteFunc(out, func(name string, _ []string) bool { return signed[name] })
	return out
}

// typed reports that constants belong together: a block of several is one list of values.
func typed(d *ast.GenDecl) bool {
	return len(d.Specs) > 1
}

// An exported name is a promise: it has a user outside of its package. By its spelling
// alone: a method counts as used where any method or field of that name is.
func TestWhatIsExportedIsUsedElsewhere(t *testing.T) {
	t.Parallel()
	files := goFiles(t)
	var unused []string
	for dir, own := range files {
		if strings.HasPrefix(dir, "cmd/") {
			continue
		}
		used := map[string]bool{}
		use := func(f *ast.File) {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					used[s.Sel.Name], used["."+s.Sel.Name] = true, true
				}
				return true
			})
		}
		for other, fs := range files {
			for _, f := range fs {
				if other != dir || strings.HasSuffix(f.Name.Name, "_test") && slices.Contains(public, dir) {
					use(f)
				}
			}
		}
		for name, stand := range exported(own) {
			if !slices.ContainsFunc(stand, func(n string) bool { return used[n] }) {
				unused = append(unused, dir+": "+name)
			}
		}
	}
	slices.Sort(unused)
	require.Empty(t, unused)
}

// A value of package tasks says the same however it came, from Redis or as JSON: no
// exported struct has a field that JSON omits.
func TestWordsSurviveJSON(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, f := range goFiles(t)["tasks"] {
		if strings.HasSuffix(f.Name.Name, "_test") || strings.HasSuffix(f.Name.Name, "_internal") {
			continue
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				ts, ok := s.(*ast.TypeSpec)
				if !ok || !ts.Name.IsExported() {
					continue
				}
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				seen++
				for _, field := range st.Fields.List {
					for _, n := range field.Names {
						require.True(t, n.IsExported(), "%s.%s is lost on the way", ts.Name.Name, n.Name)
					}
					if field.Tag != nil {
						tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
						require.NotEqual(t, "-", tag.Get("json"), "a field of %s is lost on the way", ts.Name.Name)
					}
				}
			}
		}
	}
	require.Greater(t, seen, 20)
}
