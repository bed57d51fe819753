package record

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks/redistest"
)

// Scripts order texts as Go and Redis do, also those of which one begins with the other.
func TestLessIsTheOrderOfBytes(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	s := redis.NewScript(readLua("lib/by_bytes") + "return less(ARGV[1], ARGV[2]) and 1 or 0")
	text := rapid.StringOfN(rapid.RuneFrom([]rune{0, 'a', 'b', 'ä'}), 0, 12, -1)
	rapid.Check(t, func(rt *rapid.T) {
		begin := text.Draw(rt, "begin")
		a, b := begin+text.Draw(rt, "a"), begin+text.Draw(rt, "b")
		got, err := s.Run(t.Context(), rdb, nil, a, b).Bool()
		require.NoError(rt, err)
		require.Equal(rt, a < b, got)
	})
}
