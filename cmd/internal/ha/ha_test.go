package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func TestMain(m *testing.M) {
	drill.QuietRedis()
	os.Exit(m.Run())
}

// A short run of what make ha does at length: real processes, a real failover.
func TestHA(t *testing.T) {
	redistest.Need(t)
	binary, err := drill.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	for kind := range sets {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := scenario{
				Site: drill.Site{Binary: binary, Dir: filepath.Join(t.TempDir(), kind), Progress: io.Discard},
				Kind: kind, Events: []string{"kill"}, Bulk: 100, Seed: 7, Patience: 2 * time.Minute,
			}
			v, err := s.run(t.Context())
			require.NoError(t, err)
			var text bytes.Buffer
			v.print(&text)
			require.Zero(t, v.violations().Count(), text.String())
			require.Len(t, v.Events, 1)
			require.Greater(t, v.Acknowledged, 10)
			require.NotZero(t, v.Replicated, "no answer waited for a replica")
			require.NotEmpty(t, v.Refused, "no request noticed the kill")
		})
	}
}

// The judge sees what must not happen.
func TestTheJudgeSees(t *testing.T) {
	t.Parallel()
	on := drill.Users
	for name, test := range map[string]struct {
		desktop fakecloud.Desktop
		calls   int
		change  func(*ack)
		ends    tasks.State // zero: not at all
		want    func(v *verdict) []string
	}{
		"lost": {fakecloud.Desktop{ID: "plain-1", Users: on(drill.Leaver)}, 1, func(a *ack) { a.op.ID = "nowhere" },
			tasks.StateDetached, func(v *verdict) []string { return v.Lost }},
		"a row lost": {fakecloud.Desktop{ID: "plain-1", Users: on(drill.Leaver)}, 1, func(a *ack) { a.desktops = append(a.desktops, "plain-2") },
			tasks.StateDetached, func(v *verdict) []string { return v.Lost }},
		"never finished": {fakecloud.Desktop{ID: "plain-1", Users: on(drill.Leaver)}, 1, nil, 0,
			func(v *verdict) []string { return v.NeverFinished }},
		"twice": {fakecloud.Desktop{ID: "plain-1", Users: on(drill.Leaver)}, 2, nil, tasks.StateDetached,
			func(v *verdict) []string { return v.Twice }},
		"an heir": {fakecloud.Desktop{ID: "given-away-1", Users: on(drill.Leaver), AfterDetach: on(drill.Heir)}, 2, nil,
			tasks.StateDetached, func(v *verdict) []string { return v.Wrong }},
		"a colleague": {fakecloud.Desktop{ID: "shared-1", Type: fakecloud.Shared, Users: on(drill.Leaver, drill.Colleague)}, 1, nil,
			tasks.StateDetached, func(v *verdict) []string { return v.Wrong }},
		"detached, and not": {fakecloud.Desktop{ID: "plain-1", Users: on(drill.Leaver)}, 0, nil, tasks.StateDetached,
			func(v *verdict) []string { return v.Unproven }},
		"detached, and held": {fakecloud.Desktop{ID: "plain-1", Users: on(drill.Leaver)}, 1, nil, tasks.StateHeld,
			func(v *verdict) []string { return v.Unproven }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := played(t, test.desktop, test.calls, test.ends)
			if test.change != nil {
				test.change(&e.acks[0])
			}
			require.NoError(t, e.judge(t.Context()))
			require.NotEmpty(t, test.want(&e.verdict))
			require.NotZero(t, e.verdict.violations().Count())
		})
	}
}

// What was marked may be lost.
func TestTheJudgeAllows(t *testing.T) {
	t.Parallel()
	e := played(t, fakecloud.Desktop{ID: "plain-1", Users: drill.Users(drill.Leaver)}, 0, 0)
	e.acks[0].op.ID, e.acks[0].durability = "nowhere", tasks.OneCopy
	require.NoError(t, e.judge(t.Context()))
	require.Zero(t, e.verdict.violations().Count())
	require.Equal(t, 1, e.verdict.MarkedLost)
}

// played has one acknowledged operation of one desktop.
func played(t *testing.T, d fakecloud.Desktop, calls int, end tasks.State) *env {
	e := &env{}
	var op record.Operation
	e.Env, op = drill.Played(t, d, calls, end)
	e.acks = []ack{{op: op.Operation, desktops: []string{d.ID}}}
	return e
}
