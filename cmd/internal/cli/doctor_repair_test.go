package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/record"
)

// What doctor says of the record: what was repaired lately, what cannot be read, and
// that nobody looks.
func TestDoctorOnRepairs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	round := record.RepairReport{EndedAt: now.Add(-time.Minute), Operations: 12}
	with := func(change func(*record.RepairReport)) record.RepairReport {
		x := round
		change(&x)
		return x
	}
	some := record.Repairs{record.RepairedOpen: 2, record.RepairedList: 1}
	for name, x := range map[string]struct {
		report record.RepairReport
		level  level
		says   string
	}{
		"new":        {record.RepairReport{}, fine, "no worker has checked the whole record yet"},
		"whole":      {round, fine, "12 operations checked until .*; nothing was lost"},
		"repaired":   {with(func(x *record.RepairReport) { x.Repaired, x.RepairedAt, x.Orphans = some, now.Add(-time.Hour), 4 }), warn, "3 repairs so far, .*: listed 1, open 2; 12 operations .*, dangling references: 4"},
		"long ago":   {with(func(x *record.RepairReport) { x.Repaired, x.RepairedAt = some, now.Add(-48*time.Hour) }), fine, "3 repairs so far, none since"},
		"unreadable": {with(func(x *record.RepairReport) { x.Unreadable, x.UnreadableIn = 3, []string{"a", "b"} }), bad, "3 parts of operations cannot be read: a, b; 12 operations"},
		"first walk": {record.RepairReport{Repaired: some, RepairedAt: now.Add(-time.Minute)}, warn, "3 repairs so far, .*; no worker has checked the whole record yet"},
		"left over":  {with(func(x *record.RepairReport) { x.Orphans = 4 }), warn, "12 operations checked until .*; dangling references: 4"},
		"long after": {with(func(x *record.RepairReport) { x.Repaired, x.RepairedAt, x.Orphans = some, now.Add(-48*time.Hour), 4 }), warn, "dangling references: 4"},
		"nobody":     {with(func(x *record.RepairReport) { x.EndedAt = now.Add(-30 * time.Hour) }), warn, "it was not checked for 30h0m0s"},
	} {
		fs := findings{OK: true}
		fs.repairs(x.report, now)
		require.Len(t, fs.All, 1, name)
		require.Equal(t, x.level, fs.All[0].Level, name)
		require.Regexp(t, x.says, fs.All[0].Message, name)
		require.Equal(t, x.level == fine, fs.All[0].Next == "", name)
	}
}

// A project that nobody serves is named with how many rows wait, by doctor and by stats.
func TestUnservedProjectIsNamed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	rec := s.store(t).Record
	require.NoError(t, rec.AnnounceProjects(t.Context(), "w", "branch"))
	_, err := rec.Beat(t.Context(), "w")
	require.NoError(t, err)
	s.detached(t, "d1", "d2", "d3")
	r := s.run(t, "stats")
	require.Contains(t, r.err, "no worker serves project hq: waiting: 3 rows")
	require.NotContains(t, r.err, "project branch")
	r = s.run(t, "doctor")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.out, "no running worker serves it; waiting: 3 rows")
}
