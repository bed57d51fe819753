package fakecloud_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const proj = "0bec5db98280d2d02fd6c00c2de791ce"

// cloud is a served cloud with a client that keeps no connections, so that no
// test meets the repetitions net/http makes on a used one.
type cloud struct {
	*fakecloud.Server
	t    *testing.T
	http *http.Client
}

func serve(t *testing.T, cfg fakecloud.Config) *cloud {
	t.Helper()
	srv, err := fakecloud.Serve(cfg, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	return &cloud{srv, t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// try sends a request; header is "Name: value" lines.
func (c *cloud) try(ctx context.Context, method, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, strings.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/json")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

func (c *cloud) send(method, path, body string, header ...string) answer {
	c.t.Helper()
	got, err := c.try(c.t.Context(), method, path, body, header...)
	require.NoError(c.t, err)
	return got
}

// detach sends a detach call naming ids.
func (c *cloud) detach(ids ...string) answer {
	c.t.Helper()
	return c.send("POST", "/v2/"+proj+"/desktops/detach", detachBody(ids...))
}

func (c *cloud) get(path string) answer {
	c.t.Helper()
	return c.send("GET", "/v2/"+proj+path, "")
}

// list returns the ids that desktops/detail lists, and total_count.
func (c *cloud) list(query string) ([]string, int) {
	c.t.Helper()
	got := c.get("/desktops/detail?" + query)
	require.Equal(c.t, 200, got.status, got.body)
	var body struct {
		Desktops []struct {
			ID string `json:"desktop_id"`
		} `json:"desktops"`
		Total int `json:"total_count"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(got.body), &body))
	ids := []string{}
	for _, d := range body.Desktops {
		ids = append(ids, d.ID)
	}
	return ids, body.Total
}

func (c *cloud) state(id string) string {
	c.t.Helper()
	d, found := c.Get(proj, id)
	require.True(c.t, found, id)
	return d.AttachState
}

func detachBody(ids ...string) string {
	return `{"desktop_ids":["` + strings.Join(ids, `","`) + `"]}`
}

// clock is a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// within bounds how long a test waits for what must happen.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
