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

// credentials authenticate the calls of a project, and read its secrets again after
// each resume: a person who has corrected a file need not restart what runs. A refusal
// that an Authenticator remembers, and a token, go with the old secrets; so each
// process tries a wrong password once more after a resume.
type credentials struct {
	// resumed counts the resumes of the project.
	resumed func(ctx context.Context) (int64, error)
	read    func() (apiclient.Authenticator, error)

	mu     sync.Mutex
	as     apiclient.Authenticator
	asOf   int64     // what resumed said before the secrets were read
	isRead bool      // asOf is known
	asked  time.Time // when it last said something
}

// resumedAsked is how often a resume is asked for. It is less than a project is paused,
// and no call is made meanwhile, so that the first one after a resume knows of it.
const resumedAsked = time.Second

// resumedWithin bounds how long a call waits to hear of a resume. Who is not told goes
// on with the secrets there are.
const resumedWithin = time.Second

// credentials reads the secrets of a project.
func (s *Store) credentials(p config.Project, c config.Credential) (*credentials, error) {
	a := &credentials{
		resumed: func(ctx context.Context) (int64, error) { return s.Record.Resumed(ctx, p.Alias) },
		read: func() (apiclient.Authenticator, error) {
			return p.Authenticator(c, s.lookup, s.userAgent, s.transport)
		},
	}
	var err error
	a.as, err = a.read()
	return a, err
}

// Authenticate implements apiclient.Authenticator. Secrets that cannot be read any more
// are a fault of the credentials, which pauses the project with what is wrong.
func (a *credentials) Authenticate(req *http.Request, body []byte) (refresh func() bool, err error) {
	as, err := a.current(req.Context())
	if err != nil {
		return nil, &apiclient.Error{Op: "ReadCredentials", Message: err.Error(), Effect: apiclient.EffectNone, AuthFault: true}
	}
	return as.Authenticate(req, body)
}

func (a *credentials) current(ctx context.Context) (apiclient.Authenticator, error) {
	a.mu.Lock() // until it is known: no call leaves with old secrets beside the one that asks
	defer a.mu.Unlock()
	if a.isRead && time.Since(a.asked) < resumedAsked {
		return a.as, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resumedWithin)
	defer cancel()
	// Asked before the secrets are read: a file that is corrected in between is read once
	// too often rather than not at all.
	n, err := a.resumed(ctx)
	if err != nil {
		return a.as, nil
	}
	if !a.isRead || n != a.asOf {
		as, err := a.read()
		if err != nil {
			return nil, err
		}
		a.as, a.asOf, a.isRead = as, n, true
	}
	a.asked = time.Now()
	return a.as, nil
}

// Format keeps the secrets out of %+v.
func (a *credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("credentials")) }
