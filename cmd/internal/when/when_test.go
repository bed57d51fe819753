package when

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func zone(t require.TestingT, name string) *time.Location {
	z, err := time.LoadLocation(name)
	require.NoError(t, err)
	return z
}

func TestParse(t *testing.T) {
	t.Parallel()
	berlin := zone(t, "Europe/Berlin")
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, berlin)
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC) }
	for text, want := range map[string]time.Time{
		"":                            {},
		"now":                         now,
		"+2h":                         now.Add(2 * time.Hour),
		"90m":                         now.Add(90 * time.Minute),
		"2026-11-23T18:00:00Z":        at(23, 18, 0),
		"2026-11-23T18:00:00+08:00":   at(23, 10, 0),
		"2026-11-23T18:00:00+0800":    at(23, 10, 0),
		"2026-11-23 18:00 +0800":      at(23, 10, 0),
		"2026-11-23 18:00:00 +08:00":  at(23, 10, 0),
		"2026-11-23T18:00-03:30":      at(23, 21, 30),
		"2026-11-23 18:00 UTC":        at(23, 18, 0),
		" 2026-11-23 18:00 ":          at(23, 17, 0),
		"2026-11-23T18:00":            at(23, 17, 0),
		"2026-11-30":                  at(29, 23, 0),
		"18:00":                       at(23, 17, 0),
		"12:01":                       at(23, 11, 1),
		"12:00":                       at(24, 11, 0),
		"tomorrow":                    at(23, 23, 0),
		"today":                       at(22, 23, 0),
		"yesterday 18:00":             at(22, 17, 0),
		"tomorrow 08:30":              at(24, 7, 30),
		"11:59":                       at(24, 10, 59),
		"2026-07-01 18:00":            time.Date(2026, 7, 1, 16, 0, 0, 0, time.UTC),
		"2026-11-23T18:00:00.250Z":    at(23, 18, 0).Add(250 * time.Millisecond),
		"2026-10-25 02:30:00 +02:00":  time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC),
		"2026-10-25T02:30:00.5+01:00": time.Date(2026, 10, 25, 1, 30, 0, 500_000_000, time.UTC),
	} {
		got, err := Parse(text, now, berlin, Next)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%q is %s", text, got)
	}
	for _, text := range []string{"-2h", "tonight", "tomorrow 18:00 +0800", "tomorrow 25:00", "23.11.2026", "2026-13-01 00:00", "2026-02-30", "25:00", "11/30/2026", "2026-11-23T18:00:00+08:00:00", "18:00 CET", "2026-11-23 18:00 CET"} {
		_, err := Parse(text, now, berlin, Next)
		require.ErrorContains(t, err, "invalid time", text)
	}
	for text, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "-24h": now.Add(-24 * time.Hour), "18:00": at(22, 17, 0), "12:00": at(23, 11, 0), "2026-11-30": at(29, 23, 0),
	} {
		got, err := Parse(text, now, berlin, Last)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%q is %s", text, got)
	}
}

// A local time that does not exist, or exists twice, cannot be guessed.
func TestClocksAreChanged(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, x := range []struct{ zone, text, says string }{
		{"Europe/Berlin", "2026-03-29 02:30", "does not exist in Europe/Berlin"},
		{"Europe/Berlin", "2026-10-25 02:30", "use 2026-10-25 02:30:00 +02:00 or 2026-10-25 02:30:00 +01:00"},
		{"Australia/Lord_Howe", "2026-10-04 02:15", "does not exist"}, // by half an hour
		{"Africa/Cairo", "2026-04-24", "does not exist"},              // at midnight
		{"Pacific/Apia", "2011-12-30 12:00", "does not exist"},        // a day that was skipped
	} {
		_, err := Parse(x.text, now, zone(t, x.zone), Next)
		require.ErrorContains(t, err, x.says, "%s %s", x.zone, x.text)
	}
}

// What is shown is read as the same instant, in every zone.
func TestShowIsParsed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		z := zone(t, rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Asia/Shanghai", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"}).Draw(t, "zone"))
		at := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "at"), 0).In(z)
		got, err := Parse(Show(at), time.Unix(0, 0), time.UTC, Next)
		if err != nil || !got.Equal(at) {
			t.Fatalf("%s is read as %s: %v", Show(at), got, err)
		}
		// A local time that is read is what clocks there show, and the only one.
		wall := at.Format("2006-01-02 15:04:05")
		if got, err := Parse(wall, time.Unix(0, 0), z, Next); err == nil && (got.Format("2006-01-02 15:04:05") != wall || !got.Equal(at)) {
			t.Fatalf("%s in %s is read as %s", wall, z, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"2026-11-23T18:00:00+0800", "18:00", "2026-11-30", "+2h", "now", "2026-10-25 02:30 UTC"} {
		f.Add(s)
	}
	z := zone(f, "Europe/Berlin")
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, z)
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := Parse(text, now, z, Next); err != nil && !at.IsZero() {
			t.Fatalf("%q is refused, and is %s", text, at)
		}
	})
}
