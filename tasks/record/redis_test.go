package record_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

// A chunk stays a listpack, half the memory of a hash table, also with a user expected on each
// desktop.
func TestSmallEncodings(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	desktops, expect := make([]string, 100), map[string][]string{}
	for i := range desktops {
		desktops[i] = "f5057fee-4c3e-4459-82dd-21250b7296" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		expect[desktops[i]] = []string{fmt.Sprintf("%s.%s-%02d@corp.example", []string{"maria", "zoe", "kim"}[i%3], []string{"schmidt", "ng"}[i%2], i)}
	}
	op := b.enqueue(tasks.Request{Desktops: desktops, Expect: expect})
	b.move(op, 0, tasks.StateSending, b.chunk(op, 0).Desktops[:50]...)
	for _, key := range b.keys() {
		if kind := b.rdb.Type(t.Context(), key).Val(); kind == "hash" && key != b.prefix+":{"+op.ID+"}:op" && !strings.Contains(key, ":names:") {
			require.Equal(t, "listpack", b.rdb.ObjectEncoding(t.Context(), key).Val(), key)
		}
	}
}

// Redis full, read-only or gone: the producer's call fails, says that nothing
// was accepted, and nothing is; once Redis has recovered it is accepted.
func TestRedisInTrouble(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]struct{ on, off []any }{
		"out of memory": {[]any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}},
		"read-only":     {[]any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}},
		"no replicas":   {[]any{"config", "set", "min-replicas-to-write", "1"}, []any{"config", "set", "min-replicas-to-write", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, redistest.Start(t).Client(t))
			b.enqueue(tasks.Request{Desktops: ids(3)})
			require.NoError(t, b.rdb.Do(t.Context(), trouble.on...).Err())
			_, err := b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(250), IdempotencyKey: "k"})
			require.ErrorContains(t, err, "not accepted")
			ops, _, err := b.r.Operations(t.Context(), tasks.OperationFilter{}, 10, "")
			require.NoError(t, err)
			require.Len(t, ops, 1)
			require.NoError(t, b.rdb.Do(t.Context(), trouble.off...).Err())
			b.enqueue(tasks.Request{Desktops: ids(250), IdempotencyKey: "k"})
		})
	}
}

func TestRedisGoneAndBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := newBundle(t, server.Client(t))
	op := b.enqueue(tasks.Request{Desktops: ids(250)})
	server.Stop()
	_, err := b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(1)})
	require.ErrorContains(t, err, "not accepted")
	require.NoError(t, server.Restart())
	require.Equal(t, op, b.operation(op.ID), "the append-only file has it")
	require.Len(t, b.chunk(op, 2).Desktops, 50)
}

// A day of everything that is counted, with the largest numbers, takes a project less
// than 100 KB, of which results by the minute are kept for two hours.
func TestTalliesAreSmall(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	talliesStaySmall(t, b)
	var size, ofResults int64
	for _, key := range b.keys() {
		bytes := b.rdb.MemoryUsage(t.Context(), key).Val()
		if strings.Contains(key, ":results:") {
			ofResults += bytes
		} else {
			size += bytes
		}
		if b.rdb.Type(t.Context(), key).Val() == "hash" {
			require.Equal(t, "listpack", b.rdb.ObjectEncoding(t.Context(), key).Val(), key)
		}
	}
	size += ofResults * 2 / 24
	require.Less(t, size, int64(100<<10))
}
