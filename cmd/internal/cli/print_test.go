package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/when"
)

func TestCloudTextCannotActOnTheTerminal(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	tab := table{header: []string{"A", "B"}}
	tab.add("x\x1b[2J", "tab\there\nnew row")
	tab.add("right\u202eto left", "")
	require.NoError(t, tab.print(&b))
	require.NotContains(t, b.String(), "\x1b")
	require.NotContains(t, b.String(), "\u202e")
	require.Equal(t, 3, strings.Count(b.String(), "\n"))
	require.Contains(t, b.String(), `x\x1b[2J`)
}

// What prints to a terminal or a spreadsheet is harmless there.
func TestCSVAndJSONAreHarmless(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	require.NoError(t, printCSV(&b, [][]string{{"=1+1", "+1", "-1", "@x", "\tx", "\rx", "ok=1", "", "a;=1", "\x1b[2J\u202e"}}))
	require.Equal(t, `'=1+1,'+1,'-1,'@x,'\tx,'\rx,ok=1,,a;'=1,\x1b[2J\u202e`+"\n", b.String())
	b.Reset()
	require.NoError(t, printJSON(&b, []string{"<\x1b[2J\u202e\u009b\x7fé"}))
	require.Equal(t, "[\n  \"<"+`\u001b[2J\u202e\u009b\u007fé`+"\"\n]\n", b.String())
}

func TestWhen(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("here", 3600)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, zone)
	p := &Program{Now: func() time.Time { return now }}
	for text, want := range map[string]time.Time{
		"":                          {},
		"+2h":                       now.Add(2 * time.Hour),
		"90m":                       now.Add(90 * time.Minute),
		"2026-11-23T18:00:00Z":      time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC),
		"2026-11-23T18:00:00+08:00": time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		"2026-11-23 18:00":          time.Date(2026, 11, 23, 18, 0, 0, 0, zone),
		" 2026-11-23 18:00:30 ":     time.Date(2026, 11, 23, 18, 0, 30, 0, zone),
		"2026-11-23T18:00":          time.Date(2026, 11, 23, 18, 0, 0, 0, zone),
	} {
		got, err := p.parseTime("--at", text, when.Next)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%q is %s", text, got)
	}
	for _, text := range []string{"-2h", "tonight", "23.11.2026", "2026-13-01 00:00"} {
		_, err := p.parseTime("--at", text, when.Next)
		require.ErrorContains(t, err, "invalid --at \""+text+"\": use ")
	}
	for _, text := range []string{"24h", "-24h"} {
		got, err := p.parseTime("--since", text, when.Last)
		require.NoError(t, err)
		require.True(t, now.Add(-24*time.Hour).Equal(got))
	}
	_, err := p.parseTime("--since", "2026-13-01", when.Last)
	require.EqualError(t, err, `invalid --since "2026-13-01": use 2026-11-23T18:00:00Z, "2026-11-23 18:00" (local) or 24h`)
}
