package harmless_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/harmless"
)

func TestText(t *testing.T) {
	t.Parallel()
	require.Equal(t, `a\x1b\u202e`+" b", harmless.Text("a\x1b\u202e b"))
	require.Equal(t, "Größe ∑ 漢字", harmless.Text("Größe ∑ 漢字"))
	require.Equal(t, `\u2066\u200f\u061c\u009b31m\x7f`, harmless.Text("\u2066\u200f\u061c\u009b31m\x7f"))
}

func TestCells(t *testing.T) {
	t.Parallel()
	for in, out := range map[string]string{
		"": "", "a=b": "a=b", "a;b": "a;b", "a; b": "a; b", "e-mail": "e-mail", " x": " x",
		"=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "＝1": "'＝1", "＋1": "'＋1", "－1": "'－1", "＠x": "'＠x",
		"\tx": `'\tx`, "\rx": `'\rx`, "\nx": `'\nx`, " =1": " '=1",
		"a;=1": "a;'=1", "a; =1": "a; '=1", ";=1;;-2": ";'=1;;'-2", "a;b;＝c": "a;b;'＝c", "=1;x": "'=1;x", `a;"=1`: `a;"'=1`,
	} {
		require.Equal(t, out, harmless.Cell(in), "%q", in)
	}
	require.Equal(t, []string{"'=1", "b"}, harmless.Row([]string{"=1", "b"}))
}

// However a spreadsheet splits the line, no cell is a formula.
func FuzzCell(f *testing.F) {
	f.Add("a;=1", `"b"; "=2"`)
	f.Fuzz(func(t *testing.T, a, b string) {
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		require.NoError(t, w.Write(harmless.Row([]string{"x", a, b})))
		w.Flush()
		line := strings.TrimSuffix(out.String(), "\n")
		require.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", line)
		for cell := range strings.SplitSeq(line, ";") {
			cell = strings.Trim(cell, ` "`)
			require.False(t, cell != "" && strings.ContainsRune("=+-@", rune(cell[0])), "%q", line)
		}
		cells, err := csv.NewReader(strings.NewReader(line)).Read()
		require.NoError(t, err)
		require.Len(t, cells, 3)
		for _, cell := range cells {
			require.False(t, strings.HasPrefix(strings.Trim(cell, " "), "="), "%q", line)
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add("\x1b[31m \u202e \u009b \x7f \U000e0001 \u2028 \n é 漢")
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.MarshalIndent(map[string]string{"k": s}, "", "  ")
		require.NoError(t, err)
		safe := harmless.JSON(text)
		require.False(t, bytes.ContainsFunc(safe, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }), "%q", safe)
		require.JSONEq(t, string(text), string(safe))
	})
}
