package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// What is due later is scheduled, and every command says so.
func TestScheduled(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		running := s.detached(t, "d1", "--at", "now", "--due-at", "2199-11-30T18:00:00+0800")
		out := s.ok(t, "detach", "--project", "hq", "--user", "zoe", "--due-at", "2199-11-30T18:00:00+0800")
		start := clock(time.Date(2199, 11, 30, 10, 0, 0, 0, time.UTC))
		require.Regexp(t, `[+-]\d\d:\d\d$`, start)
		require.Contains(t, out, "scheduled: it starts "+start+", in ")
		require.Contains(t, out, "deadline "+clock(time.Date(2199, 12, 1, 10, 0, 0, 0, time.UTC)))
		id := strings.TrimSuffix(strings.Fields(out)[1], ":")

		list := s.ok(t, "list")
		require.Regexp(t, id+` .* scheduled `+strings.NewReplacer("+", `\+`).Replace(start), list)
		require.Regexp(t, running+` .* running `, list)
		require.NotContains(t, s.ok(t, "list", "--scheduled"), running)
		require.NotContains(t, s.ok(t, "list", "--open"), id)
		s.refused(t, exitUsage, "[open scheduled]", "list", "--open", "--scheduled")
		ops := s.json(t, exitOK, "list", "--scheduled")["items"].([]any)
		require.Len(t, ops, 1)
		require.Equal(t, "scheduled", ops[0].(map[string]any)["state"])
		require.Equal(t, "2199-11-30T10:00:00Z", ops[0].(map[string]any)["not_before"])

		status := s.ok(t, "status", id)
		require.Regexp(t, `state +scheduled\n`, status)
		require.Contains(t, status, start)
		require.NotContains(t, status, "overdue")
		require.Equal(t, "scheduled", s.json(t, exitOK, "status", id)["state"])
		require.Regexp(t, `state +running\n`, s.ok(t, "status", running))
		s.ok(t, "cancel", id)
		require.Regexp(t, `state +finished\n`, s.ok(t, "status", id))
		require.Empty(t, s.json(t, exitOK, "list", "--scheduled")["items"])
	})
}

// Times are said back with their offset by a plan, and those that cannot be meant
// are refused.
func TestTimesOfDetach(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		r := s.run(t, "detach", "d1", "--project", "hq", "--due-at", "2199-11-30", "--plan")
		require.Equal(t, exitOK, r.code, r.err)
		day := clock(time.Date(2199, 11, 30, 0, 0, 0, 0, time.Local))
		require.Contains(t, r.err, "it would start "+day+", remove access by "+day+", deadline ")
		require.Equal(t, time.Date(2199, 11, 30, 0, 0, 0, 0, time.Local).UTC().Format(time.RFC3339),
			s.json(t, exitOK, "detach", "d1", "--project", "hq", "--due-at", "2199-11-30", "--plan")["items"].([]any)[0].(map[string]any)["not_before"])
		last := s.json(t, exitOK, "detach", "d1", "--project", "hq", "--last-day", "2199-11-30", "--zone", "Asia/Singapore", "--plan")
		require.Equal(t, "2199-11-30T16:00:00Z", last["items"].([]any)[0].(map[string]any)["due_at"])
		for _, x := range [][]string{
			{"has passed already", "--at", "2020-01-01"},
			{"has passed already", "--at", "2020-01-01T18:00:00+0800"},
			{"has passed already", "--deadline", "2020-01-01"},
			{"is not after not_before", "--at", "2199-01-01", "--deadline", "2198-01-01"},
			{"is not after due_at", "--due-at", "2199-01-01", "--deadline", "2198-01-01"},
			{"invalid --at \"tonight\": use ", "--at", "tonight"},
			{"--last-day says the start", "--last-day", "2199-11-30", "--due-at", "2199-11-30"},
			{"--zone is the zone of --last-day", "--zone", "UTC"},
			{`--last-day: invalid date "30.11.2199": use a date such as 2026-11-30`, "--last-day", "30.11.2199"},
			{`--zone: unknown time zone "Mars": use a name such as Europe/Berlin`, "--last-day", "2199-11-30", "--zone", "Mars"},
		} {
			s.refused(t, exitUsage, x[0], append([]string{"detach", "d1", "--project", "hq"}, x[1:]...)...)
		}
		require.Empty(t, s.operations(t))
	})
}

// What was accepted is found again by its key although its time has passed.
func TestDetachAgainAfterItsTime(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		past := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
		p, err := record.NewProducer(s.store(t).Redis, record.ProducerConfig{Projects: []string{"hq"}, Now: func() time.Time { return past }})
		require.NoError(t, err)
		op, err := p.Enqueue(t.Context(), api.OperationRequest{
			Project: "hq", Users: []string{"zoe"}, NotBefore: api.NotBefore{At: past.Add(time.Hour)}, IdempotencyKey: "k",
		}.Task("jo"))
		require.NoError(t, err)
		args := []string{"detach", "--project", "hq", "--user", "zoe", "--at", "2026-01-30T13:00:00Z", "--idempotency-key", "k"}
		require.Contains(t, s.ok(t, args...), "operation "+op.ID+": 1 user")
		s.refused(t, exitUsage, "used before", append(args, "--ticket", "another")...)
	})
}

// A TZ that cannot be loaded would silently be UTC.
func TestTimeZoneThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	run := func(tz string) (int, string) {
		var out, errs bytes.Buffer
		code := Program{Version: "test", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, LookupEnv: lookup(map[string]string{"TZ": tz})}.Run(t.Context(), []string{"version"})
		return code, errs.String()
	}
	for _, tz := range []string{"Europe/Berlni", "CET-1CEST,M3.5.0,M10.5.0/3", "Local", "/nowhere", "/etc/passwd", "../UTC"} {
		code, errs := run(tz)
		require.Equal(t, exitUsage, code, tz)
		require.Contains(t, errs, "cannot be loaded", tz)
		require.Contains(t, errs, "next: set TZ to a zone such as", tz)
	}
	for _, tz := range []string{"", "UTC", "Europe/Berlin", ":Asia/Shanghai", "EST5EDT"} {
		code, errs := run(tz)
		require.Equal(t, exitOK, code, "%s: %s", tz, errs)
	}
}
