package dashboard

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// preview is the page that shows what a redrive would retry, or a dismissal would remove
// from the inbox, before it happens.
type preview struct {
	Filter  failureFields
	Picks   []tasks.DesktopRef // selected; empty: all that match the filter
	Matched int
	Table   table  // by code
	Key     string // of idempotency
	Type    bool   // the number must be typed
}

// Back leads to the list that the visitor came from.
func (p preview) Back() string { return p.Filter.at("/failures") }

// redriveForm reads what a form selects: picked desktops or all that match.
func (v *visit) redriveForm() (p preview, req api.RedriveRequest, err error) {
	if err := v.ParseForm(); err != nil {
		return p, req, badForm(err)
	}
	get := v.PostFormValue
	if v.Method == http.MethodGet { // all that match has an address, which can be loaded again
		get = v.param
	}
	p.Filter = fieldsOf(get)
	if get("which") == "all" {
		var c choice
		req.Filter, err = v.failureFilter(&p.Filter, &c)
		return p, req, err
	}
	if p.Picks, err = v.picks(); err == nil && len(p.Picks) == 0 {
		err = &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "no desktop is selected"}
	}
	req.Desktops = p.Picks
	return p, req, err
}

func (v *visit) previewRedrive() error {
	return v.preview("preview", "Bulk retry", v.api.MatchRedrive)
}

func (v *visit) previewDismissal() error {
	return v.preview("dismiss", "Dismiss", func(ctx context.Context, req api.RedriveRequest) (api.FailureMatch, error) {
		return v.api.MatchDismiss(ctx, api.DismissRequest{Filter: req.Filter, Desktops: req.Desktops})
	})
}

func (v *visit) preview(page, title string, match func(context.Context, api.RedriveRequest) (api.FailureMatch, error)) error {
	if v.Method != http.MethodPost && v.param("which") != "all" { // a selection has no address; a sign-in leads here
		http.Redirect(v.w, v.Request, fieldsOf(v.param).at("/failures"), http.StatusSeeOther)
		return nil
	}
	p, req, err := v.redriveForm()
	if err != nil {
		return err
	}
	m, err := v.meanings()
	if err != nil {
		return err
	}
	found, err := match(v.Context(), req)
	if err != nil {
		return err
	}
	p.Matched, p.Key, p.Type = found.Matched, rand.Text(), found.Matched >= confirmFrom
	do := map[string]string{"preview": "What to do first", "dismiss": "What you can do instead"}[page]
	p.Table = table{Caption: "Desktops by code", NoFoot: true, Columns: []column{
		{Name: "Code"}, {Name: "Class"}, {Name: "Project"}, {Name: "Desktops", Class: "num"}, {Name: "What it means", Class: "prose"},
		{Name: do, Class: "prose"},
	}}
	for _, c := range found.By {
		class := string(c.Class)
		p.Table.Rows = append(p.Table.Rows, row{Key: c.Project + " " + class + " " + c.Code, Cells: []cell{
			codeCell(c.Code, ""), tagCell("", className(class)), textCell(c.Project), numCell(c.Count), textCell(m.codes[c.Code]),
			textCell(m.advice(c.Code, class)),
		}})
	}
	p.Table = v.layOut(p.Table)
	return v.page(http.StatusOK, page, title, p)
}

// confirmedForm reads a form whose number of desktops is confirmed.
func (v *visit) confirmedForm() (req api.RedriveRequest, matched int, err error) {
	_, req, err = v.redriveForm()
	if err == nil {
		matched, err = wholeNumber("matched", v.PostFormValue("matched"))
	}
	if err == nil {
		err = v.confirmCount(matched)
	}
	if err == nil {
		req.Reason, err = v.reason()
	}
	return req, matched, err
}

func (v *visit) dismiss() error {
	req, matched, err := v.confirmedForm()
	if err != nil {
		return err
	}
	done, err := v.api.Dismiss(v.Context(), api.DismissRequest{
		Filter: req.Filter, Desktops: req.Desktops, Matched: matched, Reason: req.Reason,
	})
	if err != nil {
		return err
	}
	return v.redirect("/failures", plural(done.Dismissed, "desktop", "desktops")+" dismissed. The audit trail records it.")
}

func (v *visit) startRedrive() error {
	req, matched, err := v.confirmedForm()
	if err != nil {
		return err
	}
	if len(req.Desktops) == 0 { // all that match
		now, err := v.api.MatchRedrive(v.Context(), req)
		if err != nil {
			return err
		}
		if now.Matched > matched {
			return changed("nothing was retried: %s now, and you saw %s. Look at them again",
				plural(now.Matched, "desktop matches", "desktops match"), thousands(matched))
		}
	}
	if req.PerSecond, err = wholeNumber("per_second", v.PostFormValue("per_second")); err != nil {
		return err
	}
	req.IdempotencyKey = v.PostFormValue("key")
	x, err := v.api.Redrive(v.Context(), req)
	if err != nil {
		return err
	}
	return v.redirect("/redrives/"+x.ID, "Bulk retry started.")
}

// bulk is a redrive or a cancellation in its list.
type bulk struct {
	ID, Reason, RequestedBy           string
	Projects                          []string
	State                             tasks.RedriveState
	Matched, Processed, Done, NotDone int
	CreatedAt, EndedAt                time.Time
}

func bulkOf(x tasks.Redrive) bulk {
	return bulk{
		x.ID, x.Reason, x.RequestedBy, x.Projects, x.State(), x.Matched, x.Retried + x.Skipped, x.Retried, x.Skipped, x.CreatedAt, x.EndedAt,
	}
}

func (x bulk) state() cell {
	switch x.State {
	case tasks.RedriveRunning:
		return cell{Kind: "tag", V: tagText{"busy", percent(x.Processed, x.Matched)}, By: "in progress"}
	case tasks.RedriveAborted:
		return tagCell("warn", "aborted")
	}
	return tagCell("", "finished")
}

// bulkList is the list of redrives, or of cancellations.
type bulkList struct {
	Table      table
	InProgress int // rows
}

func (b bulkList) refreshAfter() int { return secondsIf(b.InProgress > 0, 2, 15) }

func (b bulkList) titleState() string {
	if b.InProgress == 0 {
		return ""
	}
	return thousands(b.InProgress) + " in progress"
}

// bulkList shows a list. columns are the names of Matched, Done and NotDone.
func (v *visit) bulkList(name, title, one string, columns [3]string, page more, rows []bulk) error {
	p := bulkList{Table: table{
		Caption: title + ", newest first", Order: "newest first", Page: page, Empty: "No " + strings.ToLower(title) + " yet.",
		Columns: []column{{Name: one, Class: "first"}, {Name: "Projects"}, {Name: "Requested by"}, {Name: "State"},
			{Name: columns[0], Class: "num"}, {Name: columns[1], Class: "num"}, {Name: columns[2], Class: "num"}, {Name: "Started"},
			{Name: "Finished"}},
	}}
	for _, x := range rows {
		if x.State == tasks.RedriveRunning {
			p.InProgress++
		}
		p.Table.Rows = append(p.Table.Rows, row{Key: x.ID, Cells: []cell{
			mainOf(mainCell{Link: "/" + name + "/" + x.ID, Text: x.Reason, ID: x.ID}), textCell(strings.Join(x.Projects, ", ")),
			textCell(x.RequestedBy), x.state(), numCell(x.Matched), numCell(x.Done), numCell(x.NotDone), v.timeCell(x.CreatedAt),
			v.timeCell(x.EndedAt),
		}})
	}
	p.Table = v.layOut(p.Table)
	return v.page(http.StatusOK, name, title, p)
}

func (v *visit) redrives() error {
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Redrive, string, error) {
		return v.api.Redrives(v.Context(), size, token)
	})
	if err != nil {
		return err
	}
	page, err := v.more(next, len(rows)).counted(func() (int, error) { return v.api.CountRedrives(v.Context()) })
	if err != nil {
		return err
	}
	all := make([]bulk, len(rows))
	for i, x := range rows {
		all[i] = bulkOf(x)
	}
	return v.bulkList("redrives", "Bulk retries", "Bulk retry", [3]string{"Matched", "Requeued", "Skipped"}, page, all)
}

// redrive is the page of one redrive.
type redrive struct {
	X      tasks.RedriveProgress
	Result progress // of the requeued desktops
	State  string   // filter of the rows
	Table  table
	Filter failureFields
	Moves  bool // desktops may still change
}

func (r redrive) refreshAfter() int { return secondsIf(r.Moves, 2, 15) }

func (r redrive) titleState() string {
	switch {
	case r.Moves:
		return percent(r.X.Retried+r.X.Skipped-r.X.Counts.Unsettled(), r.X.Matched)
	case r.X.Counts.Failed > 0:
		return thousands(r.X.Counts.Failed) + " failed again"
	}
	return "finished"
}

func (v *visit) redrive() error {
	x, err := v.api.RedriveByID(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	p := redrive{
		X: x, Moves: x.Moves(), State: v.param("state"), Result: progressOf(tasks.Operation{Total: x.Retried, Counts: x.Counts}),
		Filter: v.fieldsOf(x.Filter),
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.RedriveItem, string, error) {
		return v.redriveItems(x.ID, p.State, size, token)
	})
	if err != nil {
		return err
	}
	p.Table = v.layOut(v.itemsTable(p, rows, v.more(next, len(rows))))
	return v.page(http.StatusOK, "redrive", "Bulk retry "+x.ID, p)
}

// fieldsOf are a filter as people read it.
func (v *visit) fieldsOf(f tasks.FailureFilter) failureFields {
	return failureFields{f.Project, string(f.Class), f.Code, f.Operation, f.User, f.Source, v.exactly(f.From), v.exactly(f.To)}
}

// itemsRead is how many pages of items are read for one of the dashboard, as the API does
// not filter them by state.
const itemsRead = 10

// redriveItems reads items whose desktops are in a state now; empty: all.
func (v *visit) redriveItems(id, state string, size int, token string) (out []tasks.RedriveItem, next string, err error) {
	for range itemsRead {
		page, next, err := v.api.RedriveItems(v.Context(), id, size-len(out), token)
		if err != nil || state == "" {
			return page, next, err
		}
		for _, x := range page {
			if x.Desktop != nil && x.Processed && x.Desktop.State.String() == state {
				out = append(out, x)
			}
		}
		if token = next; token == "" || len(out) == size {
			break
		}
	}
	return out, token, nil
}

// itemsTable is the list of desktops. Those that failed again can be selected.
func (v *visit) itemsTable(p redrive, rows []tasks.RedriveItem, page more) table {
	t := table{
		Caption: "Current state of the desktops", Page: page, Empty: "No desktops matched.",
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "State"}, {Name: "User"}, {Name: "Code"}, {Name: "Message", Class: "wide"},
			{Name: "Requeued"}, {Name: "Operation", Class: "ref"}, {Name: "Failed before"}, {Name: "Since"}},
	}
	t.Picks = v.may(access.Operator) && (p.State == tasks.StateFailed.String() || p.State == tasks.StateHeld.String())
	if t.Picks {
		t.Actions = true
	}
	switch {
	case p.State == "":
		t.Page = page.of(p.X.Matched)
	default:
		t.Empty = "No desktop of this bulk retry is in this state now."
		if s, err := tasks.ParseState(p.State); err == nil {
			t.Page = page.of(p.X.Counts.Of(s))
		}
	}
	for _, x := range rows {
		r := row{Key: x.OperationID + "/" + x.DesktopID, Label: x.DesktopID}
		name, state, since := "", tagCell("", "no longer stored"), cell{Blank: true}
		user, code, message := textCell(""), failureCell(nil), textCell("")
		if d := x.Desktop; d != nil {
			state, code, since = stateCell(tasks.Operation{}, d.State, d.Note), failureCell(d.Failure), v.timeCell(d.UpdatedAt)
			if d.Before != nil {
				name, user = d.Before.Name, textCell(people(d.Before.Users))
			}
			if d.Failure != nil {
				name, message = cmp.Or(name, d.Failure.DesktopName), textCell(d.Failure.Message)
			}
			if user.Blank {
				user = textCell(strings.Join(d.Expect, ", "))
			}
		}
		requeued := cell{Blank: true}
		if !x.Processed {
			requeued = tagCell("", "not yet")
		}
		r.Cells = []cell{
			desktopCell(x.DesktopID, name), state, user, code, message, requeued, idCell("/operations/"+x.OperationID, x.OperationID),
			v.timeCell(x.MatchedAt), since,
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

func (v *visit) abortRedrive() error {
	x, err := v.api.AbortRedrive(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	notice := "Bulk retry aborted. " + plural(x.Retried, "requeued desktop continues.", "requeued desktops continue.")
	if x.State() != tasks.RedriveAborted {
		notice = "The bulk retry had already finished."
	}
	return v.redirect("/redrives/"+x.ID, notice)
}
