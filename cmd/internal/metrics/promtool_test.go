package metrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/tasks/redistest"
)

type rulesOf struct {
	Groups []ruleGroup `yaml:"groups"`
}

type ruleGroup struct {
	Name  string           `yaml:"name"`
	Rules []map[string]any `yaml:"rules"`
}

// promtool runs Prometheus' own checks on files of a directory.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		redistest.Missing(t, "promtool is not installed (on Debian: apt-get install prometheus, or `make test` as root)")
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// Prometheus refuses a whole file for one expression that it cannot parse, and then nobody is
// alerted of anything. Each alert of testdata/alerts.yaml fires when it should, and only then.
func TestAlertsInPrometheus(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/helm/detachd/files/prometheus-rules.yaml")
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name string, content any) {
		t.Helper()
		text, err := yaml.Marshal(content)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "as-shipped.yaml"), text, 0o600))
	promtool(t, dir, "check", "rules", "as-shipped.yaml")

	var rules rulesOf
	require.NoError(t, yaml.Unmarshal(text, &rules))
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			delete(r, "annotations") // promtool would compare them with the test's
		}
	}
	write("rules.yaml", rules)
	cases, err := os.ReadFile("testdata/alerts.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alerts.yaml"), cases, 0o600))
	promtool(t, dir, "test", "rules", "alerts.yaml")

	var played struct {
		Tests []struct {
			Asked []struct {
				Alert   string `yaml:"alertname"`
				Expects []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	require.NoError(t, yaml.Unmarshal(cases, &played))
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, x := range played.Tests {
		for _, a := range x.Asked {
			fires[a.Alert] = fires[a.Alert] || len(a.Expects) > 0
			quiet[a.Alert] = quiet[a.Alert] || len(a.Expects) == 0
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			require.True(t, fires[r["alert"].(string)], "no case in which %s fires", r["alert"])
			require.True(t, quiet[r["alert"].(string)], "no case in which %s does not fire", r["alert"])
		}
	}
}

// Prometheus understands what the panels of the dashboard ask for.
func TestGrafanaQueriesInPrometheus(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/helm/detachd/files/grafana-dashboard.json")
	require.NoError(t, err)
	var d grafana
	require.NoError(t, json.Unmarshal(text, &d))
	filled := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$project", ".*")
	group := ruleGroup{Name: "panels"}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			group.Rules = append(group.Rules, map[string]any{"record": "panel:query", "expr": filled.Replace(q.Expr), "labels": map[string]string{"panel": p.Title, "query": q.RefID}})
		}
	}
	require.NotEmpty(t, group.Rules)
	dir := t.TempDir()
	out, err := yaml.Marshal(rulesOf{[]ruleGroup{group}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "panels.yaml"), out, 0o600))
	promtool(t, dir, "check", "rules", "panels.yaml")
}
