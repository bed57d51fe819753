package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestWorkerIsAlive(t *testing.T) {
	t.Parallel()
	require.True(t, Worker{SilentMS: 29_999}.Alive())
	require.False(t, Worker{SilentMS: 30_000}.Alive())
}

// Whatever is in an id, it is one part of the path: no way up, no further part, and no
// verb.
func TestIDsAreOnePartOfThePath(t *testing.T) {
	t.Parallel()
	var sent string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent = r.RequestURI }))
	defer server.Close()
	c, err := New(Config{Server: server.URL})
	require.NoError(t, err)
	for want, ask := range map[string]func(ctx context.Context, id string) error{
		"/v1/operations/*": func(ctx context.Context, id string) error { _, err := c.Operation(ctx, id); return err },
		"/v1/operations/*/desktops": func(ctx context.Context, id string) error {
			_, _, err := c.Desktops(ctx, id, tasks.DesktopFilter{}, 0, "")
			return err
		},
		"/v1/operations/*:cancel":      func(ctx context.Context, id string) error { _, err := c.Cancel(ctx, id, ""); return err },
		"/v1/desktops/*":               func(ctx context.Context, id string) error { _, err := c.History(ctx, id); return err },
		"/v1/redrives/*":               func(ctx context.Context, id string) error { _, err := c.RedriveByID(ctx, id); return err },
		"/v1/cancellations/*":          func(ctx context.Context, id string) error { _, err := c.CancellationByID(ctx, id); return err },
		"/v1/cancellations/*/desktops": func(ctx context.Context, id string) error { _, _, err := c.TooLate(ctx, id, 0, ""); return err },
		"/v1/cancellations/*:abort":    func(ctx context.Context, id string) error { _, err := c.AbortCancellation(ctx, id); return err },
		"/v1/redrives/*/desktops":      func(ctx context.Context, id string) error { _, _, err := c.RedriveItems(ctx, id, 0, ""); return err },
		"/v1/redrives/*:abort":         func(ctx context.Context, id string) error { _, err := c.AbortRedrive(ctx, id); return err },
		"/v1/projects/*:resume":        func(ctx context.Context, id string) error { _, err := c.Resume(ctx, id, ""); return err },
		"/v1/sessions/*:end":           func(ctx context.Context, id string) error { _, err := c.EndSession(ctx, id, ""); return err },
		"/v1/keys/*:revoke":            func(ctx context.Context, id string) error { _, err := c.RevokeKey(ctx, id, ""); return err },
	} {
		for id, escaped := range map[string]string{"..": "%2E%2E", "a:abort": "a%3Aabort", "a/b": "a%2Fb", "a?b": "a%3Fb"} {
			require.Error(t, ask(t.Context(), id), "the server answers nothing")
			require.Equal(t, want, strings.Replace(sent, escaped, "*", 1), id)
		}
	}
}

// An answer that ends after its JSON, as a long one does, is read to its end: the next request goes
// over the same connection.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"items":[]}`)
		_ = http.NewResponseController(w).Flush()
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c, err := New(Config{Server: server.URL, HTTP: server.Client()})
	require.NoError(t, err)
	for range 20 {
		_, err := c.Workers(t.Context())
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, connections.Load())
}
