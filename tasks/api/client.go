package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// Config makes a Client.
type Config struct {
	Server string // such as https://detachd.example.com; its path is kept
	Key    string // dk_…; sent as the bearer token, never printed
	// HTTP sends the requests; default: a client with a timeout of a minute. Its
	// CheckRedirect is ignored. Redirects are never followed: they would forward the key
	// and turn POST into GET.
	HTTP      *http.Client
	UserAgent string
}

// Client is a client of one server. It repeats nothing by itself: call CreateOperation
// with an IdempotencyKey again whatever the error was. It is safe for concurrent use.
type Client struct {
	base  string
	key   secret
	agent string
	http  *http.Client
}

// New makes a Client, and sends nothing.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Server)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("api: the server is not a URL such as https://detachd.example.com")
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: time.Minute, Transport: ours}
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "detachd-client"
	}
	direct := *cfg.HTTP
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: strings.TrimRight(u.String(), "/"), key: secret(cfg.Key), agent: cfg.UserAgent, http: &direct}, nil
}

// ours is the transport of clients that are made without one.
var ours = NewTransport()

// NewTransport returns http.DefaultTransport with errors that do not quote the address of the
// proxy, which may contain a password.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = func(req *http.Request) (*url.URL, error) {
		proxy, err := http.ProxyFromEnvironment(req)
		if err != nil {
			return nil, errors.New("the proxy address in the environment cannot be read")
		}
		return proxy, nil
	}
	return t
}

// secret hides its value when it is printed, in any structure.
type secret string

func (secret) String() string   { return "<secret>" }
func (secret) GoString() string { return "<secret>" }

// String is the address of the server, without the key.
func (c *Client) String() string { return c.base }

// GoString is String.
func (c *Client) GoString() string { return c.base }

// request is a request to send.
type request struct {
	method, path string
	query        url.Values
	body         any
	idempotency  string
	trace        string
	tracestate   string
	lastEvent    string   // Last-Event-ID
	kinds        []string // media types of the answer; default application/json
}

func (r request) answers() []string {
	if len(r.kinds) > 0 {
		return r.kinds
	}
	return []string{"application/json"}
}

func mediaType(resp *http.Response) string {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return kind
}

func notDetachd(resp *http.Response, how string) *Problem {
	return &Problem{Status: resp.StatusCode, Code: CodeNotDetachd,
		Detail: fmt.Sprintf("the answer %s %s did not come from detachd: check the address of the server", resp.Status, how)}
}

func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	if strings.HasSuffix(r.path, "/") || strings.Contains(r.path, "//") || strings.Contains(r.path, "/:") {
		return nil, &Problem{Status: http.StatusBadRequest, Code: CodeInvalid, Detail: "an id is empty; nothing was sent: give the id"}
	}
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("api: %w", err)
		}
		body = bytes.NewReader(text)
	}
	to := c.base + r.path
	if len(r.query) > 0 {
		to += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, to, body)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", strings.Join(r.answers(), ", "))
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+string(c.key))
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.idempotency != "" {
		req.Header.Set("Idempotency-Key", r.idempotency)
	}
	if r.lastEvent != "" {
		req.Header.Set("Last-Event-ID", r.lastEvent)
	}
	if r.trace != "" {
		req.Header.Set("Traceparent", r.trace)
	}
	if r.tracestate != "" {
		req.Header.Set("Tracestate", r.tracestate)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	if kind := mediaType(resp); !slices.Contains(r.answers(), kind) {
		defer resp.Body.Close()
		return nil, notDetachd(resp, fmt.Sprintf("with %.60q", kind))
	}
	return resp, nil
}

// ErrBrokeOff says that an answer was cut off or unreadable. The request may have taken effect.
var ErrBrokeOff = errors.New("the answer of the server was cut off, or is not one of detachd")

// readProblem makes a *Problem of every answer, also one of a proxy.
func readProblem(resp *http.Response) error {
	p := &Problem{}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	kind := mediaType(resp)
	if err != nil || kind != "application/problem+json" || json.Unmarshal(text, p) != nil || p.Code == "" {
		how := fmt.Sprintf("with %.60q", kind)
		if to := resp.Header.Get("Location"); to != "" {
			how = fmt.Sprintf("and points to %.200q", to)
		}
		p = notDetachd(resp, how)
	}
	p.Status = resp.StatusCode
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(s) * time.Second
	}
	return p
}

// call sends a request and decodes the answer.
func call[T any](ctx context.Context, c *Client, r request) (out T, err error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("%w: %w", ErrBrokeOff, err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // a connection is used again only if the answer was read to its end
	return out, nil
}

func list[T any](ctx context.Context, c *Client, path string, q url.Values, size int, token string) ([]T, string, error) {
	if size > 0 {
		q.Set("page_size", strconv.Itoa(size))
	}
	set(q, "page_token", token)
	p, err := call[Page[T]](ctx, c, request{method: "GET", path: path, query: q})
	return p.Items, p.NextPageToken, err
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.Format(time.RFC3339Nano))
	}
}

// segment escapes any text as one segment of a path: a colon would precede a verb, and dots
// would lead up.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
}

func operationPath(id, rest string) string { return "/v1/operations/" + segment(id) + rest }

// CreateOperation submits an operation, which is accepted or refused as a whole. When it
// returns, the operation is recorded; Durability says whether a replica of Redis has it too.
func (c *Client) CreateOperation(ctx context.Context, req OperationRequest) (tasks.Operation, error) {
	req.ValidateOnly = false
	return call[tasks.Operation](ctx, c, request{
		method: "POST", path: "/v1/operations", body: req, idempotency: req.IdempotencyKey,
		trace: req.Traceparent, tracestate: req.Tracestate,
	})
}

// ValidateOperation reports what CreateOperation would refuse, and writes nothing.
func (c *Client) ValidateOperation(ctx context.Context, req OperationRequest) (Validated, error) {
	req.ValidateOnly = true
	return call[Validated](ctx, c, request{method: "POST", path: "/v1/operations", body: req})
}

// Operations lists operations, the latest first; if f.Scheduled, the next to start first, and
// if f.DueBefore, the next to be due.
// f.Now is ignored. Of every list: size is the largest number of items, 1 to 1000 (0: 100),
// and an empty next means the end.
func (c *Client) Operations(
	ctx context.Context, f tasks.OperationFilter, size int, token string,
) (items []tasks.Operation, next string, err error) {
	return list[tasks.Operation](ctx, c, "/v1/operations", operationQuery(f), size, token)
}

// CountOperations counts what Operations lists; -1 if that would take as long as listing.
func (c *Client) CountOperations(ctx context.Context, f tasks.OperationFilter) (int, error) {
	return count(ctx, c, "/v1/operations", operationQuery(f))
}

// count is the total of a list, -1 if the answer has none.
func count(ctx context.Context, c *Client, path string, q url.Values) (int, error) {
	q.Set("page_size", "1")
	p, err := call[Page[json.RawMessage]](ctx, c, request{method: "GET", path: path, query: q})
	if err != nil || p.Total == nil {
		return -1, err
	}
	return *p.Total, nil
}

func operationQuery(f tasks.OperationFilter) url.Values {
	q := url.Values{}
	set(q, "project", f.Project)
	set(q, "requested_by", f.RequestedBy)
	set(q, "ticket", f.Ticket)
	if f.Open {
		q.Set("open", "true")
	}
	if f.Scheduled {
		q.Set("scheduled", "true")
	}
	if f.Waiting {
		q.Set("waiting", "true")
	}
	setTime(q, "due_before", f.DueBefore)
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	return q
}

// OperationState is the cheap form of Operation, for polling: it reads no desktops.
func (c *Client) OperationState(ctx context.Context, id string) (OperationState, error) {
	return call[OperationState](ctx, c, request{method: "GET", path: operationPath(id, ""), query: url.Values{"access_removed": {"false"}}})
}

// Operation reads one operation.
func (c *Client) Operation(ctx context.Context, id string) (Operation, error) {
	return call[Operation](ctx, c, request{method: "GET", path: operationPath(id, "")})
}

// OperationUpTo is Operation, and computed is true, if the operation has at most so many
// rows; else it is OperationState.
func (c *Client) OperationUpTo(ctx context.Context, id string, rows int) (op Operation, computed bool, err error) {
	out, err := call[struct {
		Operation
		Removal *tasks.Removal `json:"access_removed"`
	}](ctx, c, request{method: "GET", path: operationPath(id, ""), query: url.Values{"access_removed_up_to": {strconv.Itoa(rows)}}})
	if op, computed = out.Operation, out.Removal != nil; computed {
		op.Removal = *out.Removal
	}
	return op, computed, err
}

// Desktops lists an operation's desktops in the order of the request.
func (c *Client) Desktops(
	ctx context.Context, operation string, f tasks.DesktopFilter, size int, token string,
) (items []Desktop, next string, err error) {
	q := url.Values{}
	for _, s := range f.States {
		q.Add("state", s.String())
	}
	set(q, "code", f.Code)
	return list[Desktop](ctx, c, operationPath(operation, "/desktops"), q, size, token)
}

// Calls lists an operation's calls to the cloud, the earliest first.
func (c *Client) Calls(ctx context.Context, operation string) ([]tasks.Call, error) {
	items, _, err := list[tasks.Call](ctx, c, operationPath(operation, "/calls"), url.Values{}, 0, "")
	return items, err
}

// reportKinds are the media types of reports, by format.
var reportKinds = map[string]string{"html": "text/html", "csv": "text/csv", "json": "application/json"}

// Report writes the evidence of an operation; format is html, csv or json. After an error
// the report is incomplete, which verify finds.
func (c *Client) Report(ctx context.Context, w io.Writer, operation, format string) error {
	path, q := operationPath(operation, "/report"), url.Values{"format": {format}}
	return c.download(ctx, w, request{method: "GET", path: path, query: q, kinds: []string{reportKinds[format]}}, operation)
}

// download writes a file, whose name has to contain name.
func (c *Client) download(ctx context.Context, w io.Writer, r request, name string) error {
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// A sign-in page of a proxy is text/html too.
	if file := resp.Header.Get("Content-Disposition"); !strings.Contains(file, name) {
		return notDetachd(resp, "without the file")
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("%w: %w", ErrBrokeOff, err)
	}
	return nil
}

// Cancel cancels what was not sent. Here and below, reason is for the audit log, and may be
// empty.
func (c *Client) Cancel(ctx context.Context, operation, reason string) (Cancelled, error) {
	return call[Cancelled](ctx, c, request{method: "POST", path: operationPath(operation, ":cancel"), body: ReasonRequest{reason}})
}

// Approve lets an operation that waits for an approval begin.
func (c *Client) Approve(ctx context.Context, operation string, a ApproveRequest) (OperationState, error) {
	return call[OperationState](ctx, c, request{method: "POST", path: operationPath(operation, ":approve"), body: a})
}

// Reject cancels an operation that waits for an approval.
func (c *Client) Reject(ctx context.Context, operation, reason string) (OperationState, error) {
	return call[OperationState](ctx, c, request{method: "POST", path: operationPath(operation, ":reject"), body: Decision{reason}})
}

// Undo submits an operation that gives desktops of another one back to the users who lost
// them by it.
func (c *Client) Undo(ctx context.Context, operation string, req UndoRequest) (OperationState, error) {
	return call[OperationState](ctx, c, request{
		method: "POST", path: operationPath(operation, ":undo"), body: req, idempotency: req.IdempotencyKey,
	})
}

// StopAll stops the calls of all projects at once.
func (c *Client) StopAll(ctx context.Context, reason string) (Stopped, error) {
	return call[Stopped](ctx, c, request{method: "POST", path: "/v1/projects:stop", body: Decision{reason}})
}

// ResumeAll ends StopAll.
func (c *Client) ResumeAll(ctx context.Context, reason string) (Stopped, error) {
	return call[Stopped](ctx, c, request{method: "POST", path: "/v1/projects:resume", body: Decision{reason}})
}

// Retry retries the failed or held desktops of an operation.
func (c *Client) Retry(ctx context.Context, operation string, f RetryRequest) (Retried, error) {
	return call[Retried](ctx, c, request{method: "POST", path: operationPath(operation, ":retry"), body: f})
}

// History lists what every operation did with a desktop.
func (c *Client) History(ctx context.Context, desktop string) (History, error) {
	return call[History](ctx, c, request{method: "GET", path: "/v1/desktops/" + segment(desktop)})
}

// Failures lists the inbox: failed and held desktops, the latest first.
func (c *Client) Failures(
	ctx context.Context, f tasks.FailureFilter, size int, token string,
) (items []tasks.Failure, next string, err error) {
	return list[tasks.Failure](ctx, c, "/v1/failures", failureQuery(f), size, token)
}

// Dismiss dismisses desktops from the inbox, with a reason.
func (c *Client) Dismiss(ctx context.Context, req DismissRequest) (Dismissed, error) {
	req.ValidateOnly = false
	return call[Dismissed](ctx, c, request{method: "POST", path: "/v1/failures:dismiss", body: req})
}

// MatchDismiss reports what Dismiss would dismiss.
func (c *Client) MatchDismiss(ctx context.Context, req DismissRequest) (FailureMatch, error) {
	req.ValidateOnly = true
	return call[FailureMatch](ctx, c, request{method: "POST", path: "/v1/failures:dismiss", body: req})
}

// FailureCounts counts what Failures lists by project, class and code, the most first.
func (c *Client) FailureCounts(ctx context.Context, f tasks.FailureFilter) ([]tasks.FailureCount, error) {
	items, _, err := list[tasks.FailureCount](ctx, c, "/v1/failures:count", failureQuery(f), 0, "")
	return items, err
}

func failureQuery(f tasks.FailureFilter) url.Values {
	q := url.Values{}
	set(q, "project", f.Project)
	set(q, "class", string(f.Class))
	set(q, "code", f.Code)
	set(q, "operation", f.Operation)
	set(q, "user", f.User)
	set(q, "source", f.Source)
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	return q
}

// Redrive starts a bulk retry of failed desktops.
func (c *Client) Redrive(ctx context.Context, req RedriveRequest) (tasks.Redrive, error) {
	req.ValidateOnly = false
	return call[tasks.Redrive](ctx, c, request{method: "POST", path: "/v1/redrives", body: req, idempotency: req.IdempotencyKey})
}

// MatchRedrive reports what Redrive would retry.
func (c *Client) MatchRedrive(ctx context.Context, req RedriveRequest) (FailureMatch, error) {
	req.ValidateOnly = true
	return call[FailureMatch](ctx, c, request{method: "POST", path: "/v1/redrives", body: req})
}

// Redrives lists redrives, the latest first.
func (c *Client) Redrives(ctx context.Context, size int, token string) (items []tasks.Redrive, next string, err error) {
	return list[tasks.Redrive](ctx, c, "/v1/redrives", url.Values{}, size, token)
}

// CountRedrives counts what Redrives lists; -1 if the server does not tell.
func (c *Client) CountRedrives(ctx context.Context) (int, error) {
	return count(ctx, c, "/v1/redrives", url.Values{})
}

// RedriveByID reads one redrive, with the results of its retries.
func (c *Client) RedriveByID(ctx context.Context, id string) (tasks.RedriveProgress, error) {
	return call[tasks.RedriveProgress](ctx, c, request{method: "GET", path: "/v1/redrives/" + segment(id)})
}

// RedriveItems lists the desktops of a redrive, with their current states.
func (c *Client) RedriveItems(ctx context.Context, id string, size int, token string) (items []tasks.RedriveItem, next string, err error) {
	return list[tasks.RedriveItem](ctx, c, "/v1/redrives/"+segment(id)+"/desktops", url.Values{}, size, token)
}

// AbortRedrive ends a redrive; desktops that it has retried continue.
func (c *Client) AbortRedrive(ctx context.Context, id string) (tasks.Redrive, error) {
	return call[tasks.Redrive](ctx, c, request{method: "POST", path: "/v1/redrives/" + segment(id) + ":abort"})
}

// Cancellation cancels what was not sent of all operations that match.
func (c *Client) Cancellation(ctx context.Context, req CancellationRequest) (tasks.Cancellation, error) {
	req.ValidateOnly = false
	return call[tasks.Cancellation](ctx, c, request{method: "POST", path: "/v1/cancellations", body: req, idempotency: req.IdempotencyKey})
}

// MatchCancellation reports what Cancellation would be about.
func (c *Client) MatchCancellation(ctx context.Context, req CancellationRequest) (tasks.CancellationMatch, error) {
	req.ValidateOnly = true
	return call[tasks.CancellationMatch](ctx, c, request{method: "POST", path: "/v1/cancellations", body: req})
}

// Cancellations lists cancellations, the latest first.
func (c *Client) Cancellations(ctx context.Context, size int, token string) (items []tasks.Cancellation, next string, err error) {
	return list[tasks.Cancellation](ctx, c, "/v1/cancellations", url.Values{}, size, token)
}

// CancellationByID reads one cancellation, with what became of the desktops that were too late.
func (c *Client) CancellationByID(ctx context.Context, id string) (tasks.CancellationProgress, error) {
	return call[tasks.CancellationProgress](ctx, c, request{method: "GET", path: "/v1/cancellations/" + segment(id)})
}

// TooLate lists the desktops that a cancellation was too late for, as they are now.
func (c *Client) TooLate(ctx context.Context, id string, size int, token string) (items []tasks.Desktop, next string, err error) {
	return list[tasks.Desktop](ctx, c, "/v1/cancellations/"+segment(id)+"/desktops", url.Values{}, size, token)
}

// AbortCancellation ends a cancellation; what it has cancelled stays cancelled.
func (c *Client) AbortCancellation(ctx context.Context, id string) (tasks.Cancellation, error) {
	return call[tasks.Cancellation](ctx, c, request{method: "POST", path: "/v1/cancellations/" + segment(id) + ":abort"})
}

// Recall takes one person back out of the operations that were accepted until now.
func (c *Client) Recall(ctx context.Context, req RecallRequest) (tasks.RecallResult, error) {
	return call[tasks.RecallResult](ctx, c, request{method: "POST", path: "/v1/recalls", body: req, idempotency: req.IdempotencyKey})
}

// Recalls lists recalls, the latest first; see Operations.
func (c *Client) Recalls(ctx context.Context, size int, token string) (items []tasks.Recall, next string, err error) {
	return list[tasks.Recall](ctx, c, "/v1/recalls", url.Values{}, size, token)
}

// RecallByID reads a recall, and what became of the rows that are about the person.
func (c *Client) RecallByID(ctx context.Context, id string) (tasks.RecallResult, error) {
	return call[tasks.RecallResult](ctx, c, request{method: "GET", path: "/v1/recalls/" + segment(id)})
}

// Projects lists the configured projects, by alias.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	items, _, err := list[Project](ctx, c, "/v1/projects", url.Values{}, 0, "")
	return items, err
}

func projectPath(alias, verb string) string { return "/v1/projects/" + segment(alias) + verb }

// Pause stops all calls of a project.
func (c *Client) Pause(ctx context.Context, alias string, req PauseRequest) (Paused, error) {
	return call[Paused](ctx, c, request{method: "POST", path: projectPath(alias, ":pause"), body: req})
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context, alias, reason string) (Paused, error) {
	return call[Paused](ctx, c, request{method: "POST", path: projectPath(alias, ":resume"), body: ReasonRequest{reason}})
}

// WhoAmI describes the key that the client uses.
func (c *Client) WhoAmI(ctx context.Context) (Key, error) {
	return call[Key](ctx, c, request{method: "GET", path: "/v1/key"})
}

// Keys lists the keys, the latest first, revoked ones too.
func (c *Client) Keys(ctx context.Context) ([]Key, error) {
	items, _, err := list[Key](ctx, c, "/v1/keys", url.Values{}, 0, "")
	return items, err
}

// CreateKey creates a key.
func (c *Client) CreateKey(ctx context.Context, req KeyRequest) (NewKey, error) {
	return call[NewKey](ctx, c, request{method: "POST", path: "/v1/keys", body: req})
}

// RevokeKey revokes a key for good.
func (c *Client) RevokeKey(ctx context.Context, id, reason string) (Key, error) {
	return call[Key](ctx, c, request{method: "POST", path: "/v1/keys/" + segment(id) + ":revoke", body: ReasonRequest{reason}})
}

// Protections lists the protections of the configuration, and then those in Redis.
func (c *Client) Protections(ctx context.Context) ([]tasks.Protection, error) {
	items, _, err := list[tasks.Protection](ctx, c, "/v1/protections", url.Values{}, 0, "")
	return items, err
}

// AddProtection adds a protection.
func (c *Client) AddProtection(ctx context.Context, req ProtectionRequest) (tasks.Protection, error) {
	return call[tasks.Protection](ctx, c, request{method: "POST", path: "/v1/protections", body: req})
}

// RemoveProtection removes a protection; the reason is required.
func (c *Client) RemoveProtection(ctx context.Context, name, reason string) (tasks.Protection, error) {
	path := "/v1/protections/" + segment(name) + ":remove"
	return call[tasks.Protection](ctx, c, request{method: "POST", path: path, body: Decision{Reason: reason}})
}

// Sessions lists the sessions of the dashboard that have not ended, the latest first: those
// of the key, for an admin those of all keys.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	items, _, err := list[Session](ctx, c, "/v1/sessions", url.Values{}, 0, "")
	return items, err
}

// EndSession ends a session.
func (c *Client) EndSession(ctx context.Context, id, reason string) (Session, error) {
	return call[Session](ctx, c, request{method: "POST", path: "/v1/sessions/" + segment(id) + ":end", body: ReasonRequest{reason}})
}

// Audit lists the audit log, the latest first. A page may be short, or empty, before the end.
func (c *Client) Audit(
	ctx context.Context, f tasks.AuditFilter, size int, token string,
) (items []tasks.AuditEvent, next string, err error) {
	q := url.Values{}
	set(q, "action", string(f.Action))
	set(q, "by", f.By)
	set(q, "target", f.Target)
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	return list[tasks.AuditEvent](ctx, c, "/v1/audit", q, size, token)
}

// Codes explains error codes, actions and readings.
func (c *Client) Codes(ctx context.Context) (Codes, error) {
	return call[Codes](ctx, c, request{method: "GET", path: "/v1/codes"})
}

// Search finds desktops by id, computer name or user: whole names, ignoring case, over all
// operations, the latest first.
func (c *Client) Search(ctx context.Context, text string, size int, token string) (items []Event, next string, err error) {
	return list[Event](ctx, c, "/v1/desktops", url.Values{"q": {text}}, size, token)
}

// Find finds operations and redrives by id, the beginning of an id or ticket, people by the
// beginning of their names, and desktops by id or the beginning of the computer's name.
func (c *Client) Find(ctx context.Context, text string) (Found, error) {
	return call[Found](ctx, c, request{method: "GET", path: "/v1/search", query: url.Values{"q": {text}}})
}

// Access reads from the cloud what a person still has. Check Complete: a project that could not
// be read is in Projects, with the reason.
func (c *Client) Access(ctx context.Context, user string) (tasks.Access, error) {
	return call[tasks.Access](ctx, c, request{method: "GET", path: "/v1/users/" + segment(user) + "/access"})
}

// Stats reports the status of the projects that the key is for, or of one, with their results
// within a range (default tasks.LastDay). It may be two seconds old.
func (c *Client) Stats(ctx context.Context, project string, within tasks.StatsRange) ([]tasks.Stats, error) {
	q := url.Values{}
	set(q, "project", project)
	set(q, "range", string(within))
	items, _, err := list[tasks.Stats](ctx, c, "/v1/stats", q, 0, "")
	return items, err
}

// Workers lists the workers. Without a living one nothing moves.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	items, _, err := list[Worker](ctx, c, "/v1/workers", url.Values{}, 0, "")
	return items, err
}

// Alive checks that the server runs. It requires no key.
func (c *Client) Alive(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, request{method: "GET", path: "/healthz"})
	return err
}

// Ready checks that the server can take requests, that is, write to Redis. It requires no
// key.
func (c *Client) Ready(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, request{method: "GET", path: "/readyz"})
	return err
}
