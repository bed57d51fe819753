package cli

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/app"
)

// checkCloud makes a harmless read with a project's credentials.
func (p *Program) checkCloud(ctx context.Context, s *app.Store, alias string, fs *findings) {
	check := "project " + alias
	client, err := s.Client(alias)
	if err != nil {
		fs.add(check, bad, "mend the project's configuration", "%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
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
		fs.clocks(check+" clock", "the cloud's clock", theirs.Sub(middle), after.Sub(before)/2+500*time.Millisecond)
	}
}

func (fs *findings) probeFailed(check string, err error) {
	var e *apiclient.Error
	switch {
	case errors.As(err, &e) && e.AuthFault:
		fs.refused = true
		fs.add(check, bad, "check the credentials in the configuration, and this machine's clock", "the credentials were refused: %v", err)
	case errors.As(err, &e) && e.Status == http.StatusForbidden:
		fs.refused = true
		fs.add(check, bad, "give the IAM user the permission workspace:desktops:list and workspace:desktops:detach", "not allowed: %v", err)
	case errors.As(err, &e) && e.Status == http.StatusNotFound:
		fs.add(check, bad, "check project id, region and endpoint in the configuration", "not found: %v", err)
	case errors.As(err, &e) && e.Status != 0:
		fs.add(check, bad, "try again later; if it stays, check region and endpoint in the configuration", "the cloud answers with an error: %v", err)
	default:
		fs.add(check, bad, "check region, endpoint, proxy and firewall", "the cloud cannot be reached: %v", err)
	}
}
