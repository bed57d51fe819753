package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// Time runs out for the rows of a project that no worker serves, too: those that wait
// fail at their deadline, and those that may have been sent, or were accepted, when no
// worker has read them for long enough.
func TestDeadlinesOfAProjectThatNobodyServes(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	begun := time.Now()
	op := s.enqueue(tasks.Request{Desktops: ids(130), Deadline: begun.Add(300 * time.Millisecond)})
	young := s.enqueue(tasks.Request{Desktops: []string{"young"}})
	c, err := s.record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	move := func(to tasks.State, ds ...record.Row) []record.Row {
		ch := record.Change{Operation: op, By: "a worker that is gone", LookAt: begun}
		for _, d := range ds {
			ch.Moves = append(ch.Moves, record.Move{Desktop: d, To: to, CallID: "call"})
		}
		out, err := s.record.Apply(t.Context(), begun, []record.Change{ch})
		require.NoError(t, err)
		return out[0].Desktops
	}
	sending := move(tasks.StateSending, c.Desktops[:20]...)
	move(tasks.StateAccepted, sending[:10]...)

	w, err := worker.New(func() worker.Config {
		cfg := quick(s.rdb, "of-another", client(t, s.cloud.URL, time.Second))
		cfg.Projects[0].Alias, cfg.ConfirmWithin = "branch", time.Second
		return cfg
	}())
	require.NoError(t, err)
	worker.ShortenIntervals(w)
	require.NoError(t, w.Start(t.Context()))
	t.Cleanup(w.Stop)
	require.NoError(t, s.record.AnnounceProjects(t.Context(), "gone", "hq")) // once
	got, rows := s.ended(op)
	require.Equal(t, tasks.Counts{Failed: 130}, got.Counts)
	codes := map[string]int{}
	failures, _, err := s.record.Failures(t.Context(), tasks.FailureFilter{}, 1000, "")
	require.NoError(t, err)
	for _, f := range failures {
		codes[f.Code]++
		at := rows[f.DesktopID].UpdatedAt
		switch rows[f.DesktopID].CallID {
		case "":
			require.Contains(t, f.Message, "no worker serves the project")
			require.False(t, at.Before(op.Deadline.Truncate(time.Millisecond)), "failed before its deadline")
		default:
			require.False(t, at.Before(op.Deadline.Add(time.Second).Truncate(time.Millisecond)), "given up before a proof could have come")
		}
	}
	require.Equal(t, map[string]int{"DEADLINE": 110, "UNCONFIRMED": 20}, codes)
	require.Equal(t, 1, s.operation(young).Counts.Queued, "its deadline is to come")
}
