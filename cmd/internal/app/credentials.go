package app

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/config"
)

// credentials is the Authenticator of a project. It reads the secrets again after each
// resume, so that nobody has to restart processes after correcting a file. An Authenticator's
// token and its stored refusal are discarded with the old secrets, so each process tries a
// wrong password once more after a resume.
type credentials struct {
	resumes func(ctx context.Context) (int64, error) // counts the resumes of the project
	read    func() (apiclient.Authenticator, error)

	mu      sync.Mutex
	auth    apiclient.Authenticator
	asOf    int64     // resumes before the secrets were read
	isRead  bool      // asOf is set
	checked time.Time // the last successful resumes
}

const (
	// resumesEvery is how often resumes is called. It is shorter than any pause of a
	// project, during which no call is made, so that the first call after a resume
	// detects it.
	resumesEvery = time.Second
	// resumesTimeout bounds resumes. After it a call uses the current secrets.
	resumesTimeout = time.Second
)

// credentials reads the secrets of a project. An error names the secret.
func (s *Store) credentials(p config.Project, c config.Credential) (*credentials, error) {
	a := &credentials{
		resumes: func(ctx context.Context) (int64, error) { return s.Record.Resumed(ctx, p.Alias) },
		read: func() (apiclient.Authenticator, error) {
			return p.Authenticator(c, s.lookup, s.userAgent, s.transport)
		},
	}
	var err error
	a.auth, err = a.read()
	return a, err
}

// Authenticate implements apiclient.Authenticator. If the secrets cannot be read any more,
// the error has AuthFault, which pauses the project with the reason.
func (a *credentials) Authenticate(req *http.Request, body []byte) (refresh func() bool, err error) {
	auth, err := a.current(req.Context())
	if err != nil {
		return nil, &apiclient.Error{Op: "ReadCredentials", Message: err.Error(), Effect: apiclient.EffectNone, AuthFault: true}
	}
	return auth.Authenticate(req, body)
}

func (a *credentials) current(ctx context.Context) (apiclient.Authenticator, error) {
	a.mu.Lock() // during resumes too: no other call may be sent with old secrets meanwhile
	defer a.mu.Unlock()
	if a.isRead && time.Since(a.checked) < resumesEvery {
		return a.auth, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resumesTimeout)
	defer cancel()
	// Counted before the secrets are read: a file corrected in between is then read once
	// more, not missed.
	n, err := a.resumes(ctx)
	if err != nil {
		return a.auth, nil
	}
	if !a.isRead || n != a.asOf {
		auth, err := a.read()
		if err != nil {
			return nil, err
		}
		a.auth, a.asOf, a.isRead = auth, n, true
	}
	a.checked = time.Now()
	return a.auth, nil
}

// Format keeps the secrets out of %+v.
func (a *credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("credentials")) }
