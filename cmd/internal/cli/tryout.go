package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/dashboard"
	"github.com/detachd/detachd/cmd/internal/metrics"
	"github.com/detachd/detachd/cmd/internal/server"
)

// tryout is the HTTP API of parts that forget everything, and a key that may do all.
type tryout struct {
	handler http.Handler
	key     apiclient.Secret
}

// tryAPI makes a key called name, and what serves those who have it, with the metrics
// of the worker.
func (p *Program) tryAPI(ctx context.Context, s *app.Store, m *metrics.Metrics, name string) (tryout, error) {
	m.Watch(s.Record, s.Projects)
	keys := p.keys(s)
	secret, _, err := keys.Create(ctx, access.Key{Name: name, Role: access.Admin})
	return tryout{dashboard.Serve(server.Config{Store: s, Keys: keys, Log: zerolog.Nop(), Now: p.Now, Metrics: m}), secret}, err
}

// exports writes what to set in another terminal.
func (t tryout) exports(w io.Writer, l net.Listener) {
	fmt.Fprintf(w, "export DETACHD_SERVER=http://%s\nexport DETACHD_API_KEY=%s\n", l.Addr(), string(t.key))
}

// listenLoopback listens at an address that only this machine can reach: the key for
// it is on a screen.
func listenLoopback(flag, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("give an address such as "+anyPort, "%s %s is no address: %w", flag, shown(address), err)
	}
	if !isLoopback(host) {
		return nil, usage("give a loopback address such as "+anyPort+"; detachd serve is for others to reach",
			"%s %s can be reached from elsewhere, and this is for trying things on this machine", flag, shown(address))
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fail(exitInternal, "choose another "+flag+" address", "%w", err)
	}
	return l, nil
}
