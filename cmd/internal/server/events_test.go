package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// brisk is a pace for tests: nothing comes by itself but looks.
var brisk = pace{poll: time.Millisecond, heartbeat: time.Hour, recheck: time.Hour, longest: time.Hour, seal: time.Hour}

// briskly has the bench look often, and what else f says.
func (b *bench) briskly(f func(*pace)) *bench {
	b.srv.pace = brisk
	if f != nil {
		f(&b.srv.pace)
	}
	return b
}

// stream is a stream of events as it comes over the network.
type eventStream struct {
	t    *testing.T
	resp *http.Response
	from *bufio.Reader
}

func (b *bench) events(url, key, id, last string) *eventStream {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), "GET", url+"/v1/operations/"+id+"/events", nil)
	require.NoError(b.t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(b.t, http.StatusOK, resp.StatusCode)
	s := &eventStream{b.t, resp, bufio.NewReader(resp.Body)}
	require.Equal(b.t, "retry: 2000\n", s.part())
	return s
}

// part is what comes up to the next blank line; empty at the end.
func (s *eventStream) part() string {
	s.t.Helper()
	var text string
	for {
		line, err := s.from.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" && text == "" {
			return ""
		}
		require.NoError(s.t, err)
		if line == "\n" {
			return text
		}
		text += line
	}
}

// state is the next part, which has to be a state, and its id.
func (s *eventStream) state() (id string, state api.OperationState) {
	s.t.Helper()
	var data string
	part := s.part()
	_, err := fmt.Sscanf(part, "id: %s\nevent: operation\ndata: %s", &id, &data)
	require.NoError(s.t, err, part)
	_, data, _ = strings.Cut(part, "data: ")
	require.NoError(s.t, json.Unmarshal([]byte(data), &state), part)
	return id, state
}

func (b *bench) cancel(id string) {
	b.t.Helper()
	require.Equal(b.t, 200, b.do(b.key[access.Operator], "POST", "/v1/operations/"+id+":cancel", "").status)
}

const endOfEvents = "event: end\ndata: {}\n"

func TestEventsOfAnOperation(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(nil)
	id := b.create(`{"project":"hq","desktops":["d1","d2"]}`)
	s := b.events(b.url, b.key[access.Viewer], id, "")
	h := s.resp.Header
	require.Equal(t, "text/event-stream", h.Get("Content-Type"))
	require.Equal(t, "no-store, no-transform", h.Get("Cache-Control"))
	require.Equal(t, "no", h.Get("X-Accel-Buffering"))
	first, state := s.state()
	require.Equal(t, id, state.ID)
	require.Equal(t, 2, state.Counts.Queued)
	require.False(t, state.Done)
	b.cancel(id)
	for !state.Sealed() {
		var next string
		next, state = s.state()
		require.NotEqual(t, first, next)
		first = next
	}
	require.Equal(t, 2, state.Counts.Cancelled)
	require.Equal(t, endOfEvents, s.part())
	require.Empty(t, s.part())
	require.Empty(t, b.srv.streams.views)

	s = b.events(b.url, b.key[access.Viewer], id, first)
	require.Equal(t, endOfEvents, s.part(), "it is known already")
	s = b.events(b.url, b.key[access.Viewer], id, "")
	again, _ := s.state()
	require.Equal(t, first, again)
	require.Equal(t, endOfEvents, s.part())
}

// Who knows the current state hears of changes only, from whichever server.
func TestEventsResume(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(nil)
	other := newServer(Config{Store: b.store, Keys: b.keys, Log: zerolog.Nop()})
	other.pace = brisk
	other.pace.heartbeat = time.Millisecond
	srv := httptest.NewServer(other)
	t.Cleanup(srv.Close)
	op := b.create(`{"project":"hq","desktops":["d1"]}`)
	first, _ := b.events(b.url, b.key[access.Viewer], op, "").state()
	stale, _ := b.events(b.url, b.key[access.Viewer], op, "0123456789abcdef").state()
	require.Equal(t, first, stale, "any other id: the state at once")
	s := b.events(srv.URL, b.key[access.Viewer], op, first)
	for range 3 {
		require.Equal(t, ":\n", s.part(), "a heartbeat, and no state")
	}
	b.cancel(op)
	for {
		if part := s.part(); part != ":\n" {
			require.Contains(t, part, "event: operation\n")
			require.NotContains(t, part, first)
			return
		}
	}
}

// An end that is not sealed in time is the end all the same.
func TestEventsEndWithoutASeal(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(func(p *pace) { p.seal = time.Nanosecond })
	s := b.events(b.url, b.key[access.Viewer], b.failed("hq", "d1").ID, "")
	_, state := s.state()
	require.True(t, state.Done)
	require.Empty(t, state.Seal)
	require.Equal(t, endOfEvents, s.part())

	b = newBench(t).briskly(nil)
	op := b.failed("hq", "d1")
	s = b.events(b.url, b.key[access.Viewer], op.ID, "")
	_, state = s.state()
	require.True(t, state.Done)
	_, err := b.store.Record.Finish(t.Context(), []string{op.ID})
	require.NoError(t, err)
	_, state = s.state()
	require.NotEmpty(t, state.Seal)
	require.Equal(t, endOfEvents, s.part())
}

// What cuts a stream off: the stream has no end then, so its client comes again.
func TestEventsAreCutOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pace func(*pace)
		cut  func(b *bench, keyID string)
	}{
		"after the longest time": {func(p *pace) { p.longest = 50 * time.Millisecond }, func(*bench, string) {}},
		"the key is revoked": {func(p *pace) { p.recheck = time.Millisecond }, func(b *bench, id string) {
			_, err := b.keys.Revoke(t.Context(), id)
			require.NoError(t, err)
		}},
		"Redis is away": {nil, func(b *bench, _ string) { b.redis.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t).briskly(c.pace)
			key := b.newKey(access.Key{Name: "desk", Role: access.Viewer})
			s := b.events(b.url, key, b.create(`{"project":"hq","desktops":["d1"]}`), "")
			s.state()
			c.cut(b, key[:11])
			require.Empty(t, s.part())
		})
	}
}

// A key that stays valid keeps its stream, however often that is looked at.
func TestEventsOfAValidKeyGoOn(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(func(p *pace) { p.recheck, p.heartbeat = time.Millisecond, 5*time.Millisecond })
	s := b.events(b.url, b.key[access.Viewer], b.create(`{"project":"hq","desktops":["d1"]}`), "")
	s.state()
	for range 5 {
		require.Equal(t, ":\n", s.part())
	}
}

func TestEventsEndWhenTheServerStops(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(nil)
	stop := make(chan struct{})
	srv := httptest.NewUnstartedServer(b.srv)
	srv.Config.BaseContext = func(net.Listener) context.Context { return WithStop(context.Background(), stop) }
	srv.Start()
	t.Cleanup(srv.Close)
	s := b.events(srv.URL, b.key[access.Viewer], b.create(`{"project":"hq","desktops":["d1"]}`), "")
	s.state()
	close(stop)
	require.Empty(t, s.part())
}

func TestEventsHaveSoManyStreams(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(nil)
	op := b.create(`{"project":"hq","desktops":["d1"]}`)
	key := b.newKey(access.Key{Name: "desk", Role: access.Viewer})
	busy := func(key string, is bool) {
		t.Helper()
		if !is {
			s := b.events(b.url, key, op, "")
			s.state()
			return
		}
		a := b.do(key, "GET", "/v1/operations/"+op+"/events", "")
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.Equal(t, api.CodeBusy, a.problem(t).Code)
		require.NotEmpty(t, a.header.Get("Retry-After"))
	}
	var leave []func()
	open := func(key string) {
		_, f, err := b.srv.streams.open(key, op)
		require.NoError(t, err)
		leave = append(leave, f)
	}
	for range maxStreamsOfKey {
		open(key[:11])
	}
	busy(key, true)
	busy(b.key[access.Viewer], false)
	leave[0]()
	leave = leave[1:]
	busy(key, false)
	for i := range maxStreams - maxStreamsOfKey - 1 { // with the two that are open: all
		open(fmt.Sprint(i))
	}
	busy(b.key[access.Admin], true)
	for _, f := range leave {
		f()
	}
	busy(b.key[access.Admin], false)
}

// A client that does not read is not waited for, nor one that has gone.
func TestEventsNobodyReads(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(func(p *pace) { p.heartbeat, p.longest = time.Millisecond, 1000*time.Hour })
	op := b.create(`{"project":"hq","desktops":["d1"]}`)
	left := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { left <- struct{}{} }()
		b.srv.ServeHTTP(impatient{w}, r)
	})
	l := pipeListener{make(chan net.Conn)}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	c, s := net.Pipe() // nothing is kept in between: what is not read is not written
	defer c.Close()
	l.conns <- s
	_, err := fmt.Fprintf(c, "GET /v1/operations/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", op, b.key[access.Viewer])
	require.NoError(t, err)
	<-left

	over := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { left <- struct{}{} }()
		b.srv.ServeHTTP(w, r)
	}))
	t.Cleanup(over.Close)
	e := b.events(over.URL, b.key[access.Viewer], op, "")
	e.state()
	require.NoError(t, e.resp.Body.Close())
	<-left
	require.Zero(t, b.srv.streams.all)
	require.Empty(t, b.srv.streams.byKey)
	require.Empty(t, b.srv.streams.views)
}

// impatient gives writes a thousandth of their time.
type impatient struct{ http.ResponseWriter }

func (w impatient) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w impatient) SetWriteDeadline(at time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(time.Until(at) / 1000))
}

type pipeListener struct{ conns chan net.Conn }

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { close(l.conns); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// The time in which a request is to be read does not end its stream, and that for
// writing goes on with it.
func TestWhatStreamsMovesItsDeadlines(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	op := b.failed("hq", "d1")
	_, err := b.store.Record.Finish(t.Context(), []string{op.ID})
	require.NoError(t, err)
	for _, path := range []string{"/events", "/report"} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/operations/"+op.ID+path, nil)
		r.Header.Set("Authorization", "Bearer "+b.key[access.Viewer])
		b.srv.ServeHTTP(w, r)
		require.Equal(t, 200, w.Code)
		require.Equal(t, []time.Time{{}}, w.set)
		require.GreaterOrEqual(t, len(w.writes), 2, path)
		for _, at := range w.writes[1:] {
			require.WithinRange(t, at, time.Now(), time.Now().Add(patience))
		}
	}
}

// Streams of one operation share a reading.
func TestEventsShareReadings(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	op := b.create(`{"project":"hq","desktops":["d1"]}`)
	v, leave, err := b.srv.streams.open("a", op)
	require.NoError(t, err)
	same, leaveToo, err := b.srv.streams.open("b", op)
	require.NoError(t, err)
	require.Same(t, v, same)
	first, err := v.read(t.Context(), b.store.Record, op, time.Hour)
	require.NoError(t, err)
	b.cancel(op)
	shared, err := same.read(t.Context(), b.store.Record, op, time.Hour)
	require.NoError(t, err)
	require.Equal(t, first, shared)
	fresh, err := same.read(t.Context(), b.store.Record, op, 0)
	require.NoError(t, err)
	require.True(t, fresh.Done())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = v.read(gone, b.store.Record, op, 0)
	require.Error(t, err)
	after, err := same.read(t.Context(), b.store.Record, op, time.Hour)
	require.NoError(t, err, "the others go on when one client has gone")
	require.Equal(t, fresh, after)
	leave()
	leaveToo()
	require.Empty(t, b.srv.streams.views)
}

// Watch, over the network and within the process.
func TestWatch(t *testing.T) {
	t.Parallel()
	b := newBench(t).briskly(nil)
	inside := NewInside(Config{Store: b.store, Keys: b.keys, Log: zerolog.Nop()})
	inside.handler.(*server).pace = brisk
	overHTTP, err := api.New(api.Config{Server: b.url, Key: b.key[access.Viewer]})
	require.NoError(t, err)
	for name, c := range map[string]*api.Client{"network": overHTTP, "inside": inside.As(access.Key{Name: "viewer", Role: access.Viewer}, Origin{})} {
		op := b.create(`{"project":"hq","desktops":["d1"]}`)
		var states []api.OperationState
		require.NoError(t, c.Watch(t.Context(), op, func(s api.OperationState) error {
			if states = append(states, s); len(states) == 1 {
				b.cancel(op)
			}
			return nil
		}), name)
		require.False(t, states[0].Done, name)
		require.True(t, states[len(states)-1].Done, name)
		require.NotEmpty(t, states[len(states)-1].Seal, name)

		op = b.create(`{"project":"hq","desktops":["d1"]}`)
		enough := errors.New("enough")
		require.ErrorIs(t, c.Watch(t.Context(), op, func(api.OperationState) error { return enough }), enough, name)
		require.ErrorIs(t, c.Watch(t.Context(), "nowhere", nil), tasks.ErrNotFound, name)
	}
}

// Within the process a stream ends with its client's context, read or not.
func TestInsideEndsWithItsClient(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	left := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", b.url, nil)
	require.NoError(t, err)
	resp, err := transport{handler: h}.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	cancel()
	<-left
}
