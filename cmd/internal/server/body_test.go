package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// dial sends the head of a POST and what begins its body, and gives the
// connection, on which nothing more is sent.
func (b *bench) dial(path string, length int, begins string) (net.Conn, *bufio.Reader) {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = c.Close() })
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, b.key[access.Admin], length, begins)
	require.NoError(b.t, err)
	return c, bufio.NewReader(c)
}

// A client that sends a part of its body and no more is sent away, and what it
// held is free again.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.srv.bodyPatience = 20 * time.Millisecond
	for _, sent := range []int{0, 1, smallBody + 1} {
		_, from := b.dial("/v1/operations", smallBody*2, strings.Repeat(" ", sent))
		resp, err := http.ReadResponse(from, nil)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusRequestTimeout, resp.StatusCode, string(text))
		require.Contains(t, string(text), `"code":"too_slow"`)
		_, err = from.ReadByte()
		require.Error(t, err, "the connection is closed")
	}
	require.Zero(t, b.srv.largeBodies.taken, "it was released")
}

// The deadline does not outlive the body: passing it would end the request while it
// is worked on.
func TestDeadlineEndsWithTheBody(t *testing.T) {
	t.Parallel()
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	r := &request{Request: httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader("{}")), w: w, server: &server{bodyPatience: time.Hour}}
	text, err := r.read()
	require.NoError(t, err)
	require.Equal(t, "{}", string(text))
	require.Len(t, w.set, 2)
	require.WithinRange(t, w.set[0], time.Now(), time.Now().Add(time.Hour))
	require.Zero(t, w.set[1])
}

// deadlines notes those that are set.
type deadlines struct {
	*httptest.ResponseRecorder
	set, writes []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.writes = append(d.writes, t)
	return nil
}

// Just so many larger bodies are worked on at a time, and of one key half of them. Small ones
// need no turn.
func TestLargeBodiesTakeTurns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.srv.acquirePatience = time.Millisecond
	large := `{"project":"hq","desktops":["d1"]` + strings.Repeat(" ", smallBody) + `}`
	take := func(key string) (release func()) {
		release, ok := b.srv.largeBodies.try(key)
		require.True(t, ok)
		return release
	}
	for range maxLargeBodies / 2 {
		take("greedy")
	}
	b.create(large)
	another := take("another")
	take("another")
	a := b.do(b.key[access.Producer], "POST", "/v1/operations", large)
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "busy", a.problem(t).Code)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	b.create(`{"project":"hq","desktops":["d2"]}`)
	another()
	b.create(large)
	b.create(large)
	require.Equal(t, maxLargeBodies-1, b.srv.largeBodies.taken, "each released it")
}

// Requests within the process may have any size.
func TestLocalBodiesHaveAnySize(t *testing.T) {
	t.Parallel()
	r := &request{
		Request: httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(strings.Repeat(" ", maxBody+1))),
		w:       httptest.NewRecorder(), server: &server{Config: Config{Local: true}},
	}
	text, err := r.read()
	require.NoError(t, err)
	require.Len(t, text, maxBody+1)
}

// Over HTTP/2 all of it holds as well.
func TestNonsenseOverHTTP2(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(nil)
	srv := httptest.NewUnstartedServer(b.srv)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ask := func(method, path string, body io.Reader, length int64) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, body)
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+b.key[access.Producer])
		req.ContentLength = length
		resp, err := srv.Client().Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { _ = resp.Body.Close() })
		require.Equal(t, 2, resp.ProtoMajor)
		return resp
	}
	silent, _ := io.Pipe()
	for code, c := range map[string]struct {
		body     io.Reader
		length   int64
		patience time.Duration
	}{
		"too_slow":  {io.MultiReader(strings.NewReader(strings.Repeat(" ", smallBody+1)), silent), 2 * smallBody, 20 * time.Millisecond},
		"too_large": {strings.NewReader(strings.Repeat(" ", maxBody+1)), maxBody + 1, time.Hour},
		"invalid":   {strings.NewReader(strings.Repeat("[", maxBody)), -1, time.Hour},
	} {
		b.srv.bodyPatience = c.patience
		text, err := io.ReadAll(ask("POST", "/v1/operations", c.body, c.length).Body)
		require.NoError(t, err)
		require.Contains(t, string(text), `"code":"`+code+`"`)
	}
	require.Zero(t, b.srv.largeBodies.taken)

	op := b.create(`{"project":"hq","desktops":["d1"]}`)
	s := &eventStream{t: t, from: bufio.NewReader(ask("GET", "/v1/operations/"+op+"/events", nil, 0).Body)}
	require.Equal(t, "retry: 2000\n", s.part())
	s.state()
	b.cancel(op)
	for part := s.part(); part != endOfEvents; part = s.part() {
		require.NotEmpty(t, part)
	}
}

// What takes too long is not said to be an outage of Redis.
func TestAnswerTooSlow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.srv.patience = time.Nanosecond
	got := b.do(b.key[access.Admin], "GET", "/v1/operations", "")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Contains(t, got.body, "the answer was not ready in time")
	require.NotContains(t, got.body, "does not answer")
}
