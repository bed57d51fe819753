package apiclient_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

func TestCutReplies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reply  string
		status int
		effect apiclient.Effect
	}{
		"no reply":             {"", 0, possible},
		"in the status line":   {"HTTP/1.1 2", 0, possible},
		"in the headers":       {"HTTP/1.1 200 OK\r\nContent-", 0, possible},
		"not HTTP":             {"hello\r\n\r\n", 0, possible},
		"in the body of 200":   {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", 200, possible},
		"in the body of 500":   {"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\n{}", 500, possible},
		"in a chunk of 200":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", 200, possible},
		"in the body of a 409": {"HTTP/1.1 409 No\r\nContent-Length: 100\r\n\r\n{}", 409, none},
		"in the body of a 401": {"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\n{}", 401, none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_ = bodyOf(r)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_, _ = io.WriteString(conn, test.reply)
					_ = conn.Close()
				}
			})
			_, err := detachOne(t, client(t, srv.URL))
			e := fault(t, err)
			require.Equal(t, test.effect, e.Effect)
			require.Equal(t, test.status, e.Status)
			require.Error(t, e.Err)
		})
	}
}

// net/http repeats a request whose reused connection turned out to be closed
// when it may; a POST that was read must not be among them.
func TestPostIsNotRepeatedOnAClosedConnection(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	var requests atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			for in := bufio.NewReader(conn); ; {
				req, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				_ = bodyOf(req)
				if requests.Add(1) != 1 {
					break
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			}
			_ = conn.Close()
		}
	}()
	c := client(t, "http://"+listener.Addr().String())
	_, err = detachOne(t, c)
	require.NoError(t, err)
	_, err = detachOne(t, c)
	require.Equal(t, possible, fault(t, err).Effect)
	require.EqualValues(t, 2, requests.Load(), "the second request was read once")
}

func TestTimeOutWhileWaitingForTheReply(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	srv := serve(t, func(http.ResponseWriter, *http.Request) { <-end })
	t.Cleanup(func() { close(end) }) // before the server's clean-up
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Timeout = 500 * time.Millisecond })
	_, err := detachOne(t, c)
	e := fault(t, err)
	require.Equal(t, possible, e.Effect)
	require.Zero(t, e.Status)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "time-out of 500ms")
	require.ErrorContains(t, err, "may have been executed")
}

func TestCancelledWhileReadingTheReply(t *testing.T) {
	t.Parallel()
	shutdown := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	end := make(chan struct{})
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		cancel(shutdown)
		<-end
	})
	t.Cleanup(func() { close(end) })
	_, err := client(t, srv.URL).Detach(ctx, apiclient.DetachRequest{DesktopIDs: []string{"d1"}})
	require.Equal(t, possible, fault(t, err).Effect)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, shutdown)
}

func TestWhatNeverLeftHasNoEffect(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") })
	gone := httptest.NewServer(nil)
	gone.Close()
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("sent") }))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)

	dial := func(f func(context.Context) error) func(*apiclient.Config) {
		tr := transport(t)
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, f(ctx) }
		return func(c *apiclient.Config) { c.Transport = tr }
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx     context.Context
		address string
		change  func(*apiclient.Config)
	}{
		"refused":       {t.Context(), gone.URL, nil},
		"untrusted TLS": {t.Context(), untrusted.URL, nil},
		"no TLS there":  {t.Context(), "https" + srv.URL[len("http"):], nil},
		"cancelled":     {cancelled, srv.URL, nil},
		"no name": {t.Context(), srv.URL, dial(func(context.Context) error {
			return &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
		})},
		"time-out while connecting": {t.Context(), srv.URL, func(c *apiclient.Config) {
			dial(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })(c)
			c.Timeout = time.Millisecond
		}},
		"bad token":  {t.Context(), srv.URL, func(c *apiclient.Config) { c.Auth = apiclient.StaticToken("a\nb") }},
		"no token":   {t.Context(), srv.URL, func(c *apiclient.Config) { c.Auth = apiclient.StaticToken("") }},
		"auth fails": {t.Context(), srv.URL, func(c *apiclient.Config) { c.Auth = broken{} }},
		"bad proxy": {t.Context(), srv.URL, func(c *apiclient.Config) {
			tr := transport(t)
			tr.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("proxy") }
			c.Transport = tr
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, test.address)
			if test.change != nil {
				c = client(t, test.address, test.change)
			}
			_, err := c.Detach(test.ctx, apiclient.DetachRequest{DesktopIDs: []string{"d1"}})
			e := fault(t, err)
			require.Equal(t, none, e.Effect)
			require.Zero(t, e.Status)
			require.Error(t, e.Err)
			require.NotContains(t, err.Error(), "may have been executed")
		})
	}
}

type broken struct{}

func (broken) Authenticate(*http.Request, []byte) (func() bool, error) {
	return nil, errors.New("no credentials")
}

// A RoundTripper that is not net/http's need not say when the request leaves.
func TestSilentRoundTripperIsNotTrusted(t *testing.T) {
	t.Parallel()
	_, err := detachOne(t, client(t, "https://host", func(c *apiclient.Config) { c.Transport = silent{} }))
	require.Equal(t, possible, fault(t, err).Effect)
}

func TestEndedContextReachesNoRoundTripper(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := client(t, "https://host", func(c *apiclient.Config) { c.Transport = silent{} })
	_, err := c.Detach(ctx, apiclient.DetachRequest{DesktopIDs: []string{"d1"}})
	require.Equal(t, none, fault(t, err).Effect)
	require.ErrorIs(t, err, context.Canceled)
}

type silent struct{}

func (silent) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("failed") }

func TestHTTP2(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Error("not HTTP/2")
		}
		_ = bodyOf(r)
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		answer(200, `{}`)(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	tr := transport(t)
	tr.TLSClientConfig.RootCAs = x509.NewCertPool()
	tr.TLSClientConfig.RootCAs.AddCert(srv.Certificate())
	require.EqualValues(t, tls.VersionTLS12, tr.TLSClientConfig.MinVersion)

	c := client(t, srv.URL, func(c *apiclient.Config) { c.Transport = tr })
	_, err := detachOne(t, c)
	require.NoError(t, err)
	_, err = detachOne(t, c)
	require.Equal(t, possible, fault(t, err).Effect, "a reset stream")
	require.EqualValues(t, 2, requests.Load())
}
