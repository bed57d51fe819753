package dashboard

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// preview is the page that shows what a redrive would retry, or a dismissal would remove
// from the inbox, before it happens.
type preview struct {
	Filter  failureFields
	Picks   []tasks.DesktopRef // selected; empty: all that match the filter
	Matched int
	Groups  []failureGroup
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
	for _, c := range found.By {
		p.Groups = append(p.Groups, failureGroup{
			Project: c.Project, Class: string(c.Class), Code: c.Code, Count: c.Count, Why: m.codes[c.Code], Advice: m.advice(c.Code,
				string(c.Class)),
		})
	}
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
	req.Reason = strings.TrimSpace(v.PostFormValue("reason"))
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
	req, _, err := v.confirmedForm()
	if err != nil {
		return err
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

// redrives is the list of redrives.
type redrives struct {
	Rows       []tasks.Redrive
	More       more
	InProgress bool // any of the rows
}

func (r redrives) refreshAfter() int { return secondsIf(r.InProgress, 2, 15) }

func (v *visit) redrives() error {
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Redrive, string, error) {
		return v.api.Redrives(v.Context(), size, token)
	})
	if err != nil {
		return err
	}
	p := redrives{Rows: rows, More: v.more(next, len(rows))}
	for _, x := range rows {
		p.InProgress = p.InProgress || !x.Done()
	}
	return v.page(http.StatusOK, "redrives", "Bulk retries", p)
}

// redrive is the page of one redrive.
type redrive struct {
	X      tasks.RedriveProgress
	Result progress // of the requeued desktops
	Rows   []tasks.RedriveItem
	More   more
	Filter failureFields
	Moves  bool // desktops may still change
}

func (r redrive) refreshAfter() int { return secondsIf(r.Moves, 2, 0) }

func (v *visit) redrive() error {
	x, err := v.api.RedriveByID(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.RedriveItem, string, error) {
		return v.api.RedriveItems(v.Context(), x.ID, size, token)
	})
	if err != nil {
		return err
	}
	f := x.Filter
	p := redrive{
		X: x, Rows: rows, More: v.more(next, len(rows)), Moves: x.Moves(),
		Result: progressOf(tasks.Operation{Total: x.Retried, Counts: x.Counts}),
		Filter: failureFields{f.Project, string(f.Class), f.Code, f.Operation, f.User, f.Source, v.exactly(f.From), v.exactly(f.To)},
	}
	return v.page(http.StatusOK, "redrive", "Bulk retry "+x.ID, p)
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
