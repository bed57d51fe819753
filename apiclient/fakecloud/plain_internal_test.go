package fakecloud

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What the quick reader takes, encoding/json takes and reads alike.
func TestReadPlain(t *testing.T) {
	t.Parallel()
	pieces := []string{`{"desktop_ids":[`, `"a"`, `"b c"`, `"\n"`, `"é"`, `,`, ` `, `]`, `}`, `]}`, "\n", `"`, "\x01",
		`],"shutoff_after_detach":true}`, `],"shutoff_after_detach":false}`, `],"shutoff_after_detach":null}`}
	rapid.Check(t, func(t *rapid.T) {
		body := ""
		if rapid.Bool().Draw(t, "usual start") {
			body = pieces[0]
		}
		for _, p := range rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(t, "pieces") {
			body += p
		}
		var quick detachCall
		if !quick.readPlain(body) {
			require.Equal(t, detachCall{}, quick)
			return
		}
		var slow struct {
			IDs     []string `json:"desktop_ids"`
			Shutoff *bool    `json:"shutoff_after_detach"`
		}
		require.NoError(t, json.Unmarshal([]byte(body), &slow), body)
		require.Equal(t, detachCall{ids: slow.IDs, shutoff: slow.Shutoff}, quick)
	})
	var call detachCall
	for _, body := range []string{`{"desktop_ids":["a","b"]}`, `{"desktop_ids":["a"],"shutoff_after_detach":false}` + "\n"} {
		require.True(t, call.readPlain(body), "else it is of no use")
	}
}
