package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
			p := plan{Kind: kind, Events: []string{"kill"}, Bulk: 100, Seed: 7, Patience: 2 * time.Minute, Binary: binary, Dir: filepath.Join(t.TempDir(), kind), Progress: io.Discard}
			v, err := p.run(t.Context())
			require.NoError(t, err)
			var text bytes.Buffer
			v.print(&text)
			require.Zero(t, v.bad(), text.String())
			require.Len(t, v.Events, 1)
			require.Greater(t, v.Acknowledged, 10)
			require.NotZero(t, v.Replicated, "nobody waited for a replica")
			require.NotEmpty(t, v.Refused, "nobody noticed the kill")
		})
	}
}

// A run in which the processes do not work is an error, not a run without faults.
func TestWhatEndsByItself(t *testing.T) {
	t.Parallel()
	p, err := drill.Start("w-1", nil, nil, "false")
	require.NoError(t, err)
	s := &stage{processes: []*drill.Process{p}}
	s.log, err = os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.running() != nil }, time.Minute, time.Millisecond)
	require.ErrorContains(t, s.running(), "w-1 ended by itself: exit status 1")
}

// The judge sees what must not happen.
func TestTheJudgeSees(t *testing.T) {
	t.Parallel()
	on := func(names ...string) (out []fakecloud.User) {
		for _, n := range names {
			out = append(out, fakecloud.User{Name: n})
		}
		return out
	}
	for name, test := range map[string]struct {
		desktop fakecloud.Desktop
		calls   int
		change  func(*ack)
		ends    tasks.State // zero: not at all
		want    func(v *verdict) []string
	}{
		"lost":               {fakecloud.Desktop{ID: "plain-1", Users: on(leaver)}, 1, func(a *ack) { a.op.ID = "nowhere" }, tasks.StateDetached, func(v *verdict) []string { return v.Lost }},
		"a row lost":         {fakecloud.Desktop{ID: "plain-1", Users: on(leaver)}, 1, func(a *ack) { a.desktops = append(a.desktops, "plain-2") }, tasks.StateDetached, func(v *verdict) []string { return v.Lost }},
		"never ended":        {fakecloud.Desktop{ID: "plain-1", Users: on(leaver)}, 1, nil, 0, func(v *verdict) []string { return v.NeverEnded }},
		"twice":              {fakecloud.Desktop{ID: "plain-1", Users: on(leaver)}, 2, nil, tasks.StateDetached, func(v *verdict) []string { return v.Twice }},
		"an heir":            {fakecloud.Desktop{ID: "given-away-1", Users: on(leaver), AfterDetach: on(heir)}, 2, nil, tasks.StateDetached, func(v *verdict) []string { return v.Wrong }},
		"a colleague":        {fakecloud.Desktop{ID: "shared-1", Type: fakecloud.Shared, Users: on(leaver, colleague)}, 1, nil, tasks.StateDetached, func(v *verdict) []string { return v.Wrong }},
		"detached, and not":  {fakecloud.Desktop{ID: "plain-1", Users: on(leaver)}, 0, nil, tasks.StateDetached, func(v *verdict) []string { return v.Unproven }},
		"detached, and held": {fakecloud.Desktop{ID: "plain-1", Users: on(leaver)}, 1, nil, tasks.StateHeld, func(v *verdict) []string { return v.Unproven }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := staged(t, test.desktop, test.ends)
			for range test.calls {
				post(t, s.cloud.URL, test.desktop.ID)
			}
			if test.change != nil {
				test.change(&s.acks[0])
			}
			require.NoError(t, s.judge(t.Context()))
			require.NotEmpty(t, test.want(&s.verdict))
			require.NotZero(t, s.verdict.bad())
		})
	}
}

// What was marked may be lost.
func TestTheJudgeAllows(t *testing.T) {
	t.Parallel()
	s := staged(t, fakecloud.Desktop{ID: "plain-1", Users: []fakecloud.User{{Name: leaver}}}, 0)
	s.acks[0].op.ID, s.acks[0].durability = "nowhere", tasks.OneCopy
	require.NoError(t, s.judge(t.Context()))
	require.Zero(t, s.verdict.bad())
	require.Equal(t, 1, s.verdict.MarkedLost)
}

// staged has one operation of one desktop, whose row has ended in a state.
func staged(t *testing.T, d fakecloud.Desktop, end tasks.State) *stage {
	s := &stage{}
	var err error
	s.cloud, err = fakecloud.Serve(fakecloud.Config{}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(s.cloud.Close)
	s.cloud.Add(projectID, d)
	s.rdb = redistest.Mini(t)
	producer, err := record.NewProducer(s.rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	s.record = producer.Record
	op, err := producer.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{d.ID}})
	require.NoError(t, err)
	if end != 0 {
		c, err := s.record.Chunk(t.Context(), op.ID, 0)
		require.NoError(t, err)
		_, err = s.record.Apply(t.Context(), time.Now(), []record.Change{{Operation: op, Moves: []record.Move{{Desktop: c.Desktops[0], To: end}}}})
		require.NoError(t, err)
		_, err = s.record.Finish(t.Context(), []string{op.ID})
		require.NoError(t, err)
	}
	s.acks = []ack{{op: op, desktops: []string{d.ID}}}
	return s
}

func post(t *testing.T, cloud, id string) {
	t.Helper()
	resp, err := http.Post(cloud+"/v2/"+projectID+"/desktops/detach", "application/json", strings.NewReader(`{"desktop_ids":["`+id+`"]}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}
