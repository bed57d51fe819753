package record

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What is packed is read again, in short parts unless it is long.
func TestPackExpect(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		desktops, expect, want := []string{}, map[string][]string{}, map[int][]string{}
		for i, names := range rapid.SliceOfN(rapid.SliceOfN(rapid.StringN(0, 80, -1), 0, 3), 0, ChunkSize).Draw(t, "names") {
			id := fmt.Sprint("desktop-", i)
			desktops = append(desktops, id)
			if len(names) > 0 {
				expect[id], want[i] = names, names
			}
		}
		fields := packExpect(desktops, expect)
		require.Equal(t, len(want) == 0, len(fields) == 0)
		values := map[string]string{}
		for i := 0; i < len(fields); i += 2 {
			require.False(t, isRow(fields[i].(string)))
			values[fields[i].(string)] = fields[i+1].(string)
		}
		require.True(t, len(values) == 1 || len(values) <= mostParts)
		for _, part := range values {
			require.True(t, len(values) == 1 || len(part) <= expectPart)
		}
		got, err := unpackExpect(values)
		require.NoError(t, err)
		if len(want) == 0 {
			require.Empty(t, got)
		} else {
			require.Equal(t, want, got)
		}
	})
}

// What format 1 has written is read.
func TestExpectOfFormat1(t *testing.T) {
	t.Parallel()
	values := map[string]string{"": "2|Q;0;mm7p6yo0;;", " ": `{"1":["zoe","kim"]}`, "a": "0", "b": "1"}
	rows, err := decodeChunk("op", 0, values)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Empty(t, rows[0].Expect)
	require.Equal(t, []string{"zoe", "kim"}, rows[1].Expect)
	values[" "] = "{"
	_, err = decodeChunk("op", 0, values)
	require.Error(t, err)
}

// Packed names that are cut off, or are none, are an error.
func TestUnpackExpect(t *testing.T) {
	t.Parallel()
	fields := packExpect([]string{"a", "b"}, map[string][]string{"a": {"maria.schmidt"}, "b": {"zoe"}})
	require.Len(t, fields, 2)
	whole := fields[1].(string)
	for n := 1; n < len(whole); n++ {
		_, err := unpackExpect(map[string]string{" 0": whole[:n]})
		require.Error(t, err, "%d of %d bytes", n, len(whole))
	}
	_, err := unpackExpect(map[string]string{" 0": deflate(columns{1, 200})})
	require.Error(t, err)
}
