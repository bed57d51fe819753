package apiclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// PasswordConfig configures NewPasswordToken.
type PasswordConfig struct {
	Region      string            // for example "ap-southeast-3"; required unless Endpoint and a project are set
	Endpoint    string            // base URL of IAM without /v3, may have a path; defaults to IAMEndpoint(Region)
	AllowHTTP   bool              // accept an Endpoint with http that is not on this machine
	User        string            // required; the IAM user
	Password    Secret            // required
	Domain      string            // required; the account of the user
	ProjectID   string            // project of the token; takes precedence over ProjectName
	ProjectName string            // defaults to Region, the name of a region's first project
	Timeout     time.Duration     // of one request for a token; defaults to 30 s
	UserAgent   string            // defaults to "detachd"
	Transport   http.RoundTripper // defaults to NewTransport()
	Now         func() time.Time  // for tests; defaults to time.Now
}

// OpToken is the Op of errors of a PasswordToken.
const OpToken = "KeystoneCreateUserTokenByPassword"

const (
	// renewBefore is how long before its expiry a token is replaced.
	renewBefore = 5 * time.Minute
	// tokenLifetime is assumed for a token without a readable expires_at.
	tokenLifetime = 24 * time.Hour
	// RefusalCoolDown is how long a PasswordToken does not ask IAM again after IAM
	// refused the credentials. IAM locks an account after 3 to 10 refusals within 15
	// to 60 minutes, as configured by its administrator; 35 minutes allow 2 an hour.
	// Source: IAM API reference, UpdateDomainLoginPolicy.
	RefusalCoolDown = 35 * time.Minute
)

// PasswordToken is an Authenticator with a project token, which it fetches from IAM with
// a password on first use and keeps. It replaces the token 5 minutes before it expires,
// and after a 401 of the API. At most one fetch runs at a time, and all callers share its
// result. A caller whose context ends stops waiting; the fetch continues.
//
// After a refusal by IAM (400, 401, 403) it returns that refusal to all callers for
// RefusalCoolDown without asking IAM, so that a wrong password cannot lock the account.
// Other failures are not kept.
//
// Errors are *Error with the Op OpToken and EffectNone.
// API reference: https://support.huaweicloud.com/intl/en-us/api-iam/iam_30_0001.html
type PasswordToken struct{ keeper *tokenKeeper } // see Secret for the pointer

type tokenKeeper struct {
	call      call
	endpoint  string
	password  Secret
	timeout   time.Duration
	userAgent string
	transport http.RoundTripper
	now       func() time.Time

	mu           sync.Mutex
	token        Secret // empty: not fetched
	renewAt      time.Time
	refusal      *Error
	refusedUntil time.Time
	fetching     *fetch // nil: not fetching
}

// fetch is one request to IAM, shared by all waiting callers.
type fetch struct {
	done  chan struct{} // closed when the other fields are set
	token Secret
	err   error
}

// NewPasswordToken returns a PasswordToken and sends nothing. An error names the invalid
// field of cfg.
func NewPasswordToken(cfg PasswordConfig) (*PasswordToken, error) {
	for _, required := range []struct{ field, value string }{
		{"User", cfg.User}, {"Password", cfg.Password.Reveal()}, {"Domain", cfg.Domain},
	} {
		if required.value == "" {
			return nil, fmt.Errorf("apiclient: %s: missing", required.field)
		}
	}
	base, err := baseURL(cfg.Endpoint, cfg.Region, cfg.AllowHTTP, IAMEndpoint)
	if err != nil {
		return nil, fmt.Errorf("apiclient: %w", err)
	}
	if cfg.ProjectName == "" {
		cfg.ProjectName = cfg.Region
	}
	if cfg.ProjectID == "" && cfg.ProjectName == "" {
		return nil, errors.New("apiclient: ProjectID: missing, and so are ProjectName and Region")
	}
	if cfg.Timeout < 0 {
		return nil, errors.New("apiclient: Timeout: negative")
	}
	if !validHeader(cfg.UserAgent) {
		return nil, errors.New("apiclient: UserAgent: not printable ASCII")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	setDefaults(&cfg.Timeout, &cfg.UserAgent, &cfg.Transport)
	body, err := encodeBody(passwordBody(cfg))
	if err != nil {
		return nil, fmt.Errorf("apiclient: %w", err)
	}
	target := base.JoinPath("v3/auth/tokens")
	target.RawQuery = url.Values{"nocatalog": {"true"}}.Encode()
	return &PasswordToken{&tokenKeeper{
		call:      call{op: OpToken, method: http.MethodPost, body: body, harmless: true},
		endpoint:  target.String(),
		password:  cfg.Password,
		timeout:   cfg.Timeout,
		userAgent: cfg.UserAgent,
		transport: cfg.Transport,
		now:       cfg.Now,
	}}, nil
}

// Format keeps password and token out of %+v.
func (p *PasswordToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("PasswordToken")) }

// Authenticate implements Authenticator. It waits for a token until req's context ends.
func (p *PasswordToken) Authenticate(req *http.Request, _ []byte) (func() bool, error) {
	token, err := p.keeper.get(req.Context())
	if err != nil {
		return nil, err
	}
	req.Header.Set(headerAuthToken, token.Reveal())
	return func() bool { p.keeper.drop(token); return true }, nil
}

// drop discards a token that the API refused. Several callers may report the same token;
// only the first may discard it, as the others would discard its successor.
func (k *tokenKeeper) drop(refused Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token == refused {
		k.token = ""
	}
}

func (k *tokenKeeper) get(ctx context.Context) (Secret, error) {
	k.mu.Lock()
	token, known, err := k.known()
	if known {
		k.mu.Unlock()
		return token, err
	}
	flight := k.fetching
	if flight == nil {
		flight = &fetch{done: make(chan struct{})}
		k.fetching = flight
		// Not under ctx: the answer must be read even if this caller gives up. It may be
		// a refusal, and the next caller would cause another. k.timeout bounds run.
		go k.run(context.WithoutCancel(ctx), flight)
	}
	k.mu.Unlock()
	select {
	case <-flight.done:
		return flight.token, flight.err
	case <-ctx.Done():
		return "", unsent(k.call, contextCause(ctx, nil))
	}
}

// known returns the token or the refusal that is still valid, without asking IAM. k.mu is
// held.
func (k *tokenKeeper) known() (token Secret, known bool, err error) {
	now := k.now()
	if k.token != "" && now.Before(k.renewAt) {
		return k.token, true, nil
	}
	if k.refusal != nil && now.Before(k.refusedUntil) {
		return "", true, k.refusal
	}
	return "", false, nil
}

func (k *tokenKeeper) run(ctx context.Context, flight *fetch) {
	token, renewAt, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.token, k.renewAt, k.refusal = token, renewAt, nil
	} else if refusal, ok := errors.AsType[*Error](err); ok && refusal.AuthFault {
		k.refusal, k.refusedUntil = refusal, k.now().Add(RefusalCoolDown)
	}
	flight.token, flight.err = token, err
	k.fetching = nil
	close(flight.done)
}

// fetch requests a token from IAM once.
func (k *tokenKeeper) fetch(ctx context.Context) (Secret, time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, k.call.method, k.endpoint, bytes.NewReader(k.call.body))
	if err != nil {
		return "", time.Time{}, unsent(k.call, err)
	}
	setHeaders(req, k.userAgent)
	r := exchange(k.transport, req, k.timeout)
	r.secrets = append(r.secrets, k.password.Reveal(), quoted(k.password), r.header.Get(headerSubjectToken))
	if r.status != http.StatusCreated {
		fault := newError(k.call, r, r.err)
		switch r.status {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
			fault.AuthFault = !fault.NotAPI
		}
		return "", time.Time{}, fault
	}
	token := Secret(r.header.Get(headerSubjectToken))
	if !token.inHeader() {
		return "", time.Time{}, newError(k.call, r, errors.New("the reply has no usable X-Subject-Token"))
	}
	return token, renewalOf(r.body, k.now()), nil
}

const headerSubjectToken = "X-Subject-Token"

// quoted returns s as it appears in a reply that quotes the request's body.
func quoted(s Secret) string {
	body, err := encodeBody(s.Reveal())
	if err != nil {
		return ""
	}
	return string(body[1 : len(body)-1])
}

// renewalOf returns when to replace a token received at now. A token that lives less than
// twice renewBefore is replaced at half its life. Its life is by IAM's clock, where that is shown:
// by a clock that is a day ahead every token is over, and each call would fetch one.
func renewalOf(body []byte, now time.Time) time.Time {
	var in struct {
		Token struct {
			IssuedAt  text `json:"issued_at"`
			ExpiresAt text `json:"expires_at"`
		} `json:"token"`
	}
	_ = decodeObject(body, &in) // then there are no times
	life := tokenLifetime
	if expires, err := time.Parse(time.RFC3339, string(in.Token.ExpiresAt)); err == nil {
		issued, err := time.Parse(time.RFC3339, string(in.Token.IssuedAt))
		if err != nil {
			issued = now
		}
		life = expires.Sub(issued)
	}
	if life <= 0 {
		life = tokenLifetime // it was issued just now; if it is over, a 401 renews it
	}
	return now.Add(max(life-renewBefore, life/2))
}

// passwordBody returns the body of KeystoneCreateUserTokenByPassword.
func passwordBody(cfg PasswordConfig) any {
	type object map[string]any
	project := object{"name": cfg.ProjectName}
	if cfg.ProjectID != "" {
		project = object{"id": cfg.ProjectID}
	}
	user := object{
		"name":     cfg.User,
		"password": cfg.Password.Reveal(),
		"domain":   object{"name": cfg.Domain},
	}
	return object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": user}},
		"scope":    object{"project": project},
	}}
}
