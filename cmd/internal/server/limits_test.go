package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

// still is a clock that the test moves.
type still struct{ now time.Time }

func newStill(c *Config) *still {
	s := &still{time.Now()}
	c.Now = func() time.Time { return s.now }
	return s
}

func TestRateLimitOfAKey(t *testing.T) {
	t.Parallel()
	var clock *still
	b := newBench(t, func(c *Config) { c.RateLimit = 3; clock = newStill(c) })
	ask := func(role access.Role) answer { return b.do(b.key[role], "GET", "/v1/key", "") }
	for left := 5; left >= 0; left-- {
		a := ask(access.Viewer)
		require.Equal(t, 200, a.status)
		require.Equal(t, `"default";q=6;w=2`, a.header.Get("RateLimit-Policy"))
		require.Equal(t, fmt.Sprintf(`"default";r=%d;t=%d`, left, map[bool]int{true: 1, false: 2}[left >= 3]), a.header.Get("RateLimit"))
	}
	a := ask(access.Viewer)
	require.Equal(t, http.StatusTooManyRequests, a.status)
	require.Equal(t, "rate_limited", a.problem(t).Code)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.Equal(t, `"default";r=0;t=1`, a.header.Get("RateLimit"))
	require.Equal(t, 429, b.do(b.key[access.Viewer], "POST", "/v1/operations", "").status, "before its role is looked at")
	require.Equal(t, 200, ask(access.Admin).status, "another key")
	require.Equal(t, 200, b.do("", "GET", "/healthz", "").status)
	clock.now = clock.now.Add(time.Second)
	for range 3 {
		require.Equal(t, 200, ask(access.Viewer).status)
	}
	require.Equal(t, 429, ask(access.Viewer).status)

	b = newBench(t)
	for range 20 {
		require.Empty(t, b.do(b.key[access.Viewer], "GET", "/v1/key", "").header.Get("RateLimit"))
	}
}

func TestClientsInsideHaveNoRateLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := NewInside(Config{Store: b.store, Keys: b.keys, RateLimit: 1}).As(access.Key{ID: "dk_1", Name: "desk", Role: access.Viewer}, Origin{})
	for range 5 {
		_, err := c.WhoAmI(t.Context())
		require.NoError(t, err)
	}
}

// Keys that are not used for a while take no memory, and are none the worse for it.
func TestRateLimitsAreForgotten(t *testing.T) {
	t.Parallel()
	l := newLimits(1)
	now := time.Now()
	for i := range 5000 {
		now = now.Add(10 * time.Millisecond)
		require.NoError(t, l.allow(http.Header{}, fmt.Sprint(i), now))
		require.NoError(t, l.allow(http.Header{}, "often", now.Add(time.Duration(i)*time.Second)))
	}
	require.LessOrEqual(t, len(l.of), 1000)
	for _, want := range []bool{true, true, false} {
		require.Equal(t, want, l.allow(http.Header{}, "0", now) == nil)
	}
}

// Who guesses keys is slowed down, and those who have one go on.
func TestTheSchemeOfAKeyHasNoCase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for scheme, status := range map[string]int{"bearer ": 200, "BEARER ": 200, "Bearer": 401, "Basic ": 401, "": 401} {
		a := b.do("", "GET", "/v1/key", "", "Authorization", scheme+b.key[access.Viewer])
		require.Equal(t, status, a.status, scheme)
	}
}

func TestWrongKeysAreSlowedDown(t *testing.T) {
	t.Parallel()
	var clock *still
	b := newBench(t, func(c *Config) { clock = newStill(c) })
	right, wrong := b.key[access.Viewer], "dk_"+strings.Repeat("a", 32)
	require.Equal(t, 200, b.do(right, "GET", "/v1/key", "").status)
	for i := range 10 {
		require.Equal(t, 401, b.do(wrong[:34]+fmt.Sprint(i), "GET", "/v1/key", "").status)
		require.Equal(t, 401, b.do("", "GET", "/v1/key", "").status, "a request without a key does not count as a guess")
	}
	keys := b.redis.CommandCount()
	a := b.do(wrong, "GET", "/v1/key", "")
	require.Equal(t, http.StatusTooManyRequests, a.status)
	require.Equal(t, "slow_down", a.problem(t).Code)
	require.Equal(t, "2", a.header.Get("Retry-After"))
	require.Equal(t, 429, b.do(b.key[access.Admin], "GET", "/v1/key", "").status, "a right one, too, which was not seen before")
	require.Equal(t, keys, b.redis.CommandCount(), "the keys were not looked at")
	require.Equal(t, 200, b.do(right, "GET", "/v1/key", "").status, "it was accepted from here before")
	require.Equal(t, 200, b.do("", "GET", "/healthz", "").status)
	require.Contains(t, b.log.String(), `"address":"127.0.0.1"`)
	require.NotContains(t, b.log.String(), wrong)
	clock.now = clock.now.Add(2 * time.Second)
	require.Equal(t, 200, b.do(b.key[access.Admin], "GET", "/v1/key", "").status, "one is let through, and it is right")
	require.Equal(t, 401, b.do(wrong, "GET", "/v1/key", "").status, "so that it begins anew")
}

// A request is found again by the id and the trace that it came with.
func TestRequestAndTraceIDs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	a := b.do(b.key[access.Viewer], "GET", "/v1/operations/nowhere", "", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01", "X-Request-Id", "HR.4711_a-b")
	p := a.problem(t)
	require.Equal(t, trace, p.TraceID)
	require.Equal(t, "HR.4711_a-b", p.RequestID)
	require.Contains(t, b.log.String(), `"request_id":"HR.4711_a-b","trace_id":"`+trace+`"`)
	for _, id := range []string{"", "a b", "<b>", "ü", strings.Repeat("x", 65)} {
		a = b.do(b.key[access.Viewer], "GET", "/v1/operations/nowhere", "", "Traceparent", "00-"+trace, "X-Request-Id", id)
		p = a.problem(t)
		require.NotEqual(t, id, p.RequestID)
		require.Len(t, p.RequestID, 20)
		require.NotContains(t, a.body, "trace_id")
	}
	b.redis.Close()
	before := b.log.Len()
	b.do(b.key[access.Viewer], "GET", "/v1/key", "", "X-Request-Id", "away")
	require.Contains(t, b.log.String()[before:], `"level":"error","error"`)
	require.Contains(t, b.log.String()[before:], `"request_id":"away"`)
}

func TestIdempotencyKeyIsLookedAt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	post := func(path, key, body string, values ...string) answer {
		req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + key}, "Idempotency-Key": values}
		return b.send(req)
	}
	op, redrive := `{"project":"hq","desktops":["d1"]}`, `{"filter":{"project":"hq"}}`
	for _, bad := range [][]string{{""}, {"a", "b"}, {strings.Repeat("x", 256)}, {"a\u200bb"}, {"\xff"}} {
		for path, body := range map[string]string{"/v1/operations": op, "/v1/redrives": redrive} {
			a := post(path, b.key[access.Operator], body, bad...)
			require.Equal(t, 400, a.status, "%q", bad)
			require.Equal(t, "Idempotency-Key", a.problem(t).Errors[0].Pointer)
		}
	}
	for i, good := range []string{"x", strings.Repeat("ü", 255), `"quoted"`, "a b"} {
		body := fmt.Sprintf(`{"project":"hq","desktops":["d%d"]}`, i)
		require.Equal(t, 202, post("/v1/operations", b.key[access.Operator], body, good).status, good)
		require.Equal(t, 422, post("/v1/operations", b.key[access.Operator], `{"project":"hq","desktops":["other"]}`, good).status, good)
	}
}

// Keys belong to who asks by name: a key that takes the place of another of that name
// repeats what was sent with the other, and somebody else's is something else.
func TestIdempotencyKeyBelongsToTheName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const body = `{"project":"hq","desktops":["d1"]}`
	ask := func(key, body string) answer {
		return b.do(key, "POST", "/v1/operations", body, "Idempotency-Key", "k")
	}
	old, renewed := b.newKey(access.Key{Name: "hr", Role: access.Producer}), b.newKey(access.Key{Name: "hr", Role: access.Operator})
	first := ask(old, body).json(t)["id"]
	require.Equal(t, first, ask(renewed, body).json(t)["id"])
	require.Equal(t, 422, ask(renewed, `{"project":"hq","desktops":["d2"]}`).status)
	require.NotEqual(t, first, ask(b.newKey(access.Key{Name: "payroll", Role: access.Producer}), body).json(t)["id"])
}

// However many send the same at the same time: one operation, and each is told of it.
// Nobody is told to come back, as the acceptance is one step.
func TestIdempotencyKeyAtTheSameTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	bodies := []string{`{"project":"hq","desktops":["d1"]}`, `{"project":"hq","desktops":["d2"],"urgent":true}`}
	for _, n := range []int{1, 2} { // bodies
		answers := make(chan answer, 50)
		for i := range cap(answers) {
			req := b.request(b.key[access.Producer], "POST", "/v1/operations", bodies[i%n], "Idempotency-Key", fmt.Sprint("k", n))
			go func() {
				a, _ := exchange(req)
				answers <- a
			}()
		}
		ids, refused, first := map[any]int{}, 0, 0
		for range cap(answers) {
			switch a := <-answers; a.status {
			case http.StatusAccepted:
				ids[a.json(t)["id"]]++
				again := a.json(t)["replayed"] == true
				require.Equal(t, again, a.header.Get("Idempotent-Replayed") == "true")
				if !again {
					first++
				}
			default:
				require.Equal(t, http.StatusUnprocessableEntity, a.status, a.body)
				require.Equal(t, "idempotency_key_reused", a.problem(t).Code)
				refused++
			}
		}
		require.Len(t, ids, 1)
		require.Equal(t, 1, first, "the others are told that it was there")
		require.Equal(t, (n-1)*25, refused, "all of the other body")
	}
	ops, _, err := b.store.Record.Operations(t.Context(), tasks.OperationFilter{}, 100, "")
	require.NoError(t, err)
	require.Len(t, ops, 2)
}
