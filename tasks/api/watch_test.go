package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

// scripted is a server whose connections do one after the other what is in a list;
// it gives a client, and the Last-Event-ID that each connection came with.
func scripted(t *testing.T, connections ...func(w http.ResponseWriter, r *http.Request)) (*Client, *[]string) {
	t.Helper()
	var n atomic.Int32
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1)) - 1
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		if i >= len(connections) || r.URL.Path != "/v1/operations/op/events" || r.Header.Get("Accept") != "text/event-stream" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		connections[i](w, r)
	}))
	t.Cleanup(srv.Close)
	c, err := New(Config{Server: srv.URL})
	require.NoError(t, err)
	return c, &asked
}

// says sends events that begin with a retry of a millisecond, and ends.
func says(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "retry: 1\n\n"+text)
	}
}

func refuses(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"status":%d}`, code, status)
	}
}

func state(id string, detached int) string {
	return fmt.Sprintf("id: %s\nevent: operation\ndata: {\"id\":\"op\",\"counts\":{\"detached\":%d}}\n\n", id, detached)
}

const end = "event: end\ndata: {}\n\n"

// watched gives what was told.
func watched(ctx context.Context, c *Client) (told []int, err error) {
	err = c.Watch(ctx, "op", func(s OperationState) error {
		told = append(told, s.Counts.Detached)
		return nil
	})
	return told, err
}

func TestWatchGoesOnWhereItWasCutOff(t *testing.T) {
	t.Parallel()
	c, asked := scripted(t,
		says(state("a", 1)+state("b", 2)),
		refuses(http.StatusServiceUnavailable, CodeBusy),
		refuses(http.StatusTooManyRequests, "rate_limited"),
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		says("id: c\nevent: operation\ndata: {\"counts\":"), // breaks off: its id does not count
		says(":\n\nevent: news\ndata: something\n\n"),
		says(state("d", 3)+end+state("e", 4)),
	)
	told, err := watched(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3}, told)
	require.Equal(t, []string{"", "b", "b", "b", "b", "b", "b", "b"}, *asked)
}

func TestWatchIsRefused(t *testing.T) {
	t.Parallel()
	c, _ := scripted(t, says(state("a", 1)), refuses(http.StatusNotFound, CodeNotFound))
	told, err := watched(t.Context(), c)
	require.Equal(t, []int{1}, told)
	require.ErrorIs(t, err, tasks.ErrNotFound)
	for code, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"key_refused":  refuses(http.StatusUnauthorized, "key_refused"),
		CodeNotDetachd: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>sign in</html>") },
	} {
		c, _ := scripted(t, answer)
		var p *Problem
		_, err := watched(t.Context(), c)
		require.ErrorAs(t, err, &p)
		require.Equal(t, code, p.Code)
	}
	c, _ = scripted(t, says("event: operation\ndata: nonsense\n\n"))
	_, err = watched(t.Context(), c)
	require.ErrorIs(t, err, ErrBrokeOff)
}

func TestWatchEndsWithWhoWatches(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	c, asked := scripted(t, says(state("a", 1)+state("b", 2)))
	err := c.Watch(t.Context(), "op", func(OperationState) error { return enough })
	require.ErrorIs(t, err, enough)
	require.Len(t, *asked, 1)

	gone := errors.New("gone home")
	ctx, cancel := context.WithCancelCause(t.Context())
	c, _ = scripted(t, func(w http.ResponseWriter, r *http.Request) {
		says(state("a", 1))(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	err = c.Watch(ctx, "op", func(OperationState) error { cancel(gone); return nil })
	require.ErrorIs(t, err, gone)

	ctx, cancel = context.WithCancelCause(t.Context())
	c, _ = scripted(t, func(w http.ResponseWriter, r *http.Request) {
		cancel(gone)
		refuses(http.StatusServiceUnavailable, "redis_away")(w, r)
	})
	_, err = watched(ctx, c)
	require.ErrorIs(t, err, gone, "while it waits to ask again")
}

// A connection over which nothing comes, or nothing more, is given up.
func TestWatchNoticesADeadConnection(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", ":\n\n"} {
		c, _ := scripted(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		w := &watch{client: c, id: "op", silence: 20 * time.Millisecond, f: func(OperationState) error { return nil }}
		_, over, err := w.connect(t.Context())
		require.False(t, over)
		require.Error(t, err)
	}
}
