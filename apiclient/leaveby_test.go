package apiclient_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

// What may leave no more does not reach the server as a request, with either version of
// HTTP, and whatever the size of the body.
func TestNothingLeavesTooLate(t *testing.T) {
	t.Parallel()
	for _, two := range []bool{false, true} {
		for name, test := range map[string]struct {
			in   time.Duration
			ids  int
			late bool
		}{
			"past": {-time.Millisecond, 1, true}, "past, large": {-time.Millisecond, 100, true},
			"to come": {time.Hour, 1, false}, "to come, large": {time.Hour, 100, false},
		} {
			t.Run(fmt.Sprintf("HTTP/2 %t/%s", two, name), func(t *testing.T) {
				t.Parallel()
				var whole atomic.Int32
				srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(bodyOf(r), "desktop_ids") {
						whole.Add(1)
					}
					answer(200, `{}`)(w, r)
				}))
				srv.EnableHTTP2 = two
				srv.StartTLS()
				t.Cleanup(srv.Close)
				tr := transport(t)
				tr.TLSClientConfig.RootCAs = x509.NewCertPool()
				tr.TLSClientConfig.RootCAs.AddCert(srv.Certificate())
				c := client(t, srv.URL, func(c *apiclient.Config) { c.Transport = tr })
				ids := make([]string, test.ids)
				for i := range ids {
					ids[i] = fmt.Sprintf("desktop-%070d", i)
				}
				ctx := apiclient.LeaveBy(t.Context(), time.Now().Add(test.in))
				_, err := c.Detach(ctx, apiclient.DetachRequest{DesktopIDs: ids})
				if !test.late {
					require.NoError(t, err)
					require.EqualValues(t, 1, whole.Load())
					return
				}
				require.ErrorIs(t, err, apiclient.ErrTooLate)
				e := fault(t, err)
				require.Equal(t, none, e.Effect)
				require.Zero(t, e.Status)
				_, err = c.Detach(t.Context(), apiclient.DetachRequest{DesktopIDs: ids}) // on the same connections
				require.NoError(t, err)
				require.EqualValues(t, 1, whole.Load(), "what was too late arrived")
			})
		}
	}
}

// The time is looked at when there is a connection: getting one may take long.
func TestTooLateOnASlowWay(t *testing.T) {
	t.Parallel()
	var whole atomic.Int32
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if bodyOf(r) != "" {
			whole.Add(1)
		}
		answer(200, `{}`)(w, r)
	})
	tr := transport(t)
	dial := tr.DialContext
	leaveBy := time.Now().Add(50 * time.Millisecond)
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		for !time.Now().After(leaveBy) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
		return dial(ctx, network, addr)
	}
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Transport = tr })
	_, err := c.Detach(apiclient.LeaveBy(t.Context(), leaveBy), apiclient.DetachRequest{DesktopIDs: []string{"d1"}})
	require.ErrorIs(t, err, apiclient.ErrTooLate)
	require.Zero(t, whole.Load())
}
