package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableFits(t *testing.T) {
	t.Parallel()
	shown := func(tab table, width int) string {
		var b strings.Builder
		require.NoError(t, tab.render(&b, screen{width: width}))
		return b.String()
	}
	tab := table{header: []string{"ID", "EMPTY", "MORE", "TEXT"}, less: []string{"MORE"}}
	tab.add("id-1", "", "more", "some words and 中文字")
	tab.add("id-22", "", "", "short")
	for width, want := range map[int]string{
		0:  "ID     EMPTY  MORE  TEXT\nid-1   -      more  some words and 中文字\nid-22  -      -     short\n",
		40: "ID     MORE  TEXT\nid-1   more  some words and 中文字\nid-22  -     short\n",
		28: "ID     TEXT\nid-1   some words and 中文字\nid-22  short\n",
		27: "ID     TEXT\nid-1   some words and 中文…\nid-22  short\n",
		26: "ID     TEXT\nid-1   some words and 中…\nid-22  short\n",
		15: "ID     TEXT\nid-1   some wo…\nid-22  short\n",
	} {
		require.Equal(t, want, shown(tab, width), width)
	}
	tab.whole = true
	require.Equal(t, "ID     TEXT\nid-1   some words\n       and 中文字\nid-22  short\n", shown(tab, 18))
	require.Equal(t, []string{"ATTACH_F", "AILED, x"}, wrapped("ATTACH_FAILED, x", 8))
	require.Equal(t, []string{"on", "ATTACH_F", "AILED"}, wrapped("on ATTACH_FAILED", 8))

	narrow := table{header: []string{"A LONG HEADER", "B"}}
	narrow.add("a long cell that is cut", "b")
	require.Equal(t, "A LONG HEADER      B\na long cell that…  b\n", shown(narrow, 20))
}

// A long last column gives way before others are omitted for it.
func TestTableKeepsColumnsForAMessage(t *testing.T) {
	t.Parallel()
	tab := table{header: []string{"ID", "MORE", "TEXT"}, less: []string{"MORE"}}
	tab.add("id", "more", strings.Repeat("x", 90))
	var b strings.Builder
	require.NoError(t, tab.render(&b, screen{width: 60}))
	require.Equal(t, "ID  MORE  TEXT\nid  more  "+strings.Repeat("x", 49)+"…\n", b.String())
}

func TestStatesAreColoured(t *testing.T) {
	t.Parallel()
	tab := table{header: []string{"STATE", "FAILED", "ON HOLD"}}
	tab.add("detached", "0", "12")
	tab.add("on hold", "3", "2026-11-26")
	var b strings.Builder
	require.NoError(t, tab.render(&b, screen{colour: true}))
	require.Equal(t, "\x1b[1mSTATE\x1b[0m     \x1b[1mFAILED\x1b[0m  \x1b[1mON HOLD\x1b[0m\n"+
		"\x1b[32mdetached\x1b[0m  0       \x1b[33m12\x1b[0m\n"+
		"\x1b[33mon hold\x1b[0m   \x1b[31m3\x1b[0m       2026-11-26\n", b.String())
}
