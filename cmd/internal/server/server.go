package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rs/xid"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
)

// Config makes a handler.
type Config struct {
	Store *app.Store // required
	Keys  *access.Keys
	Guard *access.Guard // against guessing of keys; default: a new one
	Log   zerolog.Logger
	Now   func() time.Time // default time.Now
	// Pages is the dashboard: it answers every path outside the API. nil: 404.
	Pages http.Handler
	// RateLimit is the number of requests a second of each key to this process, with
	// bursts of twice that; 0: no limit. In-process clients have no limit.
	RateLimit int
	// Metrics counts requests and answers GET /metrics; nil: no metrics.
	Metrics Metrics
	Spans   *spans.Maker // nil: no spans
	// Local says that the clients of NewInside are the process itself: no limits on the
	// size of bodies and the time of answers, and errors come as a *LocalError.
	Local bool
}

const (
	// maxBody is the largest body: 100,000 ids of 80 bytes.
	maxBody = 8 << 20
	// patience limits an answer that does not stream, and the time in which a client
	// must read the next part of one that does. Clients wait a minute; a large request on
	// a busy machine needs most of it.
	patience = 50 * time.Second
)

// server answers requests.
type server struct {
	Config
	record  *record.Record
	routes  []route
	limits  *limits
	streams *streams
	stats   statsCaches
	ahead   aheadCache
	audit   *Audit
	ready   readiness

	largeBodies *Turns // held while a large body is read, decoded and worked on
	largePlans  *Turns // held while a large plan is read

	patience, bodyPatience, acquirePatience, planPatience, accessPatience time.Duration
	pace                                                                  pace
}

// New makes the handler of all that the server serves.
func New(cfg Config) http.Handler { return newServer(cfg) }

func newServer(cfg Config) *server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Guard == nil {
		cfg.Guard = access.NewGuard(cfg.Log, cfg.Now)
	}
	return &server{
		Config: cfg, record: cfg.Store.Record, routes: routes, limits: newLimits(cfg.RateLimit), streams: newStreams(),
		audit:       NewAudit(cfg.Store.Record, cfg.Log, cfg.Now),
		ready:       readiness{try: cfg.Store.Record.TryWrite},
		largeBodies: NewTurns(maxLargeBodies), largePlans: NewTurns(maxLargePlans),
		patience: patience, bodyPatience: bodyPatience, acquirePatience: acquirePatience, planPatience: planPatience,
		accessPatience: accessPatience, pace: defaultPace,
	}
}

// request is a request that is being answered.
type request struct {
	*http.Request
	server *server
	w      http.ResponseWriter
	id     string // request id
	trace  string // a traceparent of version 00, or empty: the caller's, or that of span

	tracestate string // valid, or empty
	span       *spans.Span
	status     int // that was answered; 0: another than answer did

	key    access.Key
	origin Origin
	vars   map[string]string
	hidden bool     // the key must not know of what it asked for
	after  []func() // run when it has been answered

	connection context.Context // of the connection, without patience
}

// handler answers a request, or returns the error to answer with.
type handler func(s *server, r *request) error

// route is a row of the table of routes. Role "" requires no key.
type route struct {
	method, path string
	role         access.Role
	handle       handler
}

// routes is the table of routes. {x} is a segment of the path; a colon precedes a verb.
var routes = []route{
	{"POST", "/v1/operations", access.Producer, (*server).createOperation},
	{"POST", "/v1/plans", access.Producer, (*server).createPlan},
	{"GET", "/v1/plans/{id}", access.Producer, (*server).getPlan},
	{"GET", "/v1/operations", access.Viewer, (*server).listOperations},
	{"GET", "/v1/operations/{id}", access.Viewer, (*server).getOperation},
	{"GET", "/v1/operations/{id}/desktops", access.Viewer, (*server).listDesktops},
	{"GET", "/v1/operations/{id}/events", access.Viewer, noInput((*server).watchOperation)},
	{"GET", "/v1/operations/{id}/calls", access.Viewer, noInput((*server).listCalls)},
	{"GET", "/v1/operations/{id}/report", access.Viewer, (*server).getReport},
	{"POST", "/v1/operations/{id}:cancel", access.Operator, (*server).cancelOperation},
	{"POST", "/v1/operations/{id}:approve", access.Approver, (*server).approveOperation},
	{"POST", "/v1/operations/{id}:reject", access.Approver, (*server).rejectOperation},
	{"POST", "/v1/operations/{id}:undo", access.Operator, (*server).undoOperation},
	{"POST", "/v1/operations/{id}:retry", access.Operator, (*server).retryOperation},
	{"GET", "/v1/desktops", access.Viewer, (*server).searchDesktops},
	{"GET", "/v1/desktops/{desktop}", access.Viewer, noInput((*server).getDesktop)},
	{"GET", "/v1/search", access.Viewer, (*server).search},
	{"GET", "/v1/users/{name}/access", access.Producer, noInput((*server).getAccess)},
	{"POST", "/v1/access-reviews", access.Producer, (*server).createReview},
	{"GET", "/v1/access-reviews/{id}", access.Producer, noInput((*server).getReview)},
	{"GET", "/v1/access-reviews/{id}/items", access.Producer, (*server).listCameBack},
	{"GET", "/v1/failures", access.Viewer, (*server).listFailures},
	{"GET", "/v1/failures:count", access.Viewer, (*server).countFailures},
	{"POST", "/v1/failures:dismiss", access.Operator, (*server).dismissFailures},
	{"POST", "/v1/redrives", access.Operator, (*server).createRedrive},
	{"GET", "/v1/redrives", access.Viewer, (*server).listRedrives},
	{"GET", "/v1/redrives/{id}", access.Viewer, noInput((*server).getRedrive)},
	{"GET", "/v1/redrives/{id}/desktops", access.Viewer, (*server).listRedriven},
	{"POST", "/v1/redrives/{id}:abort", access.Operator, noInput((*server).abortRedrive)},
	{"POST", "/v1/cancellations", access.Operator, (*server).createCancellation},
	{"GET", "/v1/cancellations", access.Viewer, (*server).listCancellations},
	{"GET", "/v1/cancellations/{id}", access.Viewer, noInput((*server).getCancellation)},
	{"GET", "/v1/cancellations/{id}/desktops", access.Viewer, (*server).listTooLate},
	{"POST", "/v1/cancellations/{id}:abort", access.Operator, noInput((*server).abortCancellation)},
	{"POST", "/v1/recalls", access.Producer, (*server).createRecall},
	{"GET", "/v1/recalls", access.Viewer, (*server).listRecalls},
	{"GET", "/v1/recalls/{id}", access.Viewer, noInput((*server).getRecall)},
	{"GET", "/v1/codes", access.Viewer, noInput((*server).listCodes)},
	{"GET", "/v1/key", access.Viewer, noInput((*server).whoAmI)},
	{"GET", "/v1/keys", access.Admin, noInput((*server).listKeys)},
	{"POST", "/v1/keys", access.Admin, (*server).createKey},
	{"POST", "/v1/keys/{id}:revoke", access.Admin, (*server).revokeKey},
	{"GET", "/v1/protections", access.Viewer, noInput((*server).listProtections)},
	{"POST", "/v1/protections", access.Admin, (*server).addProtection},
	{"POST", "/v1/protections/{name}:remove", access.Admin, (*server).removeProtection},
	{"GET", "/v1/schedules", access.Viewer, (*server).listSchedules},
	{"POST", "/v1/schedules", access.Operator, (*server).addSchedule},
	{"POST", "/v1/schedules:preview", access.Viewer, (*server).previewTicks},
	{"GET", "/v1/schedules/{schedule}", access.Viewer, noInput((*server).getSchedule)},
	{"GET", "/v1/schedules/{schedule}/next", access.Viewer, (*server).listTicks},
	{"POST", "/v1/schedules/{schedule}:pause", access.Operator, (*server).pauseSchedule},
	{"POST", "/v1/schedules/{schedule}:resume", access.Operator, (*server).resumeSchedule},
	{"POST", "/v1/schedules/{schedule}:run", access.Operator, (*server).runSchedule},
	{"POST", "/v1/schedules/{schedule}:skip", access.Operator, (*server).skipTick},
	{"POST", "/v1/schedules/{schedule}:unskip", access.Operator, (*server).unskipTick},
	{"POST", "/v1/schedules/{schedule}:remove", access.Operator, (*server).removeSchedule},
	{"GET", "/v1/sessions", access.Viewer, noInput((*server).listSessions)},
	{"POST", "/v1/sessions/{id}:end", access.Viewer, (*server).endSession},
	{"GET", "/v1/audit", access.Admin, (*server).listAudit},
	{"GET", "/v1/projects", access.Viewer, noInput((*server).listProjects)},
	{"POST", "/v1/projects:stop", access.Admin, (*server).stopAll},
	{"POST", "/v1/projects:resume", access.Admin, (*server).resumeAll},
	{"POST", "/v1/projects/{alias}:pause", access.Operator, (*server).pauseProject},
	{"POST", "/v1/projects/{alias}:resume", access.Operator, (*server).resumeProject},
	{"GET", "/v1/workers", access.Viewer, noInput((*server).listWorkers)},
	{"GET", "/openapi.json", "", (*server).openAPI},
	{"GET", "/docs", "", (*server).docs},
	{"GET", "/v1/stats", access.Viewer, (*server).getStats},
	{"GET", "/healthz", "", (*server).healthz},
	{"GET", "/readyz", "", (*server).readyz},
	{"GET", "/metrics", access.Viewer, noInput((*server).getMetrics)},
}

// noInput is for handlers that take neither parameters nor a body.
func noInput(h handler) handler {
	return func(s *server, r *request) error {
		err := r.query().err()
		if r.Method == http.MethodPost {
			err = r.decode(&struct{}{}, true)
		}
		if err != nil {
			return err
		}
		return h(s, r)
	}
}

// match finds the route of a request. If the path has only other methods, these are allowed.
func match(routes []route, method, path string) (found *route, vars map[string]string, allowed []string) {
	for i := range routes {
		vars, ok := routes[i].vars(path)
		if !ok {
			continue
		}
		if routes[i].method == method {
			return &routes[i], vars, nil
		}
		if allowed = append(allowed, routes[i].method); routes[i].method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	return nil, nil, allowed
}

// vars are the variable segments of a path; false if the path is another route's.
func (rt *route) vars(path string) (map[string]string, bool) {
	want, have := strings.Split(rt.path, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	vars := map[string]string{}
	for i, w := range want {
		name, verb, _ := strings.Cut(w, ":")
		if !strings.HasPrefix(name, "{") {
			if w != have[i] {
				return nil, false
			}
			continue
		}
		value := have[i]
		if verb != "" {
			var ok bool
			if value, ok = strings.CutSuffix(value, ":"+verb); !ok {
				return nil, false
			}
		}
		// Ids of desktops and names of users may have a colon; elsewhere it precedes a verb.
		if value == "" || name != "{desktop}" && name != "{name}" && strings.Contains(value, ":") {
			return nil, false
		}
		vars[strings.Trim(name, "{}")] = value
	}
	return vars, true
}

// isAPI reports whether a path is the API's, and not a page.
func isAPI(path string) bool {
	return path == "/v1" || strings.HasPrefix(path, "/v1/") || slices.ContainsFunc(routes, func(rt route) bool { return rt.path == path })
}

func (s *server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &request{Request: hr, server: s, w: w, id: requestID(hr), origin: OriginOf(hr), connection: hr.Context()}
	// The specification says to ignore an invalid traceparent, and the tracestate with it.
	if sent := hr.Header.Values("Traceparent"); len(sent) == 1 {
		if r.trace = tasks.Traceparent(sent[0]); r.trace != "" {
			r.tracestate = tasks.Tracestate(hr.Header.Values("Tracestate")...)
		}
	}
	begun := time.Now()
	h := w.Header()
	h.Set("X-Request-Id", r.id)
	h.Set("X-Content-Type-Options", "nosniff")
	if hr.TLS != nil {
		setHSTS(h)
	}
	h.Set("Cache-Control", "no-store")
	method := hr.Method
	if method == http.MethodHead { // answered as GET: net/http sends no body
		method = http.MethodGet
	}
	rt, vars, allowed := match(s.routes, method, hr.URL.EscapedPath())
	var err error
	switch {
	case s.Pages != nil && !isAPI(hr.URL.Path):
		sw := &statusWriter{ResponseWriter: w}
		s.Pages.ServeHTTP(sw, hr)
		s.count("pages", hr.Method, cmp.Or(sw.status, http.StatusOK), begun)
		return
	case rt != nil:
		r.vars = vars
		err = s.serve(rt, r, begun)
	case len(allowed) > 0:
		h.Set("Allow", strings.Join(allowed, ", "))
		err = problem(http.StatusMethodNotAllowed, "method_not_allowed", "%s is not allowed here: use %s", hr.Method, h.Get("Allow"))
	default:
		err = problem(http.StatusNotFound, "not_found", "nothing is served at this path: check it against /docs")
	}
	status, code := http.StatusOK, ""
	if err != nil {
		s.logRefusal(r, err)
		status, code = s.refuse(r, err), problemOf(err).Code
	}
	r.span.Answered(cmp.Or(r.status, status), code)
	s.Log.Debug().Str("method", hr.Method).Str("path", hr.URL.Path).Int("status", status).Func(r.tag).
		Str("key", r.key.ID).Dur("took_ms", time.Since(begun)).Msg("request")
	path := "none"
	if rt != nil {
		path = rt.path
	}
	s.count(path, hr.Method, status, begun)
}

func (s *server) count(route, method string, status int, begun time.Time) {
	if s.Metrics != nil {
		s.Metrics.Request(route, method, status, time.Since(begun))
	}
}

var sane = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID is the caller's request id if it is safe to log, else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); sane.MatchString(id) {
		return id
	}
	return xid.New().String()
}

// traceID finds the request in the caller's traces; "" if it came without a trace.
func (r *request) traceID() string {
	return tasks.TraceID(r.trace)
}

// tag adds the ids of the request to a line of the log.
func (r *request) tag(e *zerolog.Event) {
	e.Str("request_id", r.id)
	if id := r.traceID(); id != "" {
		e.Str("trace_id", id)
	}
	if r.span != nil {
		e.Str("span_id", tasks.SpanID(r.trace))
	}
}

func (s *server) serve(rt *route, r *request, arrived time.Time) error {
	defer func() {
		for _, f := range r.after {
			f()
		}
	}()
	if !s.Local {
		ctx, cancel := context.WithTimeoutCause(r.Context(), s.patience, errAnswerTooSlow)
		defer cancel()
		r.Request = r.WithContext(ctx)
	}
	if rt.role != "" {
		if err := s.authenticate(r, rt.role); err != nil {
			return err
		}
		s.trace(rt, r, arrived)
	}
	if !s.Local {
		r.Body = http.MaxBytesReader(r.w, r.Body, maxBody)
	}
	return rt.handle(s, r)
}

// trace begins the span of a request that has a valid key: others could fill the collector. What
// asks for metrics has none: it is a machine that asks all the time.
func (s *server) trace(rt *route, r *request, arrived time.Time) {
	if rt.path == "/metrics" {
		return
	}
	ctx, span := s.Spans.Request(r.Context(), spans.Context{Traceparent: r.trace, Tracestate: r.tracestate}, arrived, rt.method, rt.path, r.id)
	if span != nil {
		r.span = span
		r.trace, r.tracestate = span.Context().Traceparent, span.Context().Tracestate
	}
	r.Request = r.WithContext(ctx)
}

// authenticate finds the key of a request (Authorization: Bearer dk_…) and checks its role
// and limits. After many wrong keys from an address the next one has to wait.
func (s *server) authenticate(r *request, role access.Role) error {
	if from, inside := r.Context().Value(insideKey{}).(insideCaller); inside {
		r.key, r.origin = from.key, from.origin
		return r.require(role)
	}
	scheme, sent, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") { // RFC 9110: a scheme has no case
		r.w.Header().Set("WWW-Authenticate", `Bearer realm="detachd"`)
		return problem(http.StatusUnauthorized, "no_key", "no key was sent: send Authorization: Bearer dk_…; detachd keys create makes one")
	}
	sent = strings.TrimSpace(sent)
	if after, ok := s.Guard.Wait(r.RemoteAddr, sent); !ok {
		p := problem(http.StatusTooManyRequests, "slow_down", "too many wrong keys from this address: wait until Retry-After has passed")
		p.RetryAfter = after
		return p
	}
	key, err := s.Keys.Authenticate(r.Context(), sent)
	if errors.Is(err, access.ErrRefused) {
		s.Guard.Failed(r.RemoteAddr, sent)
		r.w.Header().Set("WWW-Authenticate", `Bearer realm="detachd", error="invalid_token"`)
		return problem(http.StatusUnauthorized, "key_refused", "the key is not valid: it is unknown, revoked or expired; use another one")
	}
	if err != nil {
		return err
	}
	s.Guard.Succeeded(r.RemoteAddr, sent)
	r.key = key
	if err := s.limits.allow(r.w.Header(), key.ID, s.Now()); err != nil {
		return err
	}
	return r.require(role)
}

// require refuses a caller whose key does not have the role.
func (r *request) require(role access.Role) error {
	if !r.key.Role.Includes(role) {
		return problem(http.StatusForbidden, "role_missing", "this takes the role %s, and the key has %s; nothing was changed", role, r.key.Role)
	}
	return nil
}

func wrongProject(project string) error {
	return problem(http.StatusForbidden, "project_not_allowed",
		"the key is not for project %s; nothing was changed: use a key for that project", project)
}

// maySee reports whether the key may see the project. Callers answer 404 if not, so that
// nothing leaks; the log says that there was something.
func (r *request) maySee(project string) bool {
	sees := r.key.Sees(project)
	r.hidden = r.hidden || !sees
	return sees
}

func (s *server) healthz(r *request) error {
	return r.answer(http.StatusOK, map[string]string{"status": "ok"})
}
