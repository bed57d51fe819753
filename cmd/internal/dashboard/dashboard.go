package dashboard

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// Config configures the handler. All fields are required.
type Config struct {
	As    func(access.Key, server.Origin) *api.Client // a client of the API with the rights of a key
	Keys  *access.Keys
	Audit *server.Audit
	Guard *access.Guard // shared with the API, so that guessing keys has one limit
	Log   zerolog.Logger
	Now   func() time.Time
}

// dashboard serves the pages.
type dashboard struct {
	Config
	mux       *http.ServeMux
	templates map[string]*template.Template
	large     *server.Turns // of large forms that are processed
}

// route is a page or an action with its required role; "" requires no sign-in.
type route struct {
	pattern string // as http.ServeMux has it
	role    access.Role
	handle  func(*visit) error
}

// routes lists all routes. Every change is a POST, which browsers send only from our own
// pages.
var routes = []route{
	{"GET /signin", "", (*visit).signinPage},
	{"POST /signin", "", (*visit).signIn},
	{"GET /assets/{file}", "", (*visit).asset},
	{"POST /zone", access.Viewer, (*visit).switchZone},
	{"POST /signout", access.Viewer, (*visit).signOut},
	{"GET /{$}", access.Viewer, (*visit).overview},
	{"GET /operations", access.Viewer, (*visit).operations},
	{"GET /operations/{id}", access.Viewer, (*visit).operation},
	{"GET /operations/{id}/calls", access.Viewer, (*visit).calls},
	{"GET /operations/{id}/report", access.Viewer, (*visit).report},
	{"POST /operations/{id}/cancel", access.Operator, (*visit).cancel},
	{"GET /operations/{id}/undo", access.Operator, (*visit).previewUndo},
	{"POST /operations/{id}/undo/preview", access.Operator, (*visit).previewUndo},
	{"POST /operations/{id}/undo", access.Operator, (*visit).startUndo},
	{"POST /operations/{id}/approve", access.Approver, (*visit).approve},
	{"POST /operations/{id}/reject", access.Approver, (*visit).reject},
	{"GET /schedules", access.Viewer, (*visit).schedules},
	{"GET /schedule/new", access.Operator, (*visit).scheduleForm},
	{"POST /schedule/new", access.Operator, (*visit).addSchedule},
	{"GET /schedules/{name}", access.Viewer, (*visit).schedule},
	{"POST /schedules/{name}/run", access.Operator, (*visit).runSchedule},
	{"POST /schedules/{name}/skip", access.Operator, (*visit).skipSchedule},
	{"POST /schedules/{name}/unskip", access.Operator, (*visit).unskipSchedule},
	{"POST /schedules/{name}/pause", access.Operator, (*visit).pauseSchedule},
	{"POST /schedules/{name}/resume", access.Operator, (*visit).resumeSchedule},
	{"POST /schedules/{name}/remove", access.Operator, (*visit).removeSchedule},
	{"GET /failures", access.Viewer, (*visit).failures},
	{"GET /failures.csv", access.Viewer, (*visit).failuresCSV},
	{"GET /redrives", access.Viewer, (*visit).redrives},
	{"GET /redrives/preview", access.Operator, (*visit).previewRedrive},
	{"GET /dismissals/preview", access.Operator, (*visit).previewDismissal},
	{"POST /redrives/preview", access.Operator, (*visit).previewRedrive},
	{"POST /dismissals/preview", access.Operator, (*visit).previewDismissal},
	{"POST /dismissals", access.Operator, (*visit).dismiss},
	{"POST /redrives", access.Operator, (*visit).startRedrive},
	{"GET /redrives/{id}", access.Viewer, (*visit).redrive},
	{"POST /redrives/{id}/abort", access.Operator, (*visit).abortRedrive},
	{"GET /cancellations", access.Viewer, (*visit).cancellations},
	{"GET /cancellations/preview", access.Operator, (*visit).previewCancellation},
	{"POST /cancellations", access.Operator, (*visit).startCancellation},
	{"GET /cancellations/{id}", access.Viewer, (*visit).cancellation},
	{"POST /cancellations/{id}/abort", access.Operator, (*visit).abortCancellation},
	{"GET /search", access.Viewer, (*visit).search},
	{"GET /person", access.Viewer, (*visit).person},
	{"GET /desktop", access.Viewer, (*visit).desktop},
	{"GET /new", access.Producer, (*visit).newDetach},
	{"GET /new/plan", access.Producer, (*visit).planPage},
	{"POST /new/plan", access.Producer, (*visit).planDetach},
	{"POST /new/edit", access.Producer, (*visit).editDetach},
	{"POST /new", access.Producer, (*visit).startDetach},
	{"GET /recalls", access.Viewer, (*visit).recalls},
	{"GET /recall", access.Producer, (*visit).recallForm},
	{"POST /recall", access.Producer, (*visit).startRecall},
	{"GET /recalls/{id}", access.Viewer, (*visit).recall},
	{"GET /came-back", access.Producer, (*visit).cameBackForm},
	{"POST /came-back", access.Producer, (*visit).startReview},
	{"GET /came-back/{id}", access.Producer, (*visit).review},
	{"GET /came-back/{id}/csv", access.Producer, (*visit).reviewCSV},
	{"GET /projects", access.Viewer, (*visit).projects},
	{"POST /projects/stop", access.Admin, (*visit).stopAll},
	{"POST /projects/resume", access.Admin, (*visit).resumeAll},
	{"POST /projects/{alias}/pause", access.Operator, (*visit).pause},
	{"POST /projects/{alias}/resume", access.Operator, (*visit).resume},
	{"GET /keys", access.Admin, (*visit).keys},
	{"POST /keys", access.Admin, (*visit).createKey},
	{"POST /keys/{id}/revoke", access.Admin, (*visit).revokeKey},
	{"GET /sessions", access.Viewer, (*visit).sessions},
	{"POST /sessions/{id}/end", access.Viewer, (*visit).endSession},
	{"GET /audit", access.Admin, (*visit).auditPage},
	{"GET /codes", access.Viewer, (*visit).codes},
	{"/", access.Viewer, (*visit).notFound},
}

// New returns the handler of all pages.
func New(cfg Config) http.Handler {
	d := &dashboard{Config: cfg, templates: templates(), large: server.NewTurns(4)}
	mux := http.NewServeMux()
	d.mux = mux
	for _, rt := range routes {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, r *http.Request) { d.serve(rt, w, r) })
	}
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Request: r, d: d, w: w}
		v.fail(&api.Problem{
			Status: http.StatusForbidden, Code: "cross_site", Title: "Refused", Detail: "a page of another site sent this; nothing was changed",
		})
	}))
	return secured(crossOrigin.Handler(mux))
}

// Serve returns the handler of the HTTP API, with the dashboard at all other addresses.
func Serve(cfg server.Config) http.Handler {
	if cfg.Guard == nil {
		cfg.Guard = access.NewGuard(cfg.Log, cfg.Now)
	}
	cfg.Pages = New(Config{
		As: server.NewInside(cfg).As, Keys: cfg.Keys, Audit: server.NewAudit(cfg.Store.Record, cfg.Log, cfg.Now), Guard: cfg.Guard,
		Log: cfg.Log, Now: cfg.Now,
	})
	return server.New(cfg)
}

// contentPolicy allows a page to load and run our own files only, and forbids framing.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", contentPolicy)
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "same-origin")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Cache-Control", "no-store")
		h.ServeHTTP(w, r)
	})
}

const (
	pageTimeout = 30 * time.Second
	// smallForm and largeForm are the maximum bytes of a form; large forms carry lists.
	smallForm = 1 << 20
	largeForm = 8 << 20
)

// visit is one request.
type visit struct {
	*http.Request
	connection context.Context // ends when the visitor leaves; the context of Request has a deadline too
	d          *dashboard
	w          http.ResponseWriter
	key        access.Key
	origin     server.Origin
	api        *api.Client
}

func (d *dashboard) serve(rt route, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), pageTimeout, errors.New("the page took too long"))
	defer cancel()
	v := &visit{Request: r.WithContext(ctx), connection: r.Context(), d: d, w: w, origin: server.OriginOf(r)}
	most := int64(smallForm)
	if strings.HasPrefix(r.URL.Path, "/new") {
		most = largeForm
	}
	v.Body = http.MaxBytesReader(w, r.Body, most)
	if err := v.authorize(rt); err != nil {
		v.fail(err)
	}
}

// authorize finds the visitor and handles the route if the role allows it.
func (v *visit) authorize(rt route) error {
	if rt.role == "" {
		return rt.handle(v)
	}
	key, err := v.d.Keys.Session(v.Context(), v.sessionCookie(), !v.refreshes())
	if errors.Is(err, access.ErrRefused) {
		if v.sessionCookie() != "" {
			v.refused(http.StatusUnauthorized, "session_refused")
		}
		return v.askToSignIn()
	}
	if err != nil {
		v.d.Log.Error().Err(err).Msg("reading a session failed")
		return refusedByRedis(err)
	}
	v.origin.Session = access.SessionID(v.sessionCookie())
	v.key, v.api = key, v.d.As(key, v.origin)
	if !v.may(rt.role) {
		v.refused(http.StatusForbidden, "role_missing")
		return &api.Problem{Status: http.StatusForbidden, Code: "role_missing",
			Detail: "this needs the role " + string(rt.role) + ", and your key has " + string(key.Role)}
	}
	if _, err := url.ParseQuery(v.URL.RawQuery); err != nil { // URL.Query would drop a filter
		return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid,
			Detail: fmt.Sprintf("the address cannot be read, %v: open the page again and choose the filters there", err)}
	}
	return rt.handle(v)
}

// refused logs a refusal of this package; the API logs its own.
func (v *visit) refused(status int, code string) {
	server.Refused(v.d.Log, v.key, v.origin, "", v.Method, v.URL.Path, status, code)
}

// act begins the audit of an action of the visitor that the API does not know of.
func (v *visit) act(action tasks.AuditAction, key access.Key, target string) *server.Act {
	return v.d.Audit.Act(v.Context(), tasks.AuditEvent{
		Action: action, KeyID: key.ID, KeyName: key.Name, Owner: key.Owner, Address: v.origin.Address, Target: target,
	})
}

// may reports whether the visitor has a role or one that includes it.
func (v *visit) may(role access.Role) bool { return v.key.Role.Includes(role) }

// refreshes reports whether the page's script sent the request, and not a person.
func (v *visit) refreshes() bool { return v.Header.Get("Detachd-Refresh") != "" }

func (v *visit) notFound() error {
	return &api.Problem{Status: http.StatusNotFound, Code: "not_found", Detail: "there is no page at this address"}
}
