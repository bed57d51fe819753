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

// demoServer is the HTTP API on a Redis in memory, and an admin key for it.
type demoServer struct {
	handler http.Handler
	key     apiclient.Secret
}

// newDemoServer makes a key called name and the handler for it, with the metrics of
// the worker.
func (p *Program) newDemoServer(ctx context.Context, s *app.Store, m *metrics.Metrics, name string) (demoServer, error) {
	watch(m, s)
	keys := p.keys(s)
	secret, _, err := keys.Create(ctx, access.Key{Name: name, Role: access.Admin})
	return demoServer{dashboard.Serve(server.Config{Store: s, Keys: keys, Log: zerolog.Nop(), Now: p.Now, Metrics: m}), secret}, err
}

// exports writes the environment for another terminal.
func (s demoServer) exports(w io.Writer, l net.Listener) {
	fmt.Fprintf(w, "export DETACHD_SERVER=http://%s\nexport DETACHD_API_KEY=%s\n", l.Addr(), string(s.key))
}

// listenLoopback listens on an address that only this machine can reach, because the
// key is shown on the screen.
func listenLoopback(flag, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("use an address such as "+anyPort, "invalid %s %s: %w", flag, shown(address), err)
	}
	if !isLoopback(host) {
		return nil, usage("use a loopback address such as "+anyPort+"; other machines need detachd serve",
			"%s %s may be reachable from other machines", flag, shown(address))
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fail(exitInternal, "choose another "+flag+" address", "%w", err)
	}
	return l, nil
}
