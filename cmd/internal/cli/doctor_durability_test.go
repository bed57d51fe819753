package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

func TestDoctorSaysWhatAFailoverLoses(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	s := newStage(t)
	s.configure(t, srv.Addr(), s.cloud.URL)
	require.NoError(t, rdb.Do(t.Context(), "acl", "setuser", "default", "on", ">"+redisPassword, "nopass", "~*", "&*", "+@all").Err())
	finding := func(code int) (level, text string) {
		t.Helper()
		for _, f := range s.json(t, code, "doctor")["findings"].([]any) {
			if f := f.(map[string]any); f["check"] == "redis min-replicas" {
				return f["level"].(string), f["message"].(string)
			}
		}
		return "", ""
	}
	level, _ := finding(exitOK)
	require.Empty(t, level, "there is no replica, so there is no failover")

	replica := redistest.StartReplica(t, srv, srv.Addr())
	level, text := finding(exitOK)
	require.Equal(t, "warn", level)
	require.Contains(t, text, "is 0: a primary that is cut off from its replicas continues to accept writes")

	require.NoError(t, rdb.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	level, text = finding(exitOK)
	require.Equal(t, "ok", level)
	require.Contains(t, text, "after 10 s")

	replica.Kill()
	redistest.AwaitReplicas(t, rdb, 0)
	level, text = finding(exitFailed)
	require.Equal(t, "bad", level)
	require.Contains(t, text, "refuses every write")

	require.NoError(t, rdb.ConfigSet(t.Context(), "min-replicas-to-write", "0").Err())
	require.NoError(t, replica.Restart())
	redistest.AwaitReplicas(t, rdb, 1)
	require.NoError(t, rdb.Do(t.Context(), "acl", "setuser", "default", "-config").Err())
	level, text = finding(exitOK)
	require.Equal(t, "warn", level)
	require.Contains(t, text, "cannot be read here")
}

// What is accepted with one copy only is said, once for each operation.
func TestDetachWarnsOfOneCopy(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	replica := redistest.StartReplica(t, srv, srv.Addr())
	require.NoError(t, srv.Client(t).Do(t.Context(), "config", "set", "repl-timeout", "3600").Err())
	s := newStage(t)
	require.NoError(t, srv.Client(t).Do(t.Context(), "acl", "setuser", "default", "on", ">"+redisPassword, "nopass").Err())
	s.configure(t, srv.Addr(), s.cloud.URL)
	detach := []string{"detach", "--project", "hq", "--idempotency-key", "k", "--json", "d1"}
	var r result
	require.Eventually(t, func() bool { // on a busy machine the replica may need more than its second
		r = s.run(t, detach...)
		return strings.Contains(r.out, `"durability": "replicated"`)
	}, time.Minute, time.Millisecond)
	require.Equal(t, exitOK, r.code, r.err)
	require.NotContains(t, r.err, "warning")

	require.NoError(t, replica.Freeze())
	r = s.run(t, detach...)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "no replica of Redis confirmed it in time: a failover now would lose it")
	require.Contains(t, r.out, `"durability": "one_copy"`)
	require.NoError(t, replica.Thaw())
}
