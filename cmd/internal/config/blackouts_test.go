package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBlackouts(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, oneProject+`    zone: Asia/Singapore
    blackouts:
      - {name: year-end, reason: payroll closes, from: 2026-12-24 18:00, until: 2027-01-02 08:00}
      - {name: month-end, zone: Europe/Berlin, cron: 0 0 L * *, for: 24h}
`), env())
	require.NoError(t, err)
	at := func(text string) string {
		now, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		if b := cfg.Projects[0].BlackoutTimes().At(now); b != nil {
			return b.Text()
		}
		return ""
	}
	require.Empty(t, at("2026-12-24T09:59:00Z"))
	require.Equal(t, "blackout year-end until 2027-01-02 00:00 UTC (payroll closes)", at("2026-12-24T10:00:00Z"))
	require.Equal(t, "blackout month-end until 2026-11-30 23:00 UTC", at("2026-11-30T12:00:00Z"))
	require.Contains(t, cfg.Guards()["projects.hq.blackouts"], "year-end: 2026-12-24 18:00 to 2027-01-02 08:00 Asia/Singapore, month-end: 0 0 L * *")

	_, err = Load(write(t, oneProject+`    blackouts:
      - {name: A, from: 2026-12-24 18:00, until: 2027-01-02 08:00}
      - {name: b, cron: 0 25 * * *, for: 1h}
      - {name: c, cron: 0 0 * * *}
      - {name: d, cron: 0 0 * * *, for: 1h, from: 2026-12-24 18:00}
      - {name: e, from: 2026-12-24 18:00}
      - {name: f, from: tomorrow, until: 2027-01-02 08:00}
      - {name: f, zone: Berlin, cron: 0 0 * * *, for: 1h}
      - {name: g, from: 2026-12-24 18:00, until: 2027-01-02 08:00, for: 1h, until_then: x}
      - {name: h, from: 2026-12-24 18:00, until: never}
      - {name: i, from: 2026-12-24 18:00, until: 2026-12-24 18:00}
`), env())
	for _, want := range []string{
		`line 10: projects[0].blackouts[0].name: is "A": 1 to 40 lower-case letters`,
		`projects[0].blackouts[1].cron: invalid cron "0 25 * * *": hour "25"`,
		`projects[0].blackouts[2].for: invalid length 0s: use 1m to 744h`,
		`projects[0].blackouts[3].cron: is set, and from or until as well`,
		`projects[0].blackouts[4].cron: is missing, and from and until are not both set`,
		`projects[0].blackouts[5].from: invalid time "tomorrow"`,
		`projects[0].blackouts[6].name: is "f": 1 to 40`,
		`projects[0].blackouts[6].zone: unknown time zone "Berlin"`,
		`projects[0].blackouts[7].for: is set without cron`,
		`projects[0].blackouts[7].until_then: no such key`,
		`projects[0].blackouts[8].until: invalid time "never"`,
		`projects[0].blackouts[9].until: it ends at "2026-12-24 18:00"`,
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = Load(write(t, oneProject+"    zone: Local\n"), env())
	require.ErrorContains(t, err, `projects[0].zone: unknown time zone "Local"`)
}
