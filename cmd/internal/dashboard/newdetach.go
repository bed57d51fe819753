package dashboard

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

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
	Start, Due, Deadline time.Time // Start zero: at once
	Text                 string    // JSON of the requests: just what is shown is what is handed over
	Key                  string    // makes sending it twice harmless
	Asked                int       // desktops, computers and users
	Type                 bool      // the number has to be typed
	Ignored              []string  // columns that were not read
}

// projectPlan is what is planned in one project.
type projectPlan struct {
	Request  api.OperationRequest
	Plan     api.Plan
	Trouble  string // why nobody knows
	Does     []doesCount
	CutOff   int // people who lose access, at least
	Rows     []tasks.Planned
	NotShown int
}

// doesCount is how many rows have something done about them.
type doesCount struct {
	Does, Is string
	N        int
}

// meaningsOfDoes says what a plan means, in the order in which it is to be read.
var meaningsOfDoes = []doesCount{
	{Does: "send", Is: "will be detached"}, {Does: "find", Is: "users and computers whose desktops were found"}, {Does: "hold", Is: "will be held"}, {Does: "later", Is: "are busy, and tried later"},
	{Does: "follow", Is: "are being detached already"}, {Does: "done", Is: "have nothing to be done"},
}

// heldFirst is the order of a plan's rows: what a person has to look at goes first.
var heldFirst = []string{"hold", "send", "later", "follow", "find", "done"}

func (v *visit) planDetach() error {
	done, err := v.turn()
	if err != nil {
		return err
	}
	defer done()
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
	p := plan{Key: rand.Text(), Ignored: list.Unknown}
	faults := at.faults
	for _, req := range reqs {
		x, found, err := v.planFor(req, list)
		if err != nil {
			return err
		}
		faults = append(faults, found...)
		p.Projects = append(p.Projects, x)
		p.Asked += len(req.Desktops) + len(req.Computers) + len(req.Users)
	}
	if len(faults) > 0 {
		form.Faults, form.FaultCount = faults, len(faults)
		return v.page(http.StatusBadRequest, "new", "New detach", form)
	}
	p.Start, p.Due, p.Deadline = reqs[0].Task("").Times(at.now)
	text, err := json.Marshal(reqs)
	if err != nil {
		return err
	}
	p.Text, p.Type = string(text), p.Asked >= mustType
	return v.page(http.StatusOK, "plan", "The plan", p)
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

// planFor has one project's request looked at. What is wrong with it is told by the
// line of the list. That the cloud does not answer is no reason not to hand over:
// what is handed over waits for it.
func (v *visit) planFor(req api.OperationRequest, list *leavers.List) (x projectPlan, faults []api.Fault, err error) {
	x.Request = req
	got, err := v.api.Plan(v.Context(), req)
	var p *api.Problem
	switch {
	case errors.As(err, &p) && p.Code == api.CodeInvalid:
		for _, f := range p.Errors {
			if line := list.Line(req, f.Pointer); line > 0 {
				f.Pointer = fmt.Sprintf("line %d", line)
			}
			faults = append(faults, f)
		}
		return x, faults, nil
	case errors.As(err, &p) && p.Code == api.CodeCloud:
		x.Trouble = p.Detail
		return x, nil, nil
	case err != nil:
		return x, nil, err
	}
	x.Plan = got
	counts, people := map[string]int{}, map[string]bool{}
	for _, row := range got.Items {
		counts[row.Does]++
		if row.Does == "send" {
			for _, who := range row.From {
				people[who.Name] = true
			}
		}
	}
	x.CutOff = len(people)
	for _, m := range meaningsOfDoes {
		if m.N = counts[m.Does]; m.N > 0 {
			x.Does = append(x.Does, m)
		}
	}
	x.Rows = slices.Clone(got.Items)
	slices.SortStableFunc(x.Rows, func(a, b tasks.Planned) int { return slices.Index(heldFirst, a.Does) - slices.Index(heldFirst, b.Does) })
	x.NotShown = got.Left
	return x, nil, nil
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
		return v.see("/operations/"+ops[0].ID, "Accepted"+v.startsText(ops[0])+". What becomes of each desktop is shown here.")
	}
	return v.see("/operations", fmt.Sprintf("Accepted, as %d operations, one for each project%s.", len(ops), v.startsText(ops[0])))
}

// startsText says when what is scheduled starts; nothing of what starts at once.
func (v *visit) startsText(op tasks.Operation) string {
	if op.State(v.d.Now()) != tasks.Scheduled {
		return ""
	}
	return ", and scheduled: it starts " + v.exactly(op.NotBefore)
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
