package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/dashboard"
	"github.com/detachd/detachd/tasks/api"
)

// While Redis does not answer, every page says so and an open page shows how old it is.
// All pages work again when Redis is back.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	op := s.submit(api.OperationRequest{Project: "hq", Desktops: []string{"d-1", "d-2"}})
	b := newBrowser(t, s.url)
	b.expect("503")
	b.signIn(s.key(access.Admin))
	session := s.session(access.Admin)
	b.open("/operations/" + op.ID)
	b.mark()
	s.redis.Kill()

	for _, rt := range dashboard.Routes() {
		if rt.Role == "" {
			continue
		}
		path := strings.NewReplacer("{id}", op.ID, "{alias}", "hq", "{$}", "").Replace(rt.Path)
		got := s.do(rt.Method, path, session, nil)
		require.Equal(t, http.StatusServiceUnavailable, got.status, path)
		require.Contains(t, got.body, "Redis does not answer", path)
		require.Contains(t, got.body, "Nothing that was accepted is lost", path)
		got.guarded(t, path)
	}
	require.Equal(t, http.StatusServiceUnavailable, s.post("/signin", "", "key", s.someKey()).status)
	require.Contains(t, s.get("/signin", "").body, "Sign in to detachd", "which needs no Redis")

	b.sees("The server does not respond. Data as of ")
	b.sees("In progress: 0 of 2 finished")
	b.accessible("a page that stands there while Redis does not answer")
	b.shoot("redis-away-live")
	other := b.another()
	other.expect("503")
	other.run(cookieOf(s.url, "__Host-detachd", session))
	other.look(place{"redis-away", goTo("/operations/" + op.ID)})
	other.sees("Redis does not answer")
	other.sees("Try again")

	require.NoError(t, s.redis.Restart())
	b.until(`document.querySelector("#connection").hidden`)
	b.stayed()
	other.signIn(s.key(access.Viewer))
	s.work()
	b.until(`document.querySelector("#progress-head").innerText === "Finished"`)
	b.stayed()
}

// someKey looks like a key but does not exist.
func (s *stage) someKey() string { return "dk_" + strings.Repeat("a", 32) }

// While the cloud does not answer, the plan says so, and it can be submitted anyway.
func TestCloudAway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Producer))
	s.cloud.Stop()
	x := story{texts: usual, s: s}
	x.list(b, "d-1\nd-2\n", "hq")
	b.sees("The cloud could not be read for all rows:")
	b.accessible("plan without the cloud")
	b.narrow("plan without the cloud")
	b.shoot("plan-cloud-away")
	b.press("Detach")
	b.sees("In progress: 0 of 2 finished")
	require.NoError(t, s.cloud.Restart())
	s.work()
	b.until(`document.querySelector("#progress-head").innerText === "Finished"`)
	b.sees("detached 2")
}

// If Redis refuses commands, the page says why and what its operator can do.
func TestRedisRefuses(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	session, key := s.session(access.Admin), s.key(access.Viewer)
	admin := s.redis.Client(t)
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
	got := s.post("/signin", "", "key", key)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Contains(t, got.body, "Redis refuses commands")
	require.Contains(t, got.body, "Redis has no memory left.")
	require.Contains(t, got.body, "raise maxmemory")
	require.NotContains(t, got.body, "Redis does not answer")
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.Equal(t, http.StatusOK, s.get("/", session).status)
}
