package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redisfault"
)

// Probes are no load: Redis is asked once a second, however many ask at once.
func TestReadinessAsksOnceASecond(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, tries, says := time.Unix(1000, 0), 0, error(nil)
	r := readiness{try: func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		tries++
		return says
	}}
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { require.NoError(t, r.read(t.Context(), clock)) })
	}
	all.Wait()
	require.Equal(t, 1, tries)

	says, now = errors.New("refused"), now.Add(readyAge-time.Millisecond)
	require.NoError(t, r.read(t.Context(), clock), "it is not asked yet")
	now = now.Add(time.Millisecond)
	require.ErrorIs(t, r.read(t.Context(), clock), says)
	require.Equal(t, 2, tries)

	// Who asks and goes away spoils nothing for the others.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r.try = func(ctx context.Context) error { return ctx.Err() }
	now = now.Add(readyAge)
	require.NoError(t, r.read(gone, clock))
}

// What the server says of each refusal of Redis is what the contract has.
func TestRefusalsOfRedisAreInTheContract(t *testing.T) {
	t.Parallel()
	d := theContract()
	var codes []any
	for _, f := range redisfault.All() {
		codes = append(codes, f.Code)
		text, _ := d.get(at("#/x-problems", f.Code, "text")).(string)
		require.Contains(t, strings.ToLower(text), strings.ToLower(f.Meaning)+". ")
	}
	require.ElementsMatch(t, codes, d.get("#/components/responses/Unavailable/x-codes"))
	require.ElementsMatch(t, append(codes, "busy"), d.get("#/components/responses/UnavailableOrBusy/x-codes"))
}

// A refusal is 503, to readings and to writes, and never says what is inside.
func TestRefusalsOfRedis(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for reply, code := range map[string]string{
		"OOM command not allowed when used memory > 'maxmemory'.":                "redis_out_of_memory",
		"ERR READONLY You can't write against a read only replica of 10.1.2.3.":  "redis_read_only",
		"NOPERM User bob has no permissions to run the 'evalsha' command":        "redis_no_permission",
		"CLUSTERDOWN Hash slot not served":                                       "redis_cluster_down",
		"MISCONF Errors writing to the AOF file: No space left on device":        "redis_cannot_persist",
		"LOADING Redis is loading the dataset in memory":                         "redis_loading",
		"MOVED 3999 10.1.2.3:6379":                                               "redis_is_cluster",
		"NOAUTH Authentication required.":                                        "redis_no_password",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is no": "redis_primary_down",
	} {
		b.redis.SetError(reply)
		for _, path := range []string{"POST /v1/operations", "GET /v1/stats", "POST /v1/projects/hq:pause"} {
			method, path, _ := strings.Cut(path, " ")
			a := b.do(b.key[access.Admin], method, path, "")
			require.Equal(t, http.StatusServiceUnavailable, a.status, "%s: %s", path, a.body)
			require.Equal(t, code, a.problem(t).Code)
			require.NotEmpty(t, a.header.Get("Retry-After"))
			require.NotContains(t, a.body, "10.1.2.3")
			require.NotContains(t, a.body, "bob")
		}
		require.Contains(t, b.log.String(), redisfault.ByCode(code).Advice)
		b.redis.SetError("")
	}
}

// What a failover undid while it was being accepted is sent again, and does not count as a
// fault of the server.
func TestAnAcceptanceThatAFailoverUndid(t *testing.T) {
	t.Parallel()
	p := problemOf(fmt.Errorf("the request was not accepted: %w", tasks.ErrSendAgain))
	require.Equal(t, http.StatusServiceUnavailable, p.Status)
	require.Equal(t, redisfault.Away, p.Code)
	require.Contains(t, p.Detail, "send it again, with the same Idempotency-Key")
	require.Positive(t, p.RetryAfter)
}
