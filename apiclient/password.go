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

// PasswordConfig makes a PasswordToken.
type PasswordConfig struct {
	Region      string            // gives the IAM endpoint when Endpoint is empty, and ProjectName when no project is named
	Endpoint    string            // base URL of IAM without /v3, overrides Region; a base path is kept
	User        string            // required, the IAM user
	Password    Secret            // required
	Domain      string            // required, the account the user belongs to
	ProjectID   string            // the project the token is for; goes before ProjectName
	ProjectName string            // default: Region, the name of a region's first project
	Timeout     time.Duration     // of one fetch; default 30 s
	UserAgent   string            // default "detachd"
	Transport   http.RoundTripper // default: NewTransport()
	Now         func() time.Time  // default time.Now
}

const (
	// renewBefore is how long before its end a token is replaced.
	renewBefore = 5 * time.Minute
	// tokenLifetime is assumed of a token without a readable expires_at.
	tokenLifetime = 24 * time.Hour
	// RefusalCoolDown is how long a PasswordToken leaves IAM alone after IAM
	// has refused the credentials. An account is locked after 3 to 10 refusals
	// within 15 to 60 minutes, as its administrator chose; so this many minutes
	// make at most 2 per hour.
	// Source: IAM API reference, UpdateDomainLoginPolicy.
	RefusalCoolDown = 35 * time.Minute
)

// PasswordToken authenticates with a project token that it fetches from IAM
// with a password, when it is first needed, and keeps. It is replaced 5 minutes
// before it expires and after a 401 of the API. However many callers need one,
// one fetch is under way at a time, and those who wait for it share its result.
// A caller whose context ends stops waiting; the fetch goes on to its end.
//
// A refusal by IAM (400, 401, 403) is never tried again: it is remembered, and
// is everybody's answer for RefusalCoolDown or until the process ends, so that
// a wrong password cannot lock the account. Other failures are not remembered.
//
// Errors are *Error with Op "KeystoneCreateUserTokenByPassword" and EffectNone.
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
	token        Secret // empty: none
	renewAt      time.Time
	refusal      *Error
	refusedUntil time.Time
	fetching     *fetch // nil: none under way
}

// fetch is one request to IAM that any number of callers wait for.
type fetch struct {
	done  chan struct{} // closed when the rest is set
	token Secret
	err   error
}

// NewPasswordToken checks cfg; an error names the field. It sends nothing.
func NewPasswordToken(cfg PasswordConfig) (*PasswordToken, error) {
	for _, required := range []struct{ field, value string }{
		{"User", cfg.User}, {"Password", cfg.Password.Reveal()}, {"Domain", cfg.Domain},
	} {
		if required.value == "" {
			return nil, fmt.Errorf("apiclient: %s: missing", required.field)
		}
	}
	base, err := baseURL(cfg.Endpoint, cfg.Region, IAMEndpoint)
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
		call:      call{op: "KeystoneCreateUserTokenByPassword", method: http.MethodPost, body: body, harmless: true},
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

// Authenticate waits for a token as long as req's context allows.
func (p *PasswordToken) Authenticate(req *http.Request, _ []byte) (func() bool, error) {
	token, err := p.keeper.get(req.Context())
	if err != nil {
		return nil, err
	}
	req.Header.Set(headerAuthToken, token.Reveal())
	return func() bool { p.keeper.drop(token); return true }, nil
}

// drop forgets a token that the API refused. Of many callers that were refused
// with the same token, the first makes room for a new one and the others must
// not throw that away.
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
		// Not under ctx: a caller that gives up must not leave IAM's answer
		// unread. It may be a refusal, and the next caller would collect
		// another. The goroutine ends within k.timeout.
		go k.run(context.WithoutCancel(ctx), flight)
	}
	k.mu.Unlock()
	select {
	case <-flight.done:
		return flight.token, flight.err
	case <-ctx.Done():
		return "", unsent(k.call, because(ctx, nil))
	}
}

// known answers without IAM. It is called with the lock held.
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

// fetch asks IAM for a token, once.
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

// quoted is the form that a reply shows when it quotes the body.
func quoted(s Secret) string {
	body, err := encodeBody(s.Reveal())
	if err != nil {
		return ""
	}
	return string(body[1 : len(body)-1])
}

// renewalOf says when to replace a token that came at now. One that lives less
// than twice renewBefore is replaced at half its life.
func renewalOf(body []byte, now time.Time) time.Time {
	var in struct {
		Token struct {
			ExpiresAt time.Time `json:"expires_at"`
		} `json:"token"`
	}
	life := tokenLifetime
	if decodeObject(body, &in) == nil && !in.Token.ExpiresAt.IsZero() {
		life = in.Token.ExpiresAt.Sub(now)
	}
	return now.Add(max(life-renewBefore, life/2))
}

// passwordBody is the request of KeystoneCreateUserTokenByPassword.
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
