package dashboard

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// newDetach is the page with the form for a list of desktops, computers or users.
type newDetach struct {
	choice
	Names                        leavers.Lines // meaning of lines without a header row
	List                         string
	Columns                      leavers.Columns      // as selected
	Unclear                      *leavers.ColumnError // the column to select
	Reason, Ticket               string
	NotBefore, DueAt, Deadline   string
	LastDay, LastZone            string
	Zone                         *time.Location // of these times
	AllowShared, Shutoff, Urgent bool
	Faults                       []api.Fault
	FaultCount                   int // may exceed len(Faults)

	whole string // the list, also if it came as a file
}

func (v *visit) newDetach() error {
	c, err := v.choose(v.param("project"))
	if err != nil {
		return err
	}
	p := newDetach{choice: c, Names: leavers.Desktops, List: v.param("list"), Zone: v.zone()}
	if v.param("names") == string(leavers.Users) {
		p.Names = leavers.Users
	}
	return v.page(http.StatusOK, "new", "New detach", p)
}

// parseLarge parses a form with a list, once few enough are being processed, of all keys and
// of this one. release must be called when it is done with.
func (v *visit) parseLarge() (release func(), err error) {
	if release, err = v.d.large.Acquire(v.Context(), v.key.ID); err != nil {
		return nil, &api.Problem{
			Status: http.StatusServiceUnavailable, Code: "busy",
			Detail: "too many large lists are being processed; nothing was submitted. Try again in a minute",
		}
	}
	if err := v.ParseMultipartForm(largeForm); err != nil {
		release()
		return nil, badForm(err)
	}
	return release, nil
}

// plan is the page that shows who would lose access and what would be put on hold, before
// anything runs.
type plan struct {
	Projects             []projectPlan
	Form                 bool      // it can be submitted from here
	Start, Due, Deadline time.Time // Start zero: at once
	Text                 string    // JSON of the requests: exactly what was planned is submitted
	Key                  string    // of idempotency
	Asked                int       // desktops, computers and users
	Type                 bool      // the number must be typed
	Ignored              []string  // unknown columns
	Notes                []string  // on the list
	Approves             string    // the operation that waits, if the plan is of what is left of one
	Reason               string    // of the approval
	Back                 []kept    // the form that it came from; empty: too long to be kept

	Reading     bool   // not finished
	Read, Total int    // rows
	Summary     string // of all rows; empty while unknown
}

// projectPlan is the plan of one project.
type projectPlan struct {
	api.Plan
	More  more
	Table table
}

// kept is a field of the form of a plan. It returns to the form with "Back to the list".
type kept struct{ Name, Value string }

// keptFields are the fields that are kept, and keptList the longest list.
var keptFields = []string{
	"list", "names", "project", "reason", "ticket", "last_day", "last_zone", "not_before", "due_at", "deadline", "in_zone",
	"user_column", "computer_column", "desktop_column", "allow_shared", "shutoff", "urgent",
}

const keptList = 512 << 10

// keepForm keeps the form of a plan.
func (v *visit) keepForm(list string) (out []kept) {
	if len(list) > keptList {
		return nil
	}
	for _, name := range keptFields {
		value := v.PostFormValue(name)
		if name == "list" {
			value = list // also one that came as a file
		}
		if value != "" {
			out = append(out, kept{name, value})
		}
	}
	return out
}

// editDetach shows the form of a plan again, with its list.
func (v *visit) editDetach() error {
	release, err := v.parseLarge()
	if err != nil {
		return err
	}
	defer release()
	for _, name := range keptFields {
		v.PostForm.Del(name)
		v.Form.Del(name)
		if value := v.PostForm.Get("back_" + name); value != "" {
			v.Form.Set(name, value)
			v.PostForm.Set(name, value)
		}
	}
	p := v.formOf()
	if p.choice, err = v.choose(p.Project); err != nil {
		return err
	}
	return v.page(http.StatusOK, "new", "New detach", p)
}

// Failed reports that the cloud could not be read for all rows.
func (p projectPlan) Failed() bool { return p.State == tasks.PlanFailed }

// Shown is the number of rows on the page.
func (p projectPlan) Shown() int { return len(p.Items) }

// Summary describes the plan of all rows.
func (p projectPlan) Summary() string { return api.SummaryOf(p.Plan.Plan) }

func (p plan) refreshAfter() int { return secondsIf(p.Reading, 2, 0) }

// refreshFrom is the URL of a copy of the page, which itself answers a form.
func (p plan) refreshFrom() string {
	q := url.Values{}
	for _, x := range p.Projects {
		q.Add("plan", x.ID)
	}
	return "/new/plan?" + q.Encode()
}

// planDetach starts the plan of a list, or shows the plan that the form names again.
func (v *visit) planDetach() error {
	release, err := v.parseLarge()
	if err != nil {
		return err
	}
	defer release()
	if ids := v.PostForm["id"]; len(ids) > 0 {
		p := plan{
			Form: true, Text: v.PostFormValue("plan"), Key: v.PostFormValue("key"), Ignored: v.PostForm["ignored"],
			Notes: v.PostForm["note"], Reason: v.PostFormValue("reason"),
		}
		for _, name := range keptFields {
			if value := v.PostFormValue("back_" + name); value != "" {
				p.Back = append(p.Back, kept{name, value})
			}
		}
		return v.showPlan(p, ids)
	}
	form, list, err := v.readList()
	if err != nil {
		return err
	}
	if form.FaultCount > 0 {
		return v.page(http.StatusBadRequest, "new", "New detach", form)
	}
	at := v.times()
	base := api.OperationRequest{
		AllowShared: form.AllowShared, ShutoffAfterDetach: form.Shutoff, Urgent: form.Urgent, Reason: form.Reason, Ticket: form.Ticket,
		NotBefore: at.parseStart("start", form.NotBefore), DueAt: at.parse("due", form.DueAt), Deadline: at.parse("deadline", form.Deadline),
	}
	if form.LastDay != "" {
		base.LastWorkingDay = &api.LastWorkingDay{Date: form.LastDay, Zone: form.LastZone}
	}
	reqs := list.Requests(base)
	plans, faults, err := v.planAll(reqs, list)
	if err != nil {
		return err
	}
	if faults = append(at.faults, faults...); len(faults) > 0 {
		form.Faults, form.FaultCount = faults, len(faults)
		return v.page(http.StatusBadRequest, "new", "New detach", form)
	}
	text, err := json.Marshal(reqs)
	if err != nil {
		return err
	}
	p := plan{Form: true, Text: string(text), Key: rand.Text(), Ignored: list.Unknown, Notes: list.Notes(), Back: v.keepForm(form.whole)}
	for _, x := range plans {
		p.add(x, more{})
	}
	return v.renderPlan(p)
}

// planPage shows the plans that the URL names: to the script as a fresh copy of the page
// that answered a form, and to a person for paging through the rows of one plan.
func (v *visit) planPage() error {
	ids := v.URL.Query()["plan"]
	if len(ids) == 0 { // a plan that answered a form has no address; a sign-in leads here
		http.Redirect(v.w, v.Request, "/new", http.StatusSeeOther)
		return nil
	}
	return v.showPlan(plan{Form: v.refreshes()}, ids)
}

func (v *visit) showPlan(p plan, ids []string) error {
	token := ""
	if len(ids) == 1 {
		token = v.token()
	}
	for _, id := range ids {
		x, err := v.api.PlanByID(v.Context(), id, rowsShown, token)
		if err != nil {
			return err
		}
		m := more{}
		if !p.Form && len(ids) == 1 {
			m = v.more(x.NextPageToken, len(x.Items))
		}
		p.add(x, m)
	}
	return v.renderPlan(p)
}

func (p *plan) add(x api.Plan, m more) {
	x.Items = x.Items[:min(rowsShown, len(x.Items))]
	p.Projects = append(p.Projects, projectPlan{Plan: x, More: m})
	p.Asked += x.Desktops + x.Users + x.Computers
	p.Read += x.Read
	p.Total += x.Total
	p.Approves = x.OperationID
	p.Reading = p.Reading || x.State == tasks.PlanReading
	p.Start, p.Due, p.Deadline = x.NotBefore, x.DueAt, x.Deadline // the same in all projects
}

func (v *visit) renderPlan(p plan) error {
	p.Type = p.Asked >= confirmFrom && p.Approves == ""
	for i := range p.Projects {
		p.Projects[i].Table = v.plannedTable(p.Projects[i])
	}
	var all []tasks.Plan
	for _, x := range p.Projects {
		if x.State == tasks.PlanDone {
			all = append(all, x.Plan.Plan)
		}
	}
	if len(all) == len(p.Projects) { // a part must not look like the whole
		p.Summary = api.SummaryOf(all...)
	}
	return v.page(http.StatusOK, "plan", "Plan", p)
}

// doesText is what a plan does with a row, in words.
var doesText = map[string]string{
	"send": "detach", "hold": "on hold", "fail": "fails", "later": "later", "follow": "in progress", "done": "nothing to do",
	"find": "looked up",
}

func (v *visit) plannedTable(p projectPlan) table {
	t := table{
		Caption: "Plan by row, on hold first", Page: p.More, Fixed: true, NoFoot: p.More == more{},
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "What happens"}, {Name: "Loses access"}, {Name: "Users now"},
			{Name: "Attachment"}, {Name: "Code"}, {Name: "Why", Class: "wide"}},
	}
	for _, x := range p.Items {
		weight, name, users, state := "", "", textCell(""), textCell("")
		switch x.Does {
		case "hold", "fail", "later":
			weight = "warn"
		case "send":
			weight = "busy"
		}
		switch {
		case x.Now != nil:
			name, users, state = x.Now.Name, textCell(people(x.Now.Users)), textCell(x.Now.AttachState)
		case userName(x.ID) == "" && computerName(x.ID) == "" && x.Does != "fail":
			state = textCell("does not exist")
		}
		t.Rows = append(t.Rows, row{Key: x.ID, Cells: []cell{
			desktopCell(x.ID, name), tagCell(weight, cmp.Or(doesText[x.Does], x.Does)), textCell(people(x.From)), users, state,
			codeCell(x.Code, ""), textCell(x.Why),
		}})
	}
	return v.layOut(t)
}

// planAll starts the plans of requests, several at a time because each may take two
// seconds. Faults of the requests name the line of the list.
func (v *visit) planAll(reqs []api.OperationRequest, list *leavers.List) ([]api.Plan, []api.Fault, error) {
	plans, faults := make([]api.Plan, len(reqs)), make([][]api.Fault, len(reqs))
	var all errgroup.Group
	all.SetLimit(8)
	for i, req := range reqs {
		all.Go(func() (err error) {
			plans[i], err = v.api.Plan(v.Context(), req)
			var p *api.Problem
			if !errors.As(err, &p) || p.Code != api.CodeInvalid {
				return err
			}
			for _, f := range p.Errors {
				if line := list.Line(req, f.Pointer); line > 0 {
					f.Pointer = fmt.Sprintf("line %d", line)
				}
				faults[i] = append(faults[i], f)
			}
			return nil
		})
	}
	err := all.Wait()
	return plans, slices.Concat(faults...), err
}

// formOf reads the fields of the form.
func (v *visit) formOf() newDetach {
	get := func(name string) string { return strings.TrimSpace(v.PostFormValue(name)) }
	return newDetach{
		choice: choice{Project: get("project")},
		Names:  leavers.Lines(get("names")), List: v.PostFormValue("list"), Reason: get("reason"), Ticket: get("ticket"),
		Columns: leavers.Columns{User: get("user_column"), Computer: get("computer_column"), Desktop: get("desktop_column")},
		LastDay: get("last_day"), LastZone: get("last_zone"),
		NotBefore: get("not_before"), DueAt: get("due_at"), Deadline: get("deadline"), Zone: v.times().zone,
		AllowShared: get("allow_shared") != "", Shutoff: get("shutoff") != "", Urgent: get("urgent") != "",
	}
}

// readList reads the form and the list, pasted or in a file.
func (v *visit) readList() (form newDetach, list *leavers.List, err error) {
	if err := v.ParseMultipartForm(largeForm); err != nil {
		return form, nil, badForm(err)
	}
	form = v.formOf()
	if form.choice, err = v.choose(form.Project); err != nil {
		return form, nil, err
	}
	list = leavers.New(form.Project, func(alias string) bool { return slices.Contains(form.Choices, alias) })
	list.Mixed, list.Columns, list.AnyDate = form.Project == "", form.Columns, true // the plan shows the notes
	var text io.Reader = strings.NewReader(form.List)
	file, _, err := v.FormFile("file")
	switch {
	case err == nil:
		defer file.Close()
		if strings.TrimSpace(form.List) != "" {
			form.fault("select a file or paste a list, not both")
			return form, list, nil
		}
		text = file
	case !errors.Is(err, http.ErrMissingFile):
		return form, nil, badForm(err)
	}
	whole, err := leavers.Text(text)
	form.whole = whole
	if err == nil {
		err = list.ReadText(strings.NewReader(whole), form.Names)
	}
	if errors.As(err, &form.Unclear) && len(whole) <= longestShown {
		form.List = whole // the browser forgets the file
	}
	if err != nil {
		form.fault(err.Error())
		return form, list, nil
	}
	for _, b := range list.Bad {
		form.Faults = append(form.Faults, api.Fault{Detail: b.String()})
	}
	form.FaultCount = list.BadRows
	if list.BadRows == 0 && len(list.Good) == 0 {
		form.fault("the list is empty: paste desktop IDs, computers or users, one per line, or select a CSV file")
	}
	return form, list, nil
}

// longestShown is the maximum bytes of a file shown while a column is selected.
const longestShown = 4 << 20

func (f *newDetach) fault(text string) {
	f.Faults = append(f.Faults, api.Fault{Detail: text})
	f.FaultCount++
}

// startDetach submits exactly what a plan showed, by its hash. Of a project that could not be
// read there is none: its request is submitted.
func (v *visit) startDetach() error {
	release, err := v.parseLarge()
	if err != nil {
		return err
	}
	defer release()
	var reqs []api.OperationRequest
	key := v.PostFormValue("key")
	hashes := v.PostForm["hash"]
	if err := json.Unmarshal([]byte(v.PostFormValue("plan")), &reqs); err != nil || len(reqs) == 0 || len(hashes) != len(reqs) || key == "" {
		return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "the plan is not valid"}
	}
	asked := 0
	for _, req := range reqs {
		asked += len(req.Desktops) + len(req.Computers) + len(req.Users)
	}
	if err := v.confirmCount(asked); err != nil {
		return err
	}
	ops, err := v.submit(v.Context(), reqs, hashes, key)
	if err != nil {
		return err
	}
	if len(ops) == 1 {
		return v.redirect("/operations/"+ops[0].ID, "Accepted"+v.startsText(ops[0])+"."+oneCopyText(ops)+" This page shows the progress.")
	}
	return v.redirect("/operations", fmt.Sprintf("Accepted as %d operations%s.%s", len(ops), v.startsText(ops[0]), oneCopyText(ops)))
}

// startsText says when a scheduled operation starts.
func (v *visit) startsText(op tasks.Operation) string {
	if op.State(v.d.Now()) != tasks.OperationScheduled {
		return ""
	}
	return " and scheduled: starts " + v.exactly(op.NotBefore)
}

// oneCopyText warns if a failover of Redis would lose an operation.
func oneCopyText(ops []tasks.Operation) string {
	if !slices.ContainsFunc(ops, func(op tasks.Operation) bool { return op.Durability == tasks.OneCopy }) {
		return ""
	}
	return " No Redis replica confirmed it in time: a failover now would lose it. Check later that it is still listed."
}

// submit creates the operations. If one is refused, the error names those already
// accepted, which continue.
func (v *visit) submit(ctx context.Context, reqs []api.OperationRequest, hashes []string, key string) (ops []tasks.Operation, err error) {
	for i, req := range reqs {
		project := req.Project
		if hashes[i] != "" {
			req = api.OperationRequest{Plan: hashes[i], Urgent: req.Urgent, Reason: req.Reason, Ticket: req.Ticket}
		}
		req.IdempotencyKey = "dashboard-" + key + "-" + project
		op, err := v.api.CreateOperation(ctx, req)
		if err == nil {
			ops = append(ops, op)
			continue
		}
		var p *api.Problem
		if !errors.As(err, &p) || len(ops) == 0 {
			return nil, err
		}
		refused := *p
		names := make([]string, len(ops))
		for i, op := range ops {
			names[i] = "operation " + op.ID + " of project " + op.Project
		}
		refused.Detail = fmt.Sprintf("project %s was refused: %s. Already accepted: %s", project, p.Detail, strings.Join(names, ", "))
		return nil, &refused
	}
	return ops, nil
}
