package cron_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/cron"
)

// ticks lists the first ticks after an instant.
func ticks(t *testing.T, expr, zone, after string, n int) []string {
	t.Helper()
	s, err := cron.Parse(expr, zone)
	require.NoError(t, err)
	from, err := time.Parse(time.RFC3339, after)
	require.NoError(t, err)
	var out []string
	for tick, ok := s.After(from); ok && len(out) < n; tick, ok = s.Next(tick) {
		out = append(out, tick.Wall+" = "+tick.At.UTC().Format("2006-01-02T15:04Z")+" "+string(tick.Mark))
	}
	return out
}

// The cases of clock changes, each from the day before.
func TestClockChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expr, zone, after string
		want              []string
	}{
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{
			"2026-03-29T02:30 = 2026-03-29T01:00Z " + string(cron.Shifted), "2026-03-30T02:30 = 2026-03-30T00:30Z "}},
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{
			"2026-10-25T02:30 = 2026-10-25T00:30Z " + string(cron.FirstOfTwo), "2026-10-26T02:30 = 2026-10-26T01:30Z "}},
		{"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", []string{
			"2026-10-25T02:00 = 2026-10-25T00:00Z " + string(cron.FirstOfTwo), "2026-10-25T02:00+01:00 = 2026-10-25T01:00Z " + string(cron.SecondOfTwo),
			"2026-10-25T03:00 = 2026-10-25T02:00Z "}},
		{"0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{
			"2026-04-24T00:00 = 2026-04-23T22:00Z " + string(cron.Shifted), "2026-04-25T00:00 = 2026-04-24T21:00Z "}},
		{"0 0 * * FRI", "Africa/Cairo", "2026-04-20T12:00:00Z", []string{
			"2026-04-24T00:00 = 2026-04-23T22:00Z " + string(cron.Shifted), "2026-05-01T00:00 = 2026-04-30T21:00Z "}},
		{"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{
			"2018-11-04T00:00 = 2018-11-04T03:00Z " + string(cron.Shifted), "2018-11-05T00:00 = 2018-11-05T02:00Z "}},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", []string{
			"2026-10-04T02:15 = 2026-10-03T15:30Z " + string(cron.Shifted), "2026-10-05T02:15 = 2026-10-04T15:15Z "}},
	} {
		require.Equal(t, c.want, ticks(t, c.expr, c.zone, c.after, len(c.want)), "%s %s", c.expr, c.zone)
	}
}

// A day ends with the first instant of the next, also where that has no midnight or did not exist.
func TestEndOfDay(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"2026-11-30", "Asia/Singapore", "2026-11-30T16:00:00Z"},
		{"2026-11-30", "", "2026-12-01T00:00:00Z"},
		{"2026-04-23", "Africa/Cairo", "2026-04-23T22:00:00Z"},      // clocks go from 00:00 to 01:00
		{"2018-11-03", "America/Sao_Paulo", "2018-11-04T03:00:00Z"}, // the same
		{"2018-02-17", "America/Sao_Paulo", "2018-02-18T03:00:00Z"}, // 23:00 to 24:00 twice
		{"2011-12-29", "Pacific/Apia", "2011-12-30T10:00:00Z"},      // the next day was skipped
		{"2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00Z"},      // never was
		{"2011-12-31", "Pacific/Apia", "2011-12-31T10:00:00Z"},
	} {
		zone, err := cron.Zone(c[1])
		require.NoError(t, err)
		end, err := cron.EndOfDay(c[0], zone)
		require.NoError(t, err)
		require.Equal(t, c[2], end.UTC().Format(time.RFC3339), "%s %s", c[0], c[1])
	}
	_, err := cron.EndOfDay("30.11.2026", time.UTC)
	require.EqualError(t, err, `invalid date "30.11.2026": use a date such as 2026-11-30`)
}
