package drill

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

func opened(t *testing.T, binary string) *Env {
	e, err := Open(Site{Binary: binary, Dir: t.TempDir()}, Setup{Redis: redistest.Mini(t)})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}

// A drill in which the processes do not work is an error, not one without violations.
func TestWhatEndsByItself(t *testing.T) {
	t.Parallel()
	e := opened(t, "false")
	start := func(ctx context.Context) error {
		p, err := e.Start("w", "worker")
		if err == nil {
			<-p.ended
		}
		return err
	}
	require.ErrorContains(t, e.Do(t.Context(), start), "w-1 ended by itself: exit status 1")
	e.MayEnd = func(p *Process) bool { return p.Name == "w-2" }
	require.NoError(t, e.Do(t.Context(), start), "the excused one")
	require.ErrorContains(t, e.Do(t.Context(), start), "w-3 ended by itself: exit status 1")
}

// A worker that was killed or frozen is not a living worker that was called dead.
func TestLivingWorkersCalledDead(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := func(second int) time.Time { return noon.Add(time.Duration(second) * time.Second) }
	// Silent from 11.9995 on.
	const line = `{"level":"warn","dead_worker":"w-1","silent":8000.5,"chunks":3,"time":"2026-01-02T12:00:20Z","message":"a worker died"}`
	for name, test := range map[string]struct {
		worker *Process
		log    string
		living bool
	}{
		"alive":                     {&Process{Name: "w-1"}, line, true},
		"after another, cut line":   {&Process{Name: "w-1"}, `{"level":"info","mess` + "\n" + line, true},
		"not called dead":           {&Process{Name: "w-1"}, `{"level":"info","message":"w-1"}`, false},
		"not started by the drill":  {&Process{Name: "w-2"}, line, true},
		"killed before":             {&Process{Name: "w-1", died: at(5)}, line, false},
		"killed during the silence": {&Process{Name: "w-1", died: at(15)}, line, false},
		"killed after":              {&Process{Name: "w-1", died: at(25)}, line, true},
		"frozen throughout":         {&Process{Name: "w-1", frozen: []period{{at(10), at(30)}}}, line, false},
		"frozen still":              {&Process{Name: "w-1", frozen: []period{{from: at(13)}}}, line, false},
		"frozen in a part of it":    {&Process{Name: "w-1", frozen: []period{{at(1), at(2)}, {at(11), at(14)}}}, line, false},
		"frozen before":             {&Process{Name: "w-1", frozen: []period{{at(1), at(10)}}}, line, true},
		"frozen after":              {&Process{Name: "w-1", frozen: []period{{at(22), at(30)}}}, line, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := opened(t, "")
			e.processes = []*Process{test.worker}
			defer func() { e.processes = nil }() // Close would kill it
			_, err := e.log.WriteString(test.log + "\n")
			require.NoError(t, err)
			_, living, err := e.CalledDead()
			require.NoError(t, err)
			require.Equal(t, test.living, len(living) > 0, living)
		})
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	require.Zero(t, Quantile([]int(nil), 0.5))
	for q, want := range map[float64]int{0: 1, 0.5: 2, 0.75: 3, 0.99: 4, 1: 4} {
		require.Equal(t, want, Quantile([]int{3, 1, 4, 2}, q), q)
	}
}
