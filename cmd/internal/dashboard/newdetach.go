package dashboard

import (
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

// newDetach is the page where desktops or users are handed over.
type newDetach struct {
	choice
	Names                        leavers.Lines // what lines without a header row are
	List                         string
	Columns                      leavers.Columns      // as chosen
	Unclear                      *leavers.ColumnError // which column is to be chosen
	Reason, Ticket               string
	NotBefore, DueAt, Deadline   string
	Zone                         *time.Location // of these
	AllowShared, Shutoff, Urgent bool
	Faults                       []api.Fault
	FaultCount                   int // with those that are not among Faults
}

func (v *visit) newDetach() error {
	c, err := v.choose(v.param("project"))
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "new", "New detach", newDetach{choice: c, Names: leavers.Desktops, List: v.param("list"), Zone: v.zone()})
}

// turn waits until few enough large forms are worked on, and gives what ends that.
func (v *visit) turn() (done func(), err error) {
	select {
	case v.d.large <- struct{}{}:
		return func() { <-v.d.large }, nil
	case <-v.Context().Done():
		return nil, &api.Problem{Status: http.StatusServiceUnavailable, Code: "busy", Detail: "too many large lists are being worked on; nothing was done: try again in a minute"}
	}
}

// plan is the page that says who will be cut off and what is held, before anything
// runs.
type plan struct {
	Projects             []projectPlan
	Form                 bool      // it can be handed over from here
	Start, Due, Deadline time.Time // Start zero: at once
	Text                 string    // JSON of the requests: just what was planned is what is handed over
	Key                  string    // makes sending it twice harmless
	Asked                int       // desktops, computers and users
	Type                 bool      // the number has to be typed
	Ignored              []string  // columns that mean nothing here

	Reading     bool   // not all is read
	Read, Total int    // rows
	Summary     string // of all rows; empty while that is not known
}

// projectPlan is what is planned in one project.
type projectPlan struct {
	api.Plan
	More more
}

// Failed says that the cloud did not let all be read.
func (p projectPlan) Failed() bool { return p.State == tasks.PlanFailed }

// Shown is how many of its rows are on the page.
func (p projectPlan) Shown() int { return len(p.Items) }

// Says is what would become of all of its rows.
func (p projectPlan) Says() string { return api.SummaryOf(p.Plan.Plan) }

func (p plan) refreshAfter() int {
	if p.Reading {
		return 2
	}
	return 0
}

// refreshFrom is where a copy of the page is found, which itself came of a form.
func (p plan) refreshFrom() string {
	q := url.Values{}
	for _, x := range p.Projects {
		q.Add("plan", x.ID)
	}
	return "/new/plan?" + q.Encode()
}

// planDetach begins the plan of a list, or looks again at one that its form names.
func (v *visit) planDetach() error {
	done, err := v.turn()
	if err != nil {
		return err
	}
	defer done()
	if err := v.ParseMultipartForm(largeForm); err != nil {
		return badForm(err)
	}
	if ids := v.PostForm["id"]; len(ids) > 0 {
		p := plan{Form: true, Text: v.PostFormValue("plan"), Key: v.PostFormValue("key"), Ignored: v.PostForm["ignored"]}
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
	p := plan{Form: true, Text: string(text), Key: rand.Text(), Ignored: list.Unknown}
	for _, x := range plans {
		p.add(x, more{})
	}
	return v.pageOfPlan(p)
}

// lookAtPlan is the page of plans that the address names: the copy by which the page
// that came of a form is kept up to date, or for a person, who can leaf through the rows
// of one.
func (v *visit) lookAtPlan() error {
	ids := v.URL.Query()["plan"]
	if len(ids) == 0 {
		return v.nowhere()
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
	return v.pageOfPlan(p)
}

func (p *plan) add(x api.Plan, m more) {
	x.Items = x.Items[:min(rowsShown, len(x.Items))]
	p.Projects = append(p.Projects, projectPlan{x, m})
	p.Asked += x.Desktops + x.Users + x.Computers
	p.Read += x.Read
	p.Total += x.Total
	p.Reading = p.Reading || x.State == tasks.PlanReading
	p.Start, p.Due, p.Deadline = x.NotBefore, x.DueAt, x.Deadline // those of each project are the same
}

func (v *visit) pageOfPlan(p plan) error {

	p.Type = p.Asked >= mustType
	var all []tasks.Plan
	for _, x := range p.Projects {
		if x.State == tasks.PlanDone {
			all = append(all, x.Plan.Plan)
		}
	}
	if len(all) == len(p.Projects) { // nothing is said of a part as if it was of all
		p.Summary = api.SummaryOf(all...)
	}
	return v.page(http.StatusOK, "plan", "The plan", p)
}

// planAll begins the plans of requests, several at a time, as each may take two seconds.
// What is wrong with the requests is told by the line of the list.
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

// readList reads the form, and the list that is in it or in a file.
func (v *visit) readList() (form newDetach, list *leavers.List, err error) {
	if err := v.ParseMultipartForm(largeForm); err != nil {
		return form, nil, badForm(err)
	}
	get := func(name string) string { return strings.TrimSpace(v.PostFormValue(name)) }
	form = newDetach{
		Names: leavers.Lines(get("names")), Columns: leavers.Columns{User: get("user_column"), Computer: get("computer_column"), Desktop: get("desktop_column")}, List: v.PostFormValue("list"), Reason: get("reason"), Ticket: get("ticket"), NotBefore: get("not_before"), DueAt: get("due_at"), Deadline: get("deadline"),
		AllowShared: get("allow_shared") != "", Shutoff: get("shutoff") != "", Urgent: get("urgent") != "",
	}
	form.Zone = v.times().zone
	if form.choice, err = v.choose(get("project")); err != nil {
		return form, nil, err
	}
	list = leavers.New(form.Project, func(alias string) bool { return slices.Contains(form.Choices, alias) })
	list.Mixed, list.Columns = form.Project == "", form.Columns
	var text io.Reader = strings.NewReader(form.List)
	file, _, err := v.FormFile("file")
	switch {
	case err == nil:
		defer file.Close()
		if strings.TrimSpace(form.List) != "" {
			form.fault("choose a file or paste a list, not both")
			return form, list, nil
		}
		text = file
	case !errors.Is(err, http.ErrMissingFile):
		return form, nil, badForm(err)
	}
	whole, err := leavers.Text(text)
	if err == nil {
		err = list.ReadText(strings.NewReader(whole), form.Names)
	}
	if errors.As(err, &form.Unclear) && len(whole) <= longestShown {
		form.List = whole // a browser forgets the file
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
		form.fault("the list is empty: paste desktop ids, computers or users, one on a line, or choose a CSV file")
	}
	return form, list, nil
}

// longestShown is the longest text of a file that is shown for a column to be chosen,
// in bytes.
const longestShown = 4 << 20

func (f *newDetach) fault(text string) {
	f.Faults = append(f.Faults, api.Fault{Detail: text})
	f.FaultCount++
}

// startDetach hands over what a plan has shown.
func (v *visit) startDetach() error {
	done, err := v.turn()
	if err != nil {
		return err
	}
	defer done()
	if err := v.ParseMultipartForm(largeForm); err != nil {
		return badForm(err)
	}
	var reqs []api.OperationRequest
	key := v.PostFormValue("key")
	if err := json.Unmarshal([]byte(v.PostFormValue("plan")), &reqs); err != nil || len(reqs) == 0 || key == "" {
		return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "the plan is not one of ours; nothing was done"}
	}
	asked := 0
	for _, req := range reqs {
		asked += len(req.Desktops) + len(req.Computers) + len(req.Users)
	}
	if err := v.typedCount(asked); err != nil {
		return err
	}
	ops, err := v.handOver(v.Context(), reqs, key)
	if err != nil {
		return err
	}
	if len(ops) == 1 {
		return v.see("/operations/"+ops[0].ID, "Accepted"+v.startsText(ops[0])+oneCopyText(ops)+". What becomes of each desktop is shown here.")
	}
	return v.see("/operations", fmt.Sprintf("Accepted, as %d operations, one for each project%s%s.", len(ops), v.startsText(ops[0]), oneCopyText(ops)))
}

// startsText says when what is scheduled starts; nothing of what starts at once.
func (v *visit) startsText(op tasks.Operation) string {
	if op.State(v.d.Now()) != tasks.OperationScheduled {
		return ""
	}
	return ", and scheduled: it starts " + v.exactly(op.NotBefore)
}

// oneCopyText says that a failover of Redis would lose one of them; nothing where none would.
func oneCopyText(ops []tasks.Operation) string {
	if !slices.ContainsFunc(ops, func(op tasks.Operation) bool { return op.Durability == tasks.OneCopy }) {
		return ""
	}
	return ", and no replica of Redis had it in time: if Redis fails over now it is lost, so look for it again later"
}

// handOver makes the operations. When one is refused, what was accepted before goes
// on, and is named.
func (v *visit) handOver(ctx context.Context, reqs []api.OperationRequest, key string) (ops []tasks.Operation, err error) {
	for _, req := range reqs {
		req.IdempotencyKey = "dashboard-" + key + "-" + req.Project
		op, err := v.api.CreateOperation(ctx, req)
		if err == nil {
			ops = append(ops, op)
			continue
		}
		var p *api.Problem
		if !errors.As(err, &p) || len(ops) == 0 {
			return nil, err
		}
		told := *p
		names := make([]string, len(ops))
		for i, op := range ops {
			names[i] = op.ID + " of project " + op.Project
		}
		told.Detail = fmt.Sprintf("project %s was refused, and nothing of it was done: %s. Accepted before it: operation %s", req.Project, p.Detail, strings.Join(names, ", "))
		return nil, &told
	}
	return ops, nil
}
