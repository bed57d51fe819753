// Package house holds the rules of the layout: which package may import which of ours
// and which module, and what stands at the top level. Its test keeps them; nothing
// imports it.
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
	"apiclient":           {"apiclient/desktopid"},
	"apiclient/desktopid": {},
	"apiclient/fakecloud": {},
	"tasks":               {"apiclient/desktopid"},
	"tasks/api":           {"tasks"},
	"tasks/cron":          {},
	"tasks/producer":      {"tasks", "tasks/record"},
	"tasks/gather":        {},
	"tasks/queue":         {},
	"tasks/record":        {"tasks", "tasks/cron", "tasks/gather", "tasks/queue", "tasks/trail"},
	"tasks/redisfault":    {},
	"tasks/redistest":     {},
	"tasks/spans":         {"tasks"},
	"tasks/trail":         {},
	"worker": {"apiclient", "tasks", "tasks/cron", "tasks/gather", "tasks/queue", "tasks/record", "tasks/redisfault", "tasks/spans",
		"tasks/trail", "worker/policy"},
	"worker/policy":       {"apiclient", "tasks"},
	"deploy":              {},
	"cmd/internal/access": {"apiclient"},
	"cmd/internal/app": {
		"apiclient", "apiclient/fakecloud", "tasks", "tasks/record", "tasks/spans", "worker", "worker/policy", "cmd/internal/config",
		"cmd/internal/harmless", "cmd/internal/schedules", "cmd/internal/sources",
	},
	"cmd/internal/bench": {
		"apiclient", "apiclient/fakecloud", "tasks", "tasks/queue", "tasks/record", "tasks/redistest", "worker",
		"cmd/internal/access", "cmd/internal/app", "cmd/internal/config", "cmd/internal/dashboard", "cmd/internal/drill",
		"cmd/internal/schedules", "cmd/internal/server", "cmd/internal/sources",
	},
	"cmd/internal/chaos": {"apiclient/fakecloud", "tasks", "tasks/record", "tasks/redistest", "tasks/trail", "cmd/internal/drill"},
	"cmd/internal/cli": {
		"apiclient", "apiclient/fakecloud", "deploy", "tasks", "tasks/api", "tasks/record", "tasks/redisfault", "worker", "worker/policy",
		"cmd/internal/access", "cmd/internal/app", "cmd/internal/config", "cmd/internal/dashboard", "cmd/internal/harmless",
		"cmd/internal/leavers", "cmd/internal/metrics", "cmd/internal/report", "cmd/internal/server", "cmd/internal/sources",
		"cmd/internal/traces", "cmd/internal/when", "tasks/spans",
	},
	"cmd/internal/config": {"apiclient", "tasks", "tasks/cron", "tasks/record", "tasks/redisfault", "worker"},
	"cmd/internal/dashboard": {
		"tasks", "tasks/api", "tasks/redisfault", "cmd/internal/access", "cmd/internal/harmless", "cmd/internal/leavers", "cmd/internal/report",
		"cmd/internal/server", "cmd/internal/when",
	},
	"cmd/internal/drill": {"apiclient", "apiclient/fakecloud", "tasks", "tasks/api", "tasks/record", "tasks/redistest"},
	"cmd/internal/ha": {"apiclient/fakecloud", "tasks", "tasks/api", "tasks/queue", "tasks/record", "tasks/redistest",
		"cmd/internal/drill"},
	"cmd/internal/harmless":  {},
	"cmd/internal/house":     {},
	"cmd/internal/leavers":   {"tasks", "tasks/api"},
	"cmd/internal/load":      {"apiclient/fakecloud", "tasks", "tasks/api", "tasks/record", "tasks/redistest", "cmd/internal/drill"},
	"cmd/internal/metrics":   {"tasks", "tasks/record", "worker", "worker/policy"},
	"cmd/internal/npmtest":   {"tasks/redistest"},
	"cmd/internal/report":    {"tasks", "tasks/record", "tasks/trail", "cmd/internal/harmless", "cmd/internal/when"},
	"cmd/internal/schedules": {"tasks", "tasks/cron", "tasks/record", "tasks/spans", "cmd/internal/sources"},
	"cmd/internal/server": {
		"apiclient", "tasks", "tasks/api", "tasks/cron", "tasks/record", "tasks/redisfault", "tasks/spans", "worker/policy",
		"cmd/internal/access", "cmd/internal/app", "cmd/internal/harmless", "cmd/internal/leavers", "cmd/internal/report",
	},
	"cmd/internal/sources": {"apiclient", "tasks", "tasks/api", "tasks/record", "worker", "worker/policy", "cmd/internal/leavers"},
	"cmd/internal/traces":  {"tasks/spans"},
	"cmd/internal/when":    {"tasks"},
	"cmd/detachd":          {"cmd/internal/cli"},
}

// thirdParties says which of our packages may import which module; no other module may
// be imported, but by tests. A package that is in no row has the standard library only.
var thirdParties = map[string][]string{
	"github.com/alicebob/miniredis/v2":    {"tasks/redistest", "cmd/internal/app"},
	"github.com/cespare/xxhash/v2":        {"tasks/record"},
	"github.com/go-json-experiment/json":  {"apiclient", "cmd/internal/server"},
	"github.com/go-logr/logr":             {"cmd/internal/traces"},
	"github.com/hibiken/asynq":            {"tasks/queue", "worker", "cmd/internal/bench"},
	"github.com/netresearch/go-cron":      {"tasks/cron"},
	"github.com/prometheus/client_golang": {"cmd/internal/metrics"},
	"github.com/redis/go-redis/v9": {
		"tasks/producer", "tasks/queue", "tasks/record", "tasks/redisfault", "tasks/redistest", "worker", "cmd/internal/access",
		"cmd/internal/app", "cmd/internal/bench", "cmd/internal/chaos", "cmd/internal/cli", "cmd/internal/config",
		"cmd/internal/drill", "cmd/internal/load",
	},
	"github.com/rivo/uniseg": {"cmd/internal/cli"},
	"github.com/rs/xid":      {"tasks/record", "worker", "cmd/internal/app", "cmd/internal/server"},
	"github.com/rs/zerolog": {
		"worker", "cmd/internal/access", "cmd/internal/app", "cmd/internal/bench", "cmd/internal/cli", "cmd/internal/dashboard",
		"cmd/internal/schedules", "cmd/internal/server", "cmd/internal/traces",
	},
	"github.com/schollz/progressbar/v3": {"cmd/internal/cli"},
	"github.com/spf13/cobra":            {"cmd/internal/cli"},
	"github.com/spf13/pflag":            {"cmd/internal/cli"},
	"github.com/yuin/goldmark":          {"cmd/internal/server"},
	"go.opentelemetry.io/otel":          {"tasks/spans", "cmd/internal/traces"},
	"go.yaml.in/yaml/v3":                {"cmd/internal/config", "cmd/internal/server"},
	"golang.org/x/sync": {"cmd/internal/bench", "cmd/internal/chaos", "cmd/internal/dashboard", "cmd/internal/ha",
		"cmd/internal/load"},
	"golang.org/x/term": {"cmd/internal/cli"},
	"golang.org/x/text": {"tasks", "tasks/record", "worker", "worker/policy", "cmd/internal/leavers", "cmd/internal/sources"},
	"golang.org/x/time": {"cmd/internal/server"},
}

// mayImport says whether the tables let a package import a path.
func mayImport(p, path string) bool {
	if ours, ok := strings.CutPrefix(path, module); ok {
		return slices.Contains(table[p], ours)
	}
	if host, _, _ := strings.Cut(path, "/"); !strings.Contains(host, ".") {
		return true // the standard library
	}
	for m, users := range thirdParties {
		if (path == m || strings.HasPrefix(path, m+"/")) && slices.Contains(users, p) {
			return true
		}
	}
	return false
}

// topLevel is what may stand beside dot-files in the repository's root.
var topLevel = []string{
	"cmd", "worker", "tasks", "apiclient", "deploy", "docs", "README.md", "Makefile", "go.mod", "go.sum",
	"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "staticcheck.conf",
}

// violations holds the imports of each package, by path within the module,
// against the tables.
func violations(imports map[string][]string) []string {
	var out []string
	for p, list := range imports {
		if _, known := table[p]; !known {
			out = append(out, fmt.Sprintf("package %s is not in the table", p))
		}
		for _, i := range list {
			if !mayImport(p, i) {
				out = append(out, fmt.Sprintf("%s must not import %s", p, strings.TrimPrefix(i, module)))
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
