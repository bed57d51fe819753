package cron_test

import (
	"strings"
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
		{"30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", []string{
			"2026-03-08T02:30 = 2026-03-08T07:00Z " + string(cron.Shifted), "2026-03-09T02:30 = 2026-03-09T06:30Z "}},
		{"30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", []string{
			"2026-11-01T01:30 = 2026-11-01T05:30Z " + string(cron.FirstOfTwo), "2026-11-02T01:30 = 2026-11-02T06:30Z "}},
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

// What an expression may be, and what it means.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expr string
		want []string // the first ticks of 2026 in UTC
	}{
		{"@daily", []string{"2026-01-02T00:00", "2026-01-03T00:00"}},
		{"@HOURLY", []string{"2026-01-01T01:00", "2026-01-01T02:00"}},
		{"@weekly", []string{"2026-01-04T00:00", "2026-01-11T00:00"}},
		{"@monthly", []string{"2026-02-01T00:00", "2026-03-01T00:00"}},
		{"@yearly", []string{"2027-01-01T00:00", "2028-01-01T00:00"}},
		{" 0  18 * * fri\t", []string{"2026-01-02T18:00", "2026-01-09T18:00"}},
		{"0 9 13 * FRI", []string{"2026-01-02T09:00", "2026-01-09T09:00", "2026-01-13T09:00", "2026-01-16T09:00"}}, // either
		{"0 18 LW * *", []string{"2026-01-30T18:00", "2026-02-27T18:00"}},
		{"0 18 L * *", []string{"2026-01-31T18:00", "2026-02-28T18:00"}},
		{"0 18 * * FRI#L", []string{"2026-01-30T18:00", "2026-02-27T18:00"}},
		{"0 18 * * 5#1", []string{"2026-01-02T18:00", "2026-02-06T18:00"}},
		{"0 0 29 2 *", []string{"2028-02-29T00:00", "2032-02-29T00:00"}},
		{"5/20 22-1 1 1 *", []string{"2026-01-01T00:05", "2026-01-01T00:25", "2026-01-01T00:45", "2026-01-01T01:05"}},
		{"0 0 * * MON-FRI/2", []string{"2026-01-02T00:00", "2026-01-05T00:00", "2026-01-07T00:00", "2026-01-09T00:00"}},
		{"0 0 * * FRI-SUN", []string{"2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00", "2026-01-09T00:00"}},
		{"0 0 * * 7", []string{"2026-01-04T00:00", "2026-01-11T00:00"}},
		{"* * * * *", []string{"2026-01-01T00:01", "2026-01-01T00:02"}},
	} {
		got := ticks(t, c.expr, "", "2026-01-01T00:00:00Z", len(c.want))
		for i := range got {
			got[i], _, _ = strings.Cut(got[i], " ")
		}
		require.Equal(t, c.want, got, c.expr)
	}
}

// An error names the field, the text and what to write instead.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"", "", `invalid cron "": it has 0 fields, use five: minute, hour, day of the month, month, day of the week; ` +
			`"0 18 * * FRI" is 18:00 every Friday`},
		{"0 0 18 * * FRI", "", `invalid cron "0 0 18 * * FRI": it has 6 fields, use five: minute, hour, day of the month, month, ` +
			`day of the week; "0 18 * * FRI" is 18:00 every Friday`},
		{"61 * * * *", "", `invalid cron "61 * * * *": minute "61": use 0 to 59, such as 30, 0,30 or */15; * is every one`},
		{"0 25 * * *", "", `invalid cron "0 25 * * *": hour "25": use 0 to 23, such as 18, 8-17 or */2; * is every one`},
		{"0 0 32 * *", "", `invalid cron "0 0 32 * *": day of the month "32": ` +
			`use 1 to 31, L for the last day or LW for the last weekday, such as 1,15; * is every one`},
		{"0 0 * MAI *", "", `invalid cron "0 0 * MAI *": month "MAI": use 1 to 12 or JAN to DEC, such as 3,6,9,12; * is every one`},
		{"0 0 * * FREITAG", "", `invalid cron "0 0 * * FREITAG": day of the week "FREITAG": ` +
			`use 0 to 7 or SUN to SAT, such as MON-FRI, FRI#1 for the first or FRI#L for the last Friday; * is every one`},
		{"0 0 30 2 *", "", `invalid cron "0 0 30 2 *": no month has that day: correct the day of the month, or the month`},
		{"0 0 * * FRI-MON/2", "", `invalid cron "0 0 * * FRI-MON/2": day of the week "FRI-MON/2": ` +
			`use a list of days, such as SAT,MON, for a step past SAT`},
		{"@every 5m", "", `invalid cron "@every 5m": use five fields ("0 18 * * FRI" is 18:00 every Friday), ` +
			`@yearly, @monthly, @weekly, @daily or @hourly`},
		{"@reboot", "", `invalid cron "@reboot": use five fields ("0 18 * * FRI" is 18:00 every Friday), ` +
			`@yearly, @monthly, @weekly, @daily or @hourly`},
		{"0 0 * * *", "Berlin", `unknown time zone "Berlin": use a name such as Europe/Berlin`},
		{"0 0 * * *", "Local", `unknown time zone "Local": use a name such as Europe/Berlin`},
		{"0 0 * * *", "../../etc/passwd", `unknown time zone "../../etc/passwd": use a name such as Europe/Berlin`},
		{"0 0 * * *", strings.Repeat("x", 1000), `unknown time zone of 1000 characters: use a name such as Europe/Berlin`},
		{"\x1b[31m 0 * * *", "", `invalid cron "\x1b[31m 0 * * *": minute "\x1b[31m": ` +
			`use 0 to 59, such as 30, 0,30 or */15; * is every one`},
	} {
		_, err := cron.Parse(c[0], c[1])
		require.EqualError(t, err, c[2])
	}
	// What the parser would accept, or mean something else by.
	for _, field := range []string{",", "1,,2", "H", "1,", "?", "TZ=UTC", "*/0", "-5", "5-", "1-2-3", "1/2/3", "٣", "1#2"} {
		_, err := cron.Parse(field+" * * * *", "")
		require.ErrorContains(t, err, "minute", field)
	}
	for _, expr := range []string{"0 0 H * *", "0 0 * * ,", "0 0 * * FRI#6", "0 0 * * MON#", "0 0 40W * *", "0 0 L-40 * *"} {
		_, err := cron.Parse(expr, "")
		require.Error(t, err, expr)
	}
	var none cron.Spec
	_, ok := none.After(time.Now())
	require.False(t, ok)
	_, ok = none.Next(cron.Tick{})
	require.False(t, ok)
}

// Whatever is parsed has ticks that go forward, each with a wall clock of its own.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0 0 * * *", "*/20 */6 * * *", "0 9 13 * FRI", "0 0 29 2 MON#5", "15 22-2/3 LW 9-3 FRI#L,1", "@daily"} {
		f.Add(seed, "Europe/Berlin", int64(1800000000))
	}
	f.Add("* * * * *", "Pacific/Apia", int64(1325239200))
	f.Fuzz(func(t *testing.T, expr, zone string, from int64) {
		s, err := cron.Parse(expr, zone)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 1000)
			return
		}
		start := time.Unix(from%4e9, 0) // until 2096
		last := cron.Tick{At: start.Add(1)}
		seen := map[string]bool{}
		tick, ok := s.After(start)
		for range 100 {
			if !ok {
				return
			}
			require.False(t, tick.At.Before(last.At), "%v after %v", tick, last)
			require.False(t, seen[tick.Wall], "%v twice", tick)
			seen[tick.Wall], last = true, tick
			tick, ok = s.Next(tick)
		}
	})
}

// A window has its begin and not its end, and covers an instant if any of its ticks does.
func TestWindows(t *testing.T) {
	t.Parallel()
	berlin, err := cron.Zone("Europe/Berlin")
	require.NoError(t, err)
	at := func(w cron.Window, text string) string {
		now, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		until, in := w.At(now)
		if !in {
			return ""
		}
		return until.UTC().Format("2006-01-02T15:04Z")
	}
	once, err := cron.Once("2026-12-24 18:00", "2027-01-02T08:00", berlin)
	require.NoError(t, err)
	require.Empty(t, at(once, "2026-12-24T16:59:59Z"))
	require.Equal(t, "2027-01-02T07:00Z", at(once, "2026-12-24T17:00:00Z"))
	require.Equal(t, "2027-01-02T07:00Z", at(once, "2027-01-02T06:59:59Z"))
	require.Empty(t, at(once, "2027-01-02T07:00:00Z"))

	nights, err := cron.Parse("0 22 * * *", "Europe/Berlin")
	require.NoError(t, err)
	night, err := cron.Recurring(nights, 8*time.Hour)
	require.NoError(t, err)
	require.Empty(t, at(night, "2026-10-24T19:59:59Z"))
	require.Equal(t, "2026-10-25T04:00Z", at(night, "2026-10-24T20:00:00Z"), "8 hours, though clocks then show 05:00")
	require.Equal(t, "2026-10-25T04:00Z", at(night, "2026-10-25T03:59:59Z"))
	require.Empty(t, at(night, "2026-10-25T04:00:00Z"))
	long, err := cron.Recurring(nights, 30*time.Hour) // each begins before the one before it ends
	require.NoError(t, err)
	require.Equal(t, "2026-07-03T02:00Z", at(long, "2026-07-01T21:00:00Z"))

	for _, c := range [][3]string{
		{"2026-12-24", "2027-01-02 08:00", `invalid time "2026-12-24": use a time such as "2026-12-24 18:00"`},
		{"2026-12-24 18:00", "", `invalid time "": use a time such as "2026-12-24 18:00"`},
		{"2026-12-24 18:00", "2026-12-24 18:00", `it ends at "2026-12-24 18:00" and begins at "2026-12-24 18:00": use a later end`},
	} {
		_, err = cron.Once(c[0], c[1], berlin)
		require.EqualError(t, err, c[2])
	}
	_, err = cron.Recurring(nights, time.Second)
	require.EqualError(t, err, "invalid length 1s: use 1m to 744h")
	minutes, err := cron.Parse("* * * * *", "")
	require.NoError(t, err)
	_, err = cron.Recurring(minutes, 2*time.Hour)
	require.EqualError(t, err, "invalid length 2h0m0s: it begins again more than 100 times within that: use a rarer expression")
	_, in := cron.Window{}.At(time.Now())
	require.False(t, in)
}
