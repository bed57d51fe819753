package dashboard

import (
	"cmp"
	"context"
	"encoding/csv"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// failureFields are the fields of a failure filter, as in URLs and forms.
type failureFields struct{ Project, Class, Code, Operation, User, Source, From, To string }

// fieldsOf reads the fields by name.
func fieldsOf(get func(string) string) failureFields {
	text := func(name string) string { return strings.TrimSpace(get(name)) }
	return failureFields{
		Project: text("project"), Class: text("class"), Code: text("code"), Operation: text("operation"),
		User: text("user"), Source: text("source"), From: text("from"), To: text("to"),
	}
}

func (f failureFields) filter(at times) (tasks.FailureFilter, error) {
	out := tasks.FailureFilter{
		Project: f.Project, Class: tasks.Class(f.Class), Code: f.Code, Operation: f.Operation, User: f.User, Source: f.Source,
		From: at.parse("from", f.From), To: at.parse("to", f.To),
	}
	return out, at.err()
}

// failures is the inbox page.
type failures struct {
	choice
	Filter  failureFields
	By      string // grouping: code, class or project
	Groups  []failureGroup
	Classes []string // present
	Total   int
	// Retryable is how many a bulk retry of all matches.
	Retryable int
	Rows      []tasks.Failure
	More      more
}

func (failures) refreshAfter() int { return 10 }

// Filtered reports whether anything besides the project is filtered.
func (f failures) Filtered() bool { return f.Filter != failureFields{Project: f.Filter.Project} }

// failureGroup counts failures that have something in common.
type failureGroup struct {
	Project, Class, Code string // empty: several
	Count                int
	Why                  string // what the code means
	Does                 string // what detachd did about the class
	Advice               string // what a person can do
}

// groupings clear what groups do not have in common.
var groupings = map[string]func(*failureGroup){
	"code":    func(g *failureGroup) { g.Project = "" },
	"class":   func(g *failureGroup) { g.Project, g.Code = "", "" },
	"project": func(g *failureGroup) { g.Class, g.Code = "", "" },
}

func groupsOf(counts []tasks.FailureCount, by string, m meanings) []failureGroup {
	keep := groupings[by]
	sum := map[failureGroup]int{}
	for _, c := range counts {
		g := failureGroup{Project: c.Project, Class: string(c.Class), Code: c.Code}
		keep(&g)
		sum[g] += c.Count
	}
	var out []failureGroup
	for g, n := range sum {
		g.Count, g.Why, g.Does, g.Advice = n, m.codes[g.Code], m.classes[g.Class].Does, m.advice(g.Code, g.Class)
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b failureGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Class, b.Class), strings.Compare(a.Code, b.Code),
			strings.Compare(a.Project, b.Project))
	})
	return out
}

func (v *visit) failures() error {
	p := failures{Filter: fieldsOf(v.param), By: v.param("by")}
	if groupings[p.By] == nil {
		p.By = "code"
	}
	f, err := v.failureFilter(&p.Filter, &p.choice)
	if err != nil {
		return err
	}
	m, err := v.meanings()
	if err != nil {
		return err
	}
	counts, err := v.api.FailureCounts(v.Context(), f)
	if err != nil {
		return err
	}
	p.Groups = groupsOf(counts, p.By, m)
	for _, g := range groupsOf(counts, "class", m) {
		p.Classes, p.Total = append(p.Classes, g.Class), p.Total+g.Count
		if tasks.Class(g.Class) != tasks.ClassHeld || f.Class == tasks.ClassHeld {
			p.Retryable += g.Count
		}
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Failure, string, error) {
		return v.api.Failures(v.Context(), f, size, token)
	})
	if err != nil {
		return err
	}
	p.Rows, p.More = rows, v.more(next, len(rows))
	return v.page(http.StatusOK, "failures", "Failures", p)
}

// failureFilter sets the project if the key requires one, and makes a filter of the
// fields.
func (v *visit) failureFilter(fields *failureFields, c *choice) (tasks.FailureFilter, error) {
	var err error
	if *c, err = v.choose(fields.Project); err != nil {
		return tasks.FailureFilter{}, err
	}
	fields.Project = c.Project
	return fields.filter(v.times())
}

// failuresCSV is the whole list as a file for spreadsheets.
func (v *visit) failuresCSV() error {
	fields, c := fieldsOf(v.param), choice{}
	f, err := v.failureFilter(&fields, &c)
	if err != nil {
		return err
	}
	act := v.act(tasks.AuditPersonalData, v.key, f.Operation)
	act.Event.Project, act.Event.Detail = f.Project, "failures as csv"
	return v.file("failures.csv", "text/csv; charset=utf-8", func(ctx context.Context, w io.Writer) error {
		return act.Do(func() error { return v.writeFailures(ctx, w, f) })
	})
}

// writeFailures writes the failures that a filter selects as CSV.
func (v *visit) writeFailures(ctx context.Context, w io.Writer, f tasks.FailureFilter) error {
	rows := csv.NewWriter(w)
	columns := []string{
		"at", "project", "desktop_id", "desktop_name", "expected_users", "class", "code", "message", "status", "attempts", "operation_id",
		"call_id", "request_id",
	}
	if err := rows.Write(columns); err != nil {
		return err
	}
	for token := ""; ; {
		page, next, err := v.api.Failures(ctx, f, 1000, token)
		if err != nil {
			return err
		}
		for _, x := range page {
			if err := rows.Write(failureRow(x)); err != nil {
				return err
			}
		}
		if next == "" {
			rows.Flush()
			return rows.Error()
		}
		token = next
	}
}

// failureRow is a row of the CSV. No cell is a formula.
func failureRow(x tasks.Failure) []string {
	users := make([]string, len(x.Expect))
	for i, name := range x.Expect {
		users[i] = report.Cell(report.Printable(name)) // some spreadsheets separate cells by semicolons
	}
	row := []string{
		x.At.UTC().Format(time.RFC3339), x.Project, x.DesktopID, x.DesktopName, strings.Join(users, "; "), string(x.Class), x.Code, x.Message,
		strconv.Itoa(x.Status), strconv.Itoa(x.Attempts), x.OperationID, x.CallID, x.RequestID,
	}
	for i, cell := range row {
		row[i] = report.Cell(report.Printable(cell))
	}
	return row
}

// picks returns the selected desktops, named by operation, slash and id.
func (v *visit) picks() (out []tasks.DesktopRef, err error) {
	for _, text := range v.PostForm["pick"] {
		op, desktop, ok := strings.Cut(text, "/")
		if !ok {
			return nil, &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "a selected row names no desktop"}
		}
		out = append(out, tasks.DesktopRef{OperationID: op, DesktopID: desktop})
	}
	return out, nil
}
