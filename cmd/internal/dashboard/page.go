package dashboard

import (
	"bytes"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redisfault"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates are the pages by name, each inside layout.html. New parses them, once: that takes
// 20 ms and allocates 8 MB, which no other command should pay.
var templates = sync.OnceValue(func() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // the files are embedded
	}
	out := map[string]*template.Template{}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		out[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, path.Join("templates", f.Name())))
	}
	return out
})

// frame is the data of layout.html.
type frame struct {
	Title    string
	State    string // before the title in the window's tab: "63 %", "12 failed"
	Page     string // the template
	SignedIn bool
	Key      access.Key
	Notice   string       // the result of the last action
	Stop     *tasks.Pause // of all projects; nil: none
	Refresh  int          // seconds until the script refreshes the page; 0: never
	From     string       // URL of the fresh copy; empty: the page's own
	Query    string       // in the search field
	At       time.Time
	Zone     *time.Location // of the times
	// ZoneUnset: the visitor has chosen no zone, so the script may.
	ZoneUnset bool
	Here      string // path to return to
	P         any    // the page
}

// Can reports whether the visitor has a role. Pages offer only what the role allows.
func (f frame) Can(role string) bool { return f.Key.Role.Includes(access.Role(role)) }

// MayStop reports whether the visitor may stop all projects at once.
func (f frame) MayStop() bool { return f.Can("admin") && len(f.Key.Projects) == 0 }

// refreshing is a page that the script keeps up to date.
type refreshing interface{ refreshAfter() int }

func secondsIf(busy bool, then, otherwise int) int {
	if busy {
		return then
	}
	return otherwise
}

// titled is a page whose tab shows a state, as people watch tabs. Empty: nothing to tell.
type titled interface{ titleState() string }

// copied is a page that answers a form and has a copy at a URL.
type copied interface{ refreshFrom() string }

// page answers with a page; p is the data of its template.
func (v *visit) page(status int, name, title string, p any) error {
	f := frame{
		Title: title, Page: name, SignedIn: v.api != nil, Key: v.key, At: v.d.Now().UTC(), Zone: v.zone(), ZoneUnset: v.zoneUnset(),
		Here: "/", P: p, Query: v.URL.Query().Get("q"),
	}
	if t, has := p.(titled); has {
		f.State = t.titleState()
	}
	if r, moves := p.(refreshing); moves {
		f.Refresh = r.refreshAfter()
	}
	if e, is := p.(copied); is {
		f.From = e.refreshFrom()
	}
	if v.Method == http.MethodGet {
		f.Here = v.URL.RequestURI()
	}
	if f.SignedIn && name != "error" {
		var err error
		if f.Stop, err = v.stopped(); err != nil {
			return err
		}
	}
	if f.SignedIn && !v.refreshes() {
		f.Notice = v.notice()
	}
	var text bytes.Buffer
	if err := v.d.templates[name].ExecuteTemplate(&text, "layout", f); err != nil {
		v.d.Log.Error().Err(err).Str("page", name).Msg("rendering a page failed")
		http.Error(v.w, "detachd: rendering this page failed; see the server log", http.StatusInternalServerError)
		return nil
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = text.WriteTo(v.w) // the visitor may have left
	return nil
}

// redirect leads to another page, which shows a notice once.
func (v *visit) redirect(to, notice string) error {
	v.cookie(noticeName, base64.RawURLEncoding.EncodeToString([]byte(notice)), 60)
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

// notice returns the notice of the last action and forgets it.
func (v *visit) notice() string {
	c, err := v.Cookie(noticeName)
	if err != nil {
		return ""
	}
	v.cookie(noticeName, "", -1)
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return ""
	}
	return string(text)
}

// failed is the error page.
type failed struct {
	*api.Problem
	Headline string
	Advice   string
	Again    string // URL to try again
	Back     string // URL of the page with the form that was sent
}

// fail answers with the error page.
func (v *visit) fail(err error) {
	var p *api.Problem
	if !errors.As(err, &p) && redisfault.Of(err) != nil {
		p = refusedByRedis(err)
	}
	if p == nil {
		v.d.Log.Error().Err(err).Str("path", v.URL.Path).Msg("answering a page failed")
		p = &api.Problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "internal error; see the server log"}
	}
	f := failed{Problem: p, Headline: "The request failed"}
	if v.Method == http.MethodGet {
		f.Again = v.URL.RequestURI()
	} else if back := ownPath(v.cameFrom()); back != "/" {
		f.Back = back
	}
	fault := redisfault.ByCode(p.Code)
	switch {
	case p.Code == redisfault.Away:
		f.Headline = "Redis does not answer"
		f.Advice = "Nothing that was accepted is lost, and workers continue when Redis is back. Run detachd doctor for details."
		f.Detail = ""
	case fault != nil:
		f.Headline = "Redis refuses commands"
		f.Advice = "Nothing was changed, and nothing that was accepted is lost. The operator of the server can fix it: " + fault.Advice + "."
		f.Detail = fault.Meaning + "."
	case p.Status == http.StatusForbidden && p.Code != "cross_site":
		f.Headline, f.Advice = "Your key does not allow this", "Ask an administrator for a key with this role, or sign in with another key."
		f.Again = ""
	case p.Status == http.StatusNotFound:
		f.Headline, f.Advice = "Not found", "It may be misspelt, past its retention, or in a project that your key cannot access."
		f.Again = ""
	case p.Status == http.StatusBadRequest || p.Status == http.StatusUnprocessableEntity:
		f.Headline = "Invalid request – nothing was changed"
		f.Again = ""
	}
	own := *p // a problem may be shared
	own.Detail = f.Detail
	f.Problem = &own
	_ = v.page(p.Status, "error", f.Headline, f)
}

// refusedByRedis is the problem of a session that Redis did not return.
func refusedByRedis(err error) *api.Problem {
	f := redisfault.Of(err)
	if f == nil {
		f = redisfault.ByCode(redisfault.Away)
	}
	return &api.Problem{Status: http.StatusServiceUnavailable, Code: f.Code}
}

// badForm is the problem of a form that cannot be read.
func badForm(err error) error {
	if big := new(http.MaxBytesError); errors.As(err, &big) {
		const detail = "the form is too large, and nothing was changed: split the list"
		return &api.Problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: detail}
	}
	return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "the form could not be read"}
}
