package record_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// A program that does not read the format of the record changes nothing, and none lowers it.
func TestFormat(t *testing.T) {
	t.Parallel()
	rdb := redistest.Mini(t)
	rec := record.New(rdb, record.Config{})
	format, err := rec.Format(t.Context())
	require.NoError(t, err)
	require.Zero(t, format, "an earlier program has not noted one")
	require.Zero(t, rdb.DBSize(t.Context()).Val(), "to look changes nothing")
	for range 2 {
		require.NoError(t, rec.EnterFormat(t.Context()))
	}
	format, err = rec.Format(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, format)

	const key = "detachd:format"
	rdb.ZAdd(t.Context(), key, redis.Z{Score: 7, Member: "format"})
	var newer *record.FormatError
	require.ErrorAs(t, rec.EnterFormat(t.Context()), &newer)
	require.Equal(t, 7, newer.Format)
	require.EqualError(t, newer, "the record in Redis has format 7, and this program reads formats up to 2; nothing was changed")
	require.EqualValues(t, 7, rdb.ZScore(t.Context(), key, "format").Val())
	require.EqualValues(t, 1, rdb.DBSize(t.Context()).Val())
}
