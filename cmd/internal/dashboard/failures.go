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

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/harmless"
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

func (f *failureFields) filter(at times) (tasks.FailureFilter, error) {
	out := tasks.FailureFilter{
		Project: f.Project, Class: tasks.Class(f.Class), Code: f.Code, Operation: f.Operation, User: f.User, Source: f.Source,
		From: at.field("from", &f.From), To: at.field("to", &f.To),
	}
	return out, at.err()
}

// pairs are the fields as parameters of a URL.
func (f failureFields) pairs() []any {
	return []any{"project", f.Project, "class", f.Class, "code", f.Code, "operation", f.Operation, "user", f.User, "source", f.Source,
		"from", f.From, "to", f.To}
}

// at makes a link that keeps the filter.
func (f failureFields) at(path string, more ...any) string {
	link, _ := query(path, append(f.pairs(), more...)...) // fails only for a parameter without a value
	return link
}

// failures is the inbox page.
type failures struct {
	choice
	Filter failureFields
	By     string // grouping: code, class or project
	Groups table
	Folded int // groups that are not shown
	Chips  []chip
	Active []chip // of the other fields
	Total  int
	Failed int // of Total; the others are on hold
	Table  table
}

func (failures) refreshAfter() int { return 10 }

func (f failures) titleState() string {
	switch {
	case f.Failed > 0:
		return thousands(f.Failed) + " failed"
	case f.Total > 0:
		return thousands(f.Total) + " on hold"
	}
	return ""
}

// Filtered reports whether anything besides the project is filtered.
func (f failures) Filtered() bool { return f.Filter != failureFields{Project: f.Filter.Project} }

// by is the parameter of the grouping; empty for the usual one.
func (f failures) by() string {
	if f.By == "code" {
		return ""
	}
	return f.By
}

// Link changes a parameter and keeps the filter.
func (f failures) Link(name, value string) string {
	if name == "by" {
		return f.Filter.at("/failures", "by", value)
	}
	return f.Filter.at("/failures", "by", f.by(), name, value)
}

// mostChips is how many projects have a chip. The form has all of them.
const mostChips = 6

// chipsOf makes the chips of a field from the counts that the other fields leave.
func (f failures) chipsOf(counts []tasks.FailureCount, field func(*failureFields) *string, of func(tasks.FailureCount) string) []chip {
	fields := f.Filter
	on := *field(&fields)
	sum := map[string]int{}
	for _, c := range counts {
		x := failureFields{Project: c.Project, Class: string(c.Class), Code: c.Code}
		*field(&x) = on
		if f.Filter.matches(x) {
			sum[of(c)] += c.Count
		}
	}
	var out []chip
	for name, n := range sum {
		to := fields
		*field(&to) = name
		if name == on {
			*field(&to) = ""
		}
		out = append(out, chip{Name: name, N: n, Counted: true, On: name == on, Link: to.at("/failures", "by", f.by())})
	}
	slices.SortFunc(out, func(a, b chip) int { return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Name, b.Name)) })
	return out
}

// setChips makes the chips of all, of classes and of projects.
func (f *failures) setChips(counts []tasks.FailureCount) {
	all := chip{Name: "all", Counted: true, Link: failures{By: f.By}.Link("by", f.by()), On: f.Filter == failureFields{}}
	if f.Bound {
		all.Link, all.On = failures{By: f.By, Filter: failureFields{Project: f.Filter.Project}}.Link("by", f.by()), !f.Filtered()
	}
	for _, c := range counts {
		all.N += c.Count
	}
	all.Counted = f.Filter.Operation+f.Filter.User+f.Filter.Source+f.Filter.From+f.Filter.To == "" // the others are counted with these
	f.Chips = append(f.Chips, all)
	for _, c := range f.chipsOf(counts, func(f *failureFields) *string { return &f.Class },
		func(c tasks.FailureCount) string { return string(c.Class) }) {
		c.Kind = "class"
		f.Chips = append(f.Chips, c)
	}
	if f.Bound || len(f.Choices) < 2 {
		return
	}
	projects := f.chipsOf(counts, func(f *failureFields) *string { return &f.Project },
		func(c tasks.FailureCount) string { return c.Project })
	for _, c := range projects[:min(len(projects), mostChips)] {
		c.Kind = "project"
		f.Chips = append(f.Chips, c)
	}
}

// matches compares project, class and code.
func (f failureFields) matches(x failureFields) bool {
	same := func(want, is string) bool { return want == "" || want == is }
	return same(f.Project, x.Project) && same(f.Class, x.Class) && same(f.Code, x.Code)
}

// active are chips that remove a filter which no other chip shows.
func (f failures) active() (out []chip) {
	for _, x := range []struct {
		name  string
		field func(*failureFields) *string
	}{
		{"code", func(f *failureFields) *string { return &f.Code }},
		{"operation", func(f *failureFields) *string { return &f.Operation }},
		{"user", func(f *failureFields) *string { return &f.User }},
		{"requested by", func(f *failureFields) *string { return &f.Source }},
		{"from", func(f *failureFields) *string { return &f.From }},
		{"to", func(f *failureFields) *string { return &f.To }},
	} {
		to := f.Filter
		if v := *x.field(&to); v != "" {
			*x.field(&to) = ""
			out = append(out, chip{Name: x.name, Value: v, Link: to.at("/failures", "by", f.by())})
		}
	}
	return out
}

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
	counts, err := v.api.FailureCounts(v.Context(), widened(f, p.Bound))
	if err != nil {
		return err
	}
	p.setChips(counts)
	p.Active = p.active()
	var matching []tasks.FailureCount
	retryable := 0
	for _, c := range counts {
		if !p.Filter.matches(failureFields{Project: c.Project, Class: string(c.Class), Code: c.Code}) {
			continue
		}
		matching, p.Total = append(matching, c), p.Total+c.Count
		if c.Class != tasks.ClassHeld {
			p.Failed += c.Count
		}
		if retriedByAll(c.Class, f.Class) {
			retryable += c.Count
		}
	}
	p.group(v, groupsOf(matching, p.By, m))
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Failure, string, error) {
		return v.api.Failures(v.Context(), f, size, token)
	})
	if err != nil {
		return err
	}
	p.list(v, rows, v.more(next, len(rows)).of(p.Total), retryable)
	return v.page(http.StatusOK, "failures", "Failures", p)
}

// widened is a filter without what chips have counts of. A bound key must name a project.
func widened(f tasks.FailureFilter, bound bool) tasks.FailureFilter {
	f.Class, f.Code = "", ""
	if !bound {
		f.Project = ""
	}
	return f
}

// retriedByAll reports whether a bulk retry by a filter of a class includes another class.
// On-hold desktops are retried only on request.
func retriedByAll(class, filter tasks.Class) bool {
	return class != tasks.ClassHeld || filter == tasks.ClassHeld
}

// groupsShown is how many groups leave room for the first rows on a screen.
const groupsShown = 4

// groupCell is a name or the actions of a group.
type groupCell struct {
	Link, Code, Label, Tag string
	Retry, Dismiss         string
	Count                  int
}

// group makes the table of groups, with an action for each.
func (f *failures) group(v *visit, groups []failureGroup) {
	name := map[string]string{"code": "Code", "class": "Class", "project": "Project"}[f.By]
	f.Groups = table{
		Caption: "Failures by " + f.By + ", largest first", Fixed: true, NoFoot: true,
		Columns: []column{{Name: name}, {Name: "Desktops", Class: "num"}, {Name: "What it means", Class: "wide wrap"},
			{Name: "What you can do", Class: "wide wrap"}, {Name: "Actions", Class: "buttons"}},
	}
	if n := len(groups); n > groupsShown && v.param("groups") != "all" {
		f.Folded = n - groupsShown
		groups = groups[:groupsShown]
	}
	for _, g := range groups {
		to := f.Filter
		to.Project, to.Class, to.Code = cmp.Or(g.Project, to.Project), cmp.Or(g.Class, to.Class), cmp.Or(g.Code, to.Code)
		label, tag := cmp.Or(g.Code, className(g.Class), g.Project), ""
		if f.By == "code" {
			tag = className(g.Class)
		}
		meaning := cmp.Or(g.Why, g.Does)
		if f.By == "code" && g.Why == "" {
			meaning = "unknown code: " + g.Does
		}
		acts := groupCell{
			Count: g.Count, Retry: to.at("/redrives/preview", "which", "all"), Dismiss: to.at("/dismissals/preview", "which", "all"),
		}
		if f.By == "project" {
			acts.Count = 0 // on-hold desktops of the project are not retried
		}
		cells := []cell{
			specialCell(groupCell{Link: to.at("/failures", "by", f.by()), Code: g.Code, Label: label, Tag: tag}), numCell(g.Count),
			textCell(meaning), textCell(g.Advice), {Blank: true},
		}
		if v.may(access.Operator) {
			cells[4] = specialCell(acts)
		}
		f.Groups.Rows = append(f.Groups.Rows, row{Key: label + " " + tag, Cells: cells})
	}
	f.Groups = v.layOut(f.Groups)
}

// failureActions are above the list.
type failureActions struct {
	Can                 bool // retry and dismiss
	Retry, Dismiss, CSV string
	Retryable, Total    int
}

// list makes the table of failures.
func (f *failures) list(v *visit, rows []tasks.Failure, page more, retryable int) {
	f.Table = table{
		Caption: "Failed and on-hold desktops, newest first", Order: "newest first", Page: page, Empty: "No failed or on-hold desktops.",
		Picks: v.may(access.Operator),
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "User"}, {Name: "Project"}, {Name: "Code"}, {Name: "Message", Class: "wide"},
			{Name: "Attempts", Class: "num"}, {Name: "Operation", Class: "ref"}, {Name: "Failed"}},
	}
	acts := failureActions{Can: f.Table.Picks, CSV: f.Filter.at("/failures.csv"), Retryable: retryable, Total: f.Total,
		Dismiss: f.Filter.at("/dismissals/preview", "which", "all")}
	if retryable > 0 {
		acts.Retry = f.Filter.at("/redrives/preview", "which", "all")
	}
	f.Table.Actions = acts
	if f.Filtered() || page.First != "" {
		f.Table.Empty = "No failures match."
	}
	for _, x := range rows {
		project := textCell(x.Project)
		project.Blank = f.Filter.Project != "" || len(f.Choices) == 1
		f.Table.Rows = append(f.Table.Rows, row{Key: x.OperationID + "/" + x.DesktopID, Label: x.DesktopID, Cells: []cell{
			desktopCell(x.DesktopID, x.DesktopName), textCell(strings.Join(x.Expect, ", ")), project, codeCell(x.Code, string(x.Class)),
			textCell(x.Message), numCell(x.Attempts), idCell("/operations/"+x.OperationID, x.OperationID), v.timeCell(x.At),
		}})
	}
	f.Table = v.layOut(f.Table)
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
	return harmless.Row([]string{
		x.At.UTC().Format(time.RFC3339), x.Project, x.DesktopID, x.DesktopName, strings.Join(x.Expect, "; "), string(x.Class), x.Code, x.Message,
		strconv.Itoa(x.Status), strconv.Itoa(x.Attempts), x.OperationID, x.CallID, x.RequestID,
	})
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
