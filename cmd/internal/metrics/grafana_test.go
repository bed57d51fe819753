package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

var (
	series      = regexp.MustCompile(`(detachd_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher     = regexp.MustCompile(`^([a-z_]+)(=~|!=|=)"(.*)"$`)
	grouping    = regexp.MustCompile(`by \(([a-z, ]+)\)`)
	aggregation = regexp.MustCompile(`(max|min|sum)( by \([a-z, ]+\))? ?\((?:(?:increase|rate)\(|detachd_\S+ unless present_over_time\()?$`)
	legendLabel = regexp.MustCompile(`\{\{([^}]*)\}\}`)
	runbookLink = regexp.MustCompile(`\(https://github\.com/detachd/detachd/blob/main/docs/runbook\.md#([a-z0-9-]+)\)`)
	fqName      = regexp.MustCompile(`fqName: "([^"]+)"`)
)

// queries fails if an expression asks for a series, a label or a value that the binary does
// not have, or adds up what is the same in every process. It returns the number of series.
func queries(t *testing.T, families map[string]*dto.MetricFamily, where, expr string) int {
	t.Helper()
	require.Equal(t, strings.Count(expr, "("), strings.Count(expr, ")"), where)
	found := series.FindAllStringSubmatchIndex(expr, -1)
	require.NotEmpty(t, found, where)
	shared, grouped := ofTheRecord(), map[string]bool{}
	for _, at := range found {
		name, selector := expr[at[2]:at[3]], ""
		if at[4] >= 0 {
			selector = expr[at[4]:at[5]]
		}
		family := strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
		f := families[family]
		require.NotNil(t, f, "%s asks for %s", where, name)
		require.Equal(t, f.GetType() == dto.MetricType_HISTOGRAM, name != family, "%s: %s", where, name)
		labels := labelsOf(f)
		if strings.HasSuffix(name, "_count") {
			delete(labels, "le")
		}
		for _, m := range strings.FieldsFunc(selector, func(r rune) bool { return r == ',' }) {
			x := matcher.FindStringSubmatch(m)
			require.NotNil(t, x, "%s: %s", where, m)
			require.Contains(t, labels, x[1], "%s: %s", where, m)
			if strings.HasPrefix(x[3], "$") {
				continue
			}
			value := regexp.QuoteMeta(x[3])
			if x[2] == "=~" {
				value = strings.ReplaceAll(x[3], `\\`, `\`)
			}
			is := regexp.MustCompile("^(?:" + value + ")$").MatchString
			require.True(t, slices.ContainsFunc(labels[x[1]], is), "%s: no %s has %s", where, name, m)
		}
		by := aggregation.FindStringSubmatch(expr[:at[0]])
		require.NotNil(t, by, "%s: %s is not aggregated over the processes", where, name)
		require.Equal(t, shared[family], by[1] != "sum", "%s: %s of %s over the processes", where, by[1], name)
		for _, label := range groupedBy(by[2]) {
			require.Contains(t, labels, label, "%s: %s by %s", where, name, label)
			grouped[label] = true
		}
	}
	for _, label := range groupedBy(expr) {
		require.True(t, grouped[label], "%s: no series has the label %s there", where, label)
	}
	return len(found)
}

// groupedBy returns the labels by which an expression aggregates.
func groupedBy(expr string) (out []string) {
	for _, by := range grouping.FindAllStringSubmatch(expr, -1) {
		out = append(out, strings.Split(by[1], ", ")...)
	}
	return out
}

// labelsOf returns the labels of a family with their values.
func labelsOf(f *dto.MetricFamily) map[string][]string {
	out := map[string][]string{}
	for _, x := range f.Metric {
		for _, l := range x.Label {
			out[l.GetName()] = append(out[l.GetName()], l.GetValue())
		}
		for _, b := range x.GetHistogram().GetBucket() {
			out["le"] = append(out["le"], fmt.Sprint(b.GetUpperBound()))
		}
	}
	return out
}

// ofTheRecord has the metrics that are the same in every process.
func ofTheRecord() map[string]bool {
	all, out := make(chan *prometheus.Desc, 100), map[string]bool{}
	new(recordCollector).Describe(all)
	close(all)
	for d := range all {
		out[fqName.FindStringSubmatch(d.String())[1]] = true
	}
	return out
}

// grafana is what is read of a dashboard of Grafana.
type grafana struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type, Definition string
			Datasource             grafanaSource
		}
	}
	Panels []struct {
		ID                       int
		Type, Title, Description string
		Datasource               grafanaSource
		GridPos                  struct{ X, Y, W, H int }
		FieldConfig              struct{ Defaults struct{ Unit string } }
		Targets                  []struct {
			Datasource         grafanaSource
			RefID              string `json:"refId"`
			Expr, LegendFormat string
		}
	}
}

type grafanaSource struct{ Type, UID string }

// Each panel of the dashboard asks for series that exist, says what it shows, and has a place of its own.
func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/helm/detachd/files/grafana-dashboard.json")
	require.NoError(t, err)
	var d grafana
	require.NoError(t, json.Unmarshal(text, &d))
	require.Equal(t, "detachd", d.UID, "links to the dashboard have it")
	require.Positive(t, d.SchemaVersion)
	sections := runbookSections(t)
	rdb := redistest.Mini(t)
	m := afterARun(t, rdb)
	families, _ := page(t, m)
	chosen := grafanaSource{"prometheus", "${datasource}"}

	require.Len(t, d.Templating.List, 2)
	source, project := d.Templating.List[0], d.Templating.List[1]
	require.Equal(t, []string{"datasource", "datasource"}, []string{source.Name, source.Type})
	require.Equal(t, []string{"project", "query"}, []string{project.Name, project.Type})
	require.Equal(t, chosen, project.Datasource)
	require.Equal(t, 2, strings.Count(string(text), `"`+project.Definition+`"`), "the definition is the query")
	asks := regexp.MustCompile(`^label_values\((detachd_[a-z_]+), (project)\)$`).FindStringSubmatch(project.Definition)
	require.NotNil(t, asks, project.Definition)
	require.NotNil(t, families[asks[1]], asks[1])
	require.Contains(t, labelsOf(families[asks[1]]), asks[2])

	taken, ids, n := map[[2]int]string{}, map[int]bool{}, 0
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Title, "panel %d", p.ID)
		require.False(t, ids[p.ID], "%s: id %d is taken", p.Title, p.ID)
		ids[p.ID] = true
		g := p.GridPos
		require.True(t, g.X >= 0 && g.Y >= 0 && g.W > 0 && g.H > 0 && g.X+g.W <= 24, "%s is outside of the grid", p.Title)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s is on top of it", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		n++
		require.Contains(t, []string{"stat", "timeseries", "bargauge"}, p.Type, "%s: Grafana has it without a plugin", p.Title)
		require.NotEmpty(t, p.FieldConfig.Defaults.Unit, "%s: unit", p.Title)
		require.Equal(t, chosen, p.Datasource, p.Title)
		about := runbookLink.FindAllStringSubmatch(p.Description, -1)
		require.NotEmpty(t, about, "%s: the description says nothing, or leads nowhere: %s", p.Title, p.Description)
		require.NotContains(t, p.Description[:1], "[", p.Title)
		for _, link := range about {
			require.Contains(t, sections, link[1], p.Title)
		}
		require.NotEmpty(t, p.Targets, p.Title)
		refs := map[string]bool{}
		for _, q := range p.Targets {
			require.Equal(t, chosen, q.Datasource, p.Title)
			require.False(t, refs[q.RefID], "%s: %s", p.Title, q.RefID)
			refs[q.RefID] = true
			queries(t, families, p.Title, q.Expr)
			perProject := labelsOf(families[familyOf(q.Expr)])["project"] != nil
			require.Equal(t, perProject, strings.Contains(q.Expr, `{project=~"$project"`), "%s: the variable project is used where it can be", p.Title)
			require.NotEmpty(t, q.LegendFormat, p.Title)
			by := grouping.FindString(q.Expr)
			for _, l := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
				require.Regexp(t, `\b`+l[1]+`\b`, by, "%s: the legend has a label that is aggregated away", p.Title)
			}
		}
	}
	require.GreaterOrEqual(t, n, 12)
}

// familyOf returns the family of the first series of an expression.
func familyOf(expr string) string {
	name := series.FindStringSubmatch(expr)[1]
	return strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
}

// runbookSections returns the anchors of the runbook.
func runbookSections(t *testing.T) (out []string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/runbook.md")
	require.NoError(t, err)
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		out = append(out, strings.ReplaceAll(kept, " ", "-"))
	}
	return out
}
