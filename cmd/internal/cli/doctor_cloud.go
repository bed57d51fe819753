package cli

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/app"
)

// checkCloud reads with a project's credentials, and with probe sends the detach of a
// desktop that does not exist.
func (p *Program) checkCloud(ctx context.Context, s *app.Store, alias string, probe bool, fs *findings) {
	check := "project " + alias
	client, err := s.Client(alias)
	if err != nil {
		fs.add(check, bad, "correct the project's configuration", "%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	before := p.Now()
	identity, err := client.Probe(ctx)
	after := p.Now()
	if err != nil {
		fs.probeFailed(check, err)
		return
	}
	fs.add(check, fine, "", "the cloud accepts the credentials (request %s)", identity.RequestID)
	if !identity.ServerTime.IsZero() {
		// The Date header is cut to seconds.
		theirs := identity.ServerTime.Add(500 * time.Millisecond)
		middle := before.Add(after.Sub(before) / 2)
		fs.clocks(check+" clock", "the cloud's clock", theirs.Sub(middle), after.Sub(before)/2+500*time.Millisecond,
			skewCloud, "signatures expire")
	}
	fs.users(ctx, client, check+" users")
	if probe {
		fs.detachRight(ctx, client, alias, check+" detach")
	}
}

// users checks that users can be listed. The rest works without that, so it is a
// warning.
func (fs *findings) users(ctx context.Context, client *apiclient.Client, check string) {
	if err := client.ProbeUsers(ctx); err != nil {
		fs.add(check, warn, "give the IAM user the permission workspace:users:list",
			"users cannot be listed: a named user without a desktop is put on hold, because the name cannot be checked: %v", err)
		return
	}
	fs.add(check, fine, "", "users can be listed")
}

// detachRight finds a missing permission before the first operation does.
func (fs *findings) detachRight(ctx context.Context, client *apiclient.Client, alias, check string) {
	err := client.ProbeDetach(ctx)
	e, _ := errors.AsType[*apiclient.Error](err)
	switch {
	case err == nil:
		fs.add(check, fine, "", "detach calls seem to be allowed: one for a desktop that does not exist was (not tried against the real cloud)")
	case e != nil && e.Status == http.StatusForbidden && !e.NotAPI:
		fs.refused = true
		fs.add(check, bad, "give the IAM user the permissions workspace:desktops:detach and vpc:ports:get, which detaching needs",
			"the credentials may not detach desktops of project %s: %v", alias, err)
	default:
		fs.add(check, warn, "run detachd doctor --probe again", "cannot tell whether detach calls are allowed: %v", err)
	}
}

func (fs *findings) probeFailed(check string, err error) {
	var e *apiclient.Error
	switch {
	case errors.As(err, &e) && e.NotAPI:
		fs.add(check, bad, "check endpoint and proxy (HTTPS_PROXY, NO_PROXY): "+e.Host+" must let requests through to the API",
			"something other than the API answers: %v", err)
	case errors.As(err, &e) && e.AuthFault:
		fs.refused = true
		fs.add(check, bad, "check the credentials in the configuration, and this machine's clock", "the credentials were refused: %v", err)
	case errors.As(err, &e) && e.Status == http.StatusForbidden:
		fs.refused = true
		fs.add(check, bad, "give the IAM user the permissions workspace:desktops:list and workspace:desktops:detach", "not allowed: %v", err)
	case errors.As(err, &e) && e.Status == http.StatusNotFound:
		fs.add(check, bad, "check project id, region and endpoint in the configuration", "not found: %v", err)
	case errors.As(err, &e) && e.Status != 0:
		fs.add(check, bad, "try again later; if it lasts, check region and endpoint in the configuration",
			"the cloud answers with an error: %v", err)
	default:
		fs.add(check, bad, "check region, endpoint, proxy and firewall", "the cloud cannot be reached: %v", err)
	}
}
