package dashboard

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// preview is the page that says what a redrive would take up, or a dismissal would
// take out of the inbox, before it does.
type preview struct {
	Filter  failureFields
	Picks   []tasks.DesktopRef // what was chosen; empty: all that match the filter
	Matched int
	Groups  []failureGroup
	Key     string // makes sending it twice harmless
	Type    bool   // the number has to be typed
}

// redriveForm reads what a form asks to be taken up: what was chosen, or all that
// match.
func (v *visit) redriveForm() (p preview, req api.RedriveRequest, err error) {
	if err := v.ParseForm(); err != nil {
		return p, req, badForm(err)
	}
	p.Filter = fieldsOf(v.PostFormValue)
	if v.PostFormValue("which") == "all" {
		var c choice
		req.Filter, err = v.failureFilter(&p.Filter, &c)
		return p, req, err
	}
	if p.Picks, err = v.picks(); err == nil && len(p.Picks) == 0 {
		err = &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "nothing was chosen, and nothing was done"}
	}
	req.Desktops = p.Picks
	return p, req, err
}

func (v *visit) previewRedrive() error {
	p, req, err := v.redriveForm()
	if err != nil {
		return err
	}
	m, err := v.meanings()
	if err != nil {
		return err
	}
	match, err := v.api.MatchRedrive(v.Context(), req)
	if err != nil {
		return err
	}
	p.fill(match, m)
	return v.page(http.StatusOK, "preview", "Redrive", p)
}

func (p *preview) fill(match api.FailureMatch, m meanings) {
	p.Matched, p.Key, p.Type = match.Matched, rand.Text(), match.Matched >= mustType
	for _, c := range match.By {
		p.Groups = append(p.Groups, failureGroup{
			Project: c.Project, Class: c.Class, Code: c.Code, Count: c.Count, Why: m.codes[c.Code], Advice: m.advice(c.Code, c.Class),
		})
	}
}

func (v *visit) previewDismissal() error {
	p, req, err := v.redriveForm()
	if err != nil {
		return err
	}
	m, err := v.meanings()
	if err != nil {
		return err
	}
	match, err := v.api.MatchDismiss(v.Context(), api.DismissRequest{Filter: req.Filter, Desktops: req.Desktops})
	if err != nil {
		return err
	}
	p.fill(match, m)
	return v.page(http.StatusOK, "dismiss", "Dismiss", p)
}

func (v *visit) dismiss() error {
	_, req, err := v.redriveForm()
	if err != nil {
		return err
	}
	matched, err := whole("matched", v.PostFormValue("matched"))
	if err != nil {
		return err
	}
	if err := v.typedCount(matched); err != nil {
		return err
	}
	done, err := v.api.Dismiss(v.Context(), api.DismissRequest{
		Filter: req.Filter, Desktops: req.Desktops, Matched: matched, Reason: strings.TrimSpace(v.PostFormValue("reason")),
	})
	if err != nil {
		return err
	}
	return v.see("/failures", plural(done.Dismissed, "desktop was", "desktops were")+" dismissed: nothing is done about them. The trails of their operations say so.")
}

func (v *visit) startRedrive() error {
	_, req, err := v.redriveForm()
	if err != nil {
		return err
	}
	matched, err := whole("matched", v.PostFormValue("matched"))
	if err != nil {
		return err
	}
	if err := v.typedCount(matched); err != nil {
		return err
	}
	if req.PerSecond, err = whole("per_second", v.PostFormValue("per_second")); err != nil {
		return err
	}
	req.Reason, req.IdempotencyKey = strings.TrimSpace(v.PostFormValue("reason")), v.PostFormValue("key")
	x, err := v.api.Redrive(v.Context(), req)
	if err != nil {
		return err
	}
	return v.see("/redrives/"+x.ID, "The redrive has begun.")
}

// redrives is the list of redrives.
type redrives struct {
	Rows  []tasks.Redrive
	More  more
	Moves bool
}

func (r redrives) refreshAfter() int {
	if r.Moves {
		return 2
	}
	return 15
}

func (v *visit) redrives() error {
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Redrive, string, error) {
		return v.api.Redrives(v.Context(), size, token)
	})
	if err != nil {
		return err
	}
	p := redrives{Rows: rows, More: v.more(next, len(rows))}
	for _, x := range rows {
		p.Moves = p.Moves || !x.Done()
	}
	return v.page(http.StatusOK, "redrives", "Redrives", p)
}

// redrive is the page of one redrive.
type redrive struct {
	X      tasks.RedriveProgress
	Came   progress // what came of what it took up
	Rows   []tasks.RedriveItem
	More   more
	Filter failureFields
	Moves  bool // desktops may still change
}

func (r redrive) refreshAfter() int {
	if r.Moves {
		return 2
	}
	return 0
}

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
	p := redrive{X: x, Came: progressOf(tasks.Operation{Total: x.Retried, Counts: x.Counts}), Rows: rows, More: v.more(next, len(rows)), Moves: x.Moves(), Filter: failureFields{
		Project: x.Filter.Project, Class: x.Filter.Class, Code: x.Filter.Code, Operation: x.Filter.Operation, User: x.Filter.User, Source: x.Filter.Source,
		From: v.exactly(x.Filter.From), To: v.exactly(x.Filter.To),
	}}
	return v.page(http.StatusOK, "redrive", "Redrive "+x.ID, p)
}

func (v *visit) abortRedrive() error {
	x, err := v.api.AbortRedrive(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	said := "The redrive was aborted. " + plural(x.Retried, "desktop had", "desktops had") + " been taken up; those go on."
	if x.State() != tasks.RedriveAborted {
		said = "The redrive had ended already."
	}
	return v.see("/redrives/"+x.ID, said)
}
