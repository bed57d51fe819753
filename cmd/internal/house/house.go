// Package house holds the rules of the layout: which package may import which,
// and what stands at the top level. Its test keeps them; nothing imports it.
package house

import (
	"fmt"
	"slices"
	"strings"
)

// module is the path that our own imports begin with.
const module = "github.com/detachd/detachd/"

// table says which of our packages a package may import. A package that is not
// here may not exist.
var table = map[string][]string{
	"apiclient":              {"apiclient/desktopid"},
	"apiclient/desktopid":    {},
	"apiclient/fakecloud":    {},
	"tasks":                  {"apiclient/desktopid", "tasks/queue", "tasks/trail"},
	"tasks/queue":            {},
	"tasks/trail":            {},
	"tasks/redistest":        {},
	"tasks/redisfault":       {},
	"tasks/api":              {"tasks"},
	"worker":                 {"tasks", "tasks/queue", "tasks/redisfault", "tasks/trail", "apiclient", "worker/policy"},
	"worker/policy":          {"apiclient"},
	"deploy":                 {},
	"cmd/internal/config":    {"apiclient", "tasks/redisfault"},
	"cmd/internal/app":       {"tasks", "apiclient", "apiclient/fakecloud", "worker", "worker/policy", "cmd/internal/config"},
	"cmd/internal/report":    {"tasks", "tasks/trail"},
	"cmd/internal/access":    {"apiclient"},
	"cmd/internal/leavers":   {"tasks", "tasks/api"},
	"cmd/internal/when":      {},
	"cmd/internal/metrics":   {"tasks", "worker", "worker/policy"},
	"cmd/internal/server":    {"tasks", "tasks/api", "tasks/redisfault", "apiclient", "worker/policy", "cmd/internal/access", "cmd/internal/app", "cmd/internal/leavers", "cmd/internal/report"},
	"cmd/internal/dashboard": {"tasks", "tasks/api", "tasks/redisfault", "cmd/internal/access", "cmd/internal/leavers", "cmd/internal/report", "cmd/internal/server", "cmd/internal/when"},
	"cmd/internal/cli":       {"tasks", "tasks/api", "tasks/redisfault", "apiclient", "apiclient/fakecloud", "worker", "worker/policy", "deploy", "cmd/internal/config", "cmd/internal/app", "cmd/internal/report", "cmd/internal/access", "cmd/internal/leavers", "cmd/internal/metrics", "cmd/internal/server", "cmd/internal/dashboard", "cmd/internal/when"},
	"cmd/internal/bench":     {"tasks", "tasks/queue", "tasks/redistest", "apiclient", "apiclient/fakecloud", "worker", "cmd/internal/access", "cmd/internal/app", "cmd/internal/config", "cmd/internal/dashboard", "cmd/internal/server"},
	"cmd/internal/chaos":     {"tasks", "tasks/trail", "tasks/redistest", "apiclient/fakecloud", "cmd/internal/drill"},
	"cmd/internal/load":      {"tasks", "tasks/api", "tasks/redistest", "apiclient/fakecloud", "cmd/internal/drill"},
	"cmd/internal/ha":        {"tasks", "tasks/queue", "tasks/api", "tasks/redistest", "apiclient/fakecloud", "cmd/internal/drill"},
	"cmd/internal/drill":     {},
	"cmd/internal/house":     {},
	"cmd/detachd":            {"cmd/internal/cli"},
}

// topLevel is what may stand beside dot-files in the repository's root.
var topLevel = []string{
	"cmd", "worker", "tasks", "apiclient", "deploy", "docs", "README.md", "Makefile", "go.mod", "go.sum",
	"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "staticcheck.conf",
}

// violations holds the imports of each package, by path within the module,
// against the table.
func violations(imports map[string][]string) []string {
	var out []string
	for p, list := range imports {
		allowed, known := table[p]
		if !known {
			out = append(out, fmt.Sprintf("package %s is not in the table", p))
		}
		for _, i := range list {
			if ours, ok := strings.CutPrefix(i, module); ok && !slices.Contains(allowed, ours) {
				out = append(out, fmt.Sprintf("%s must not import %s", p, ours))
			}
		}
	}
	for p := range table {
		if _, exists := imports[p]; !exists {
			out = append(out, fmt.Sprintf("package %s is in the table and does not exist", p))
		}
	}
	slices.Sort(out)
	return out
}
