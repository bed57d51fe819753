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
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redisfault"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates are the pages, by name. Each is set in layout.html.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // they are embedded
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
}

// frame is what layout.html is made of.
type frame struct {
	Title    string
	Page     string // the template
	SignedIn bool
	Key      access.Key
	Said     string // what came of what was just done
	Refresh  int    // seconds after which the script looks again; 0: never
	From     string // where it looks; empty: at the page's own address
	Query    string // in the field for searching
	At       time.Time
	Zone     *time.Location // of the times
	// ZoneUnset: nobody has chosen the zone, and the script may.
	ZoneUnset bool
	Here      string // to come back to
	P         any    // of the page itself
}

// Can reports whether the visitor may do what takes a role: what a role may not do
// is not offered.
func (f frame) Can(role string) bool { return f.Key.Role.Includes(access.Role(role)) }

// refreshing is a page that moves.
type refreshing interface{ refreshAfter() int }

// elsewhere is one that came of a form, and has a copy at an address.
type elsewhere interface{ refreshFrom() string }

// page answers with a page; p is what its template is made of.
func (v *visit) page(status int, name, title string, p any) error {
	f := frame{Title: title, Page: name, SignedIn: v.api != nil, Key: v.key, At: v.d.Now().UTC(), Zone: v.zone(), ZoneUnset: v.zoneUnset(), Here: "/", P: p, Query: v.URL.Query().Get("q")}
	if r, moves := p.(refreshing); moves {
		f.Refresh = r.refreshAfter()
	}
	if e, is := p.(elsewhere); is {
		f.From = e.refreshFrom()
	}
	if v.Method == http.MethodGet {
		f.Here = v.URL.RequestURI()
	}
	if f.SignedIn && !v.refreshes() {
		f.Said = v.said()
	}
	var text bytes.Buffer
	if err := templates[name].ExecuteTemplate(&text, "layout", f); err != nil {
		v.d.Log.Error().Err(err).Str("page", name).Msg("a page could not be made")
		http.Error(v.w, "detachd: this page could not be made; the log says why", http.StatusInternalServerError)
		return nil
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = text.WriteTo(v.w) // who has gone is not our business
	return nil
}

// see leads to another page, which says what was done.
func (v *visit) see(to, said string) error {
	v.cookie(saidName, base64.RawURLEncoding.EncodeToString([]byte(said)), 60)
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

// said is what the page before has left to be said, once.
func (v *visit) said() string {
	c, err := v.Cookie(saidName)
	if err != nil {
		return ""
	}
	v.cookie(saidName, "", -1)
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return ""
	}
	return string(text)
}

// failed is the page of an error.
type failed struct {
	*api.Problem
	Headline string
	Advice   string
	Again    string // a page to try again
}

// fail answers with the page of an error.
func (v *visit) fail(err error) {
	var p *api.Problem
	if !errors.As(err, &p) {
		v.d.Log.Error().Err(err).Str("path", v.URL.Path).Msg("a page could not be answered")
		p = &api.Problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "something went wrong here; the log says what"}
	}
	f := failed{Problem: p, Headline: "This did not work"}
	if v.Method == http.MethodGet {
		f.Again = v.URL.RequestURI()
	}
	fault := redisfault.ByCode(p.Code)
	switch {
	case p.Code == redisfault.Away:
		f.Headline, f.Advice = "Redis is away", "The record and the queue cannot be reached, so nothing can be shown or done just now. Nothing that was accepted is lost; workers wait and go on by themselves. detachd doctor says more."
		f.Detail = ""
	case fault != nil:
		f.Headline, f.Advice = "Redis refuses", "Nothing was done, and nothing that was accepted is lost; workers wait and go on by themselves. Whoever runs the server: "+fault.Advice+"."
		f.Detail = fault.Meaning + "."
	case p.Status == http.StatusForbidden && p.Code != "cross_site":
		f.Headline, f.Advice = "Not with this key", "Ask an administrator for a key that may do this, or sign in with another one."
		f.Again = ""
	case p.Status == http.StatusNotFound:
		f.Headline, f.Advice = "There is nothing here", "It may be misspelt, of a project that your key is not for, or past its retention."
		f.Again = ""
	case p.Status == http.StatusBadRequest || p.Status == http.StatusUnprocessableEntity:
		f.Headline = "That cannot be done so"
		f.Again = ""
	}
	copied := *p // a problem may be shared
	copied.Detail = f.Detail
	f.Problem = &copied
	_ = v.page(p.Status, "error", f.Headline, f)
}

// refusedByRedis is the problem of a session that could not be read.
func refusedByRedis(err error) *api.Problem {
	f := redisfault.Of(err)
	if f == nil {
		f = redisfault.ByCode(redisfault.Away)
	}
	return &api.Problem{Status: http.StatusServiceUnavailable, Code: f.Code}
}

// badForm is what is wrong with a form that cannot be read.
func badForm(err error) error {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return &api.Problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: "what was sent is larger than can be taken at once; nothing was done: split the list"}
	}
	return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "what was sent could not be read; nothing was done"}
}
