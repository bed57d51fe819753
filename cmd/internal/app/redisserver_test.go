package app

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks/redistest"
)

func TestEmbeddedRedisServer(t *testing.T) {
	t.Parallel()
	redistest.Need(t)
	program, err := exec.LookPath("redis-server")
	require.NoError(t, err)
	e, err := StartEmbedded(fakecloud.Config{}, program, "127.0.0.1:0", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(e.Stop)
	require.NoError(t, e.Unusable)
	require.True(t, e.Server)
	u, err := url.Parse(e.RedisURL)
	require.NoError(t, err)
	dir, err := os.Stat(filepath.Dir(u.Path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), dir.Mode().Perm(), "only this user can reach it")

	o, err := redis.ParseURL(e.RedisURL)
	require.NoError(t, err)
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	set, err := c.ConfigGet(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Equal(t, []string{"0", "", "no"}, []string{set["port"], set["save"], set["appendonly"]})
	e.Stop()
	require.NoFileExists(t, u.Path)
	require.NoDirExists(t, filepath.Dir(u.Path))
}

// Without a redis-server that runs and is new enough, Redis is in memory.
func TestEmbeddedWithoutAUsableRedisServer(t *testing.T) {
	t.Parallel()
	e, err := StartEmbedded(fakecloud.Config{}, "/bin/false", "127.0.0.1:0", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(e.Stop)
	require.False(t, e.Server)
	require.ErrorContains(t, e.Unusable, "/bin/false: it ended")
	require.Contains(t, e.RedisURL, "redis://127.0.0.1:")
	for _, version := range []string{"", "6.0.16", "5.0", "x"} {
		require.ErrorContains(t, newEnough(version), "6.2 is needed", version)
	}
	for _, version := range []string{"6.2.7", "7.0.15", "8.0"} {
		require.NoError(t, newEnough(version), version)
	}
}
