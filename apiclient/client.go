package apiclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/detachd/detachd/apiclient/desktopid"
)

// Defaults of Config and PasswordConfig.
const (
	defaultTimeout   = 30 * time.Second
	defaultUserAgent = "detachd"
)

// Authenticator adds credentials to a request whose body is sent exactly as given.
// After a 401 the Client calls refresh once. refresh discards the refused credentials
// and reports whether new ones are available; if so, the Client authenticates and sends
// the request once more. refresh may be nil.
//
// On an err nothing is sent. The Client returns an *Error unchanged, and wraps any other
// error in an *Error.
type Authenticator interface {
	Authenticate(req *http.Request, body []byte) (refresh func() bool, err error)
}

// Config configures New.
type Config struct {
	ProjectID string            // required; 32 hex digits
	Region    string            // for example "ap-southeast-3"; required unless Endpoint is set
	Endpoint  string            // base URL of Workspace, may have a path; defaults to Endpoint(Region)
	AllowHTTP bool              // accept an Endpoint with http that is not on this machine
	Auth      Authenticator     // required
	Timeout   time.Duration     // of one request including connecting and reading, apart from fetching a token; defaults to 30 s
	UserAgent string            // defaults to "detachd"
	Transport http.RoundTripper // defaults to NewTransport()
}

// Client calls the Workspace API for one project. It is safe for concurrent use.
type Client struct {
	project   *url.URL // {endpoint}/v2/{project_id}
	auth      Authenticator
	timeout   time.Duration
	userAgent string
	transport http.RoundTripper
}

var projectID = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)

// New returns a Client and sends nothing. An error names the invalid field of cfg.
func New(cfg Config) (*Client, error) {
	if !projectID.MatchString(cfg.ProjectID) {
		return nil, errors.New("apiclient: ProjectID: want 32 hex digits")
	}
	base, err := baseURL(cfg.Endpoint, cfg.Region, cfg.AllowHTTP, Endpoint)
	if err != nil {
		return nil, fmt.Errorf("apiclient: %w", err)
	}
	if cfg.Auth == nil {
		return nil, errors.New("apiclient: Auth: missing")
	}
	if cfg.Timeout < 0 {
		return nil, errors.New("apiclient: Timeout: negative")
	}
	if !validHeader(cfg.UserAgent) {
		return nil, errors.New("apiclient: UserAgent: not printable ASCII")
	}
	c := &Client{
		project:   base.JoinPath("v2", cfg.ProjectID),
		auth:      cfg.Auth,
		timeout:   cfg.Timeout,
		userAgent: cfg.UserAgent,
		transport: cfg.Transport,
	}
	setDefaults(&c.timeout, &c.userAgent, &c.transport)
	return c, nil
}

func setDefaults(timeout *time.Duration, userAgent *string, transport *http.RoundTripper) {
	if *timeout == 0 {
		*timeout = defaultTimeout
	}
	if *userAgent == "" {
		*userAgent = defaultUserAgent
	}
	if *transport == nil {
		*transport = NewTransport()
	}
}

// call is one request of an API operation.
type call struct {
	op       string
	method   string
	path     string // below /v2/{project_id}
	query    url.Values
	body     []byte
	harmless bool // changes nothing in the cloud, even if its reply is lost
}

// do sends call, and once more if its credentials had expired. It returns a complete 200;
// everything else is an *Error.
func (c *Client) do(ctx context.Context, call call) (reply, error) {
	r, refresh, err := c.attempt(ctx, call)
	if err == nil && r.status == http.StatusUnauthorized && !r.foreign() && refresh != nil && refresh() {
		r, _, err = c.attempt(ctx, call)
	}
	if err != nil {
		return reply{}, err
	}
	if r.status == http.StatusOK && r.err == nil {
		return r, nil
	}
	defer r.done()
	fault := newError(call, r, r.err)
	fault.AuthFault = r.status == http.StatusUnauthorized && !fault.NotAPI
	return reply{}, fault
}

// get sends a request that only reads, decodes the reply into a struct, and checks that;
// check may be nil. What it returns has no body.
func (c *Client) get(ctx context.Context, read call, into any, check func() error) (reply, error) {
	r, err := c.do(ctx, read)
	if err != nil {
		return r, err
	}
	defer r.done()
	err = decodeObject(r.body, into)
	if err == nil && check != nil {
		err = check()
	}
	if err != nil {
		err = newError(read, r, err)
	}
	r.body = nil
	return r, err
}

func (c *Client) attempt(ctx context.Context, call call) (reply, func() bool, error) {
	req, err := c.newRequest(ctx, call)
	if err != nil {
		return reply{}, nil, localError(call, err)
	}
	refresh, err := c.auth.Authenticate(req, call.body)
	if err != nil {
		return reply{}, nil, unsent(call, err)
	}
	return exchange(c.transport, req, c.timeout), refresh, nil
}

// localError reports an invalid request that the client refused to send.
func localError(call call, err error) error {
	return &Error{Op: call.op, Effect: EffectNone, Local: true, Err: err}
}

// unsent reports a valid request that was not sent. It returns an *Error from an
// Authenticator unchanged, because that has more detail.
func unsent(call call, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Op: call.op, Effect: EffectNone, Err: err}
}

func (c *Client) newRequest(ctx context.Context, call call) (*http.Request, error) {
	target := c.project.JoinPath(call.path)
	// The query is sent in the form that is signed: url.Values.Encode would write a
	// space as "+", which the gateway may not decode.
	target.RawQuery = canonicalQuery(call.query)
	req, err := http.NewRequestWithContext(ctx, call.method, target.String(), bytes.NewReader(call.body))
	if err != nil {
		return nil, err
	}
	setHeaders(req, c.userAgent)
	setTrace(ctx, req.Header)
	return req, nil
}

func setHeaders(req *http.Request, userAgent string) {
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Language", "en-us")
	req.Header.Set("User-Agent", userAgent)
}

// checkIDs validates the ids of any call that names desktops.
func checkIDs(ids []string) error {
	if len(ids) == 0 || len(ids) > MaxDesktopsPerCall {
		return fmt.Errorf("%d desktop ids: want 1 to %d", len(ids), MaxDesktopsPerCall)
	}
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		if problem := desktopid.Check(id); problem != "" {
			return fmt.Errorf("desktop id %d: %s %s", i, printable(id, maxName), problem)
		}
		one := desktopid.Canonical(id)
		if seen[one] {
			return fmt.Errorf("desktop id %d: %s is repeated", i, printable(id, maxName))
		}
		seen[one] = true
	}
	return nil
}
