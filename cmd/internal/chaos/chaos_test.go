package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
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

// short is what make chaos does at length, once: real processes, and calls that are
// longer than the outage in their middle.
func short(t *testing.T) plan {
	redistest.Need(t)
	return plan{
		Kills: 1, Outages: 1, Freezes: 1, Workers: 5, Desktops: 400, Operations: 25, Pace: 40 * time.Millisecond, Every: time.Second, Seed: 7,
		Calls: span{12 * time.Second, 13 * time.Second}, Away: span{10 * time.Second, 10 * time.Second}, Frozen: span{10 * time.Second, 11 * time.Second},
		Rest: span{500 * time.Millisecond, time.Second}, Dir: t.TempDir(), Progress: io.Discard,
	}
}

func TestChaos(t *testing.T) {
	with := short(t)
	// Whoever dies in an outage is found dead when its calls are long over.
	without := short(t)
	without.Outages, without.Kills = 0, 2
	binary, err := drill.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	for name, p := range map[string]plan{"with an outage": with, "without": without} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			p.Binary = binary
			v, err := p.run(ctx)
			require.NoError(t, err)
			var text bytes.Buffer
			v.print(&text)
			t.Log(text.String())
			require.Zero(t, v.bad())
			require.Equal(t, p.Desktops, v.Desktops)
			require.GreaterOrEqual(t, v.Heirs, p.Desktops/3)
			require.Equal(t, p.Kills, v.Kills)
			require.Equal(t, p.Freezes, v.Freezes)
			require.Equal(t, p.Outages, v.Outages["killed"])
			require.NotZero(t, v.Detached)
			require.NotZero(t, v.Held)
			require.NotZero(t, v.CalledDead, "the log of a killed worker's end was read")
			require.NotEmpty(t, v.Recovery["worker"])
		})
	}
}

// A run in which the workers do not work is an error, not a run without faults.
func TestWorkersThatEndByThemselves(t *testing.T) {
	t.Parallel()
	p := short(t)
	p.Binary = "false"
	_, err := p.run(t.Context())
	require.ErrorContains(t, err, "ended by itself: exit status 1")
}

// The judge sees what must not happen.
func TestTheJudgeSees(t *testing.T) {
	t.Parallel()
	one := func(names ...string) (out []fakecloud.User) {
		for _, n := range names {
			out = append(out, fakecloud.User{Name: n})
		}
		return out
	}
	for name, test := range map[string]struct {
		desktop fakecloud.Desktop
		calls   int
		ends    bool // the record calls it detached
		want    func(v *verdict) []string
	}{
		"lost":            {fakecloud.Desktop{ID: "plain-1", Users: one(leaver)}, 1, false, func(v *verdict) []string { return v.Lost }},
		"sent again":      {fakecloud.Desktop{ID: "plain-1", Users: one(leaver)}, 2, true, func(v *verdict) []string { return v.SentAgain }},
		"wrong person":    {fakecloud.Desktop{ID: "passed-on-1", Users: one(somebody)}, 1, true, func(v *verdict) []string { return v.WrongPerson }},
		"an heir":         {fakecloud.Desktop{ID: "given-away-1", Users: one(leaver), AfterDetach: one(heir)}, 2, true, func(v *verdict) []string { return v.HeirsCutOff }},
		"a colleague":     {fakecloud.Desktop{ID: "shared-1", Type: fakecloud.Shared, Users: one(leaver, colleague)}, 1, true, func(v *verdict) []string { return v.WrongPerson }},
		"unproven":        {fakecloud.Desktop{ID: "plain-1", Users: one(leaver)}, 0, true, func(v *verdict) []string { return v.Unproven }},
		"nowhere":         {fakecloud.Desktop{ID: "nowhere-1"}, 0, true, func(v *verdict) []string { return v.Nowhere }},
		"nowhere, sent":   {fakecloud.Desktop{ID: "nowhere-1"}, 1, false, func(v *verdict) []string { return v.Nowhere }},
		"passed on, held": {fakecloud.Desktop{ID: "passed-on-1", Users: one(somebody)}, 0, true, func(v *verdict) []string { return v.Unproven }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stage{}
			var err error
			s.log, err = os.Create(filepath.Join(t.TempDir(), "workers.log"))
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.log.Close() })
			s.cloud, err = fakecloud.Serve(fakecloud.Config{}, "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(s.cloud.Close)
			s.producer, err = record.NewProducer(redistest.Mini(t), record.ProducerConfig{Projects: []string{"hq"}})
			require.NoError(t, err)
			s.record = s.producer.Record
			if strings.HasPrefix(test.desktop.ID, nowhere) {
				s.missing = []string{test.desktop.ID}
			} else {
				s.cloud.Add(projectID, test.desktop)
			}
			op, err := s.producer.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{test.desktop.ID}})
			require.NoError(t, err)
			for range test.calls {
				post(t, s.cloud.URL, test.desktop.ID)
			}
			if test.ends {
				c, err := s.producer.Record.Chunk(t.Context(), op.ID, 0)
				require.NoError(t, err)
				_, err = s.producer.Record.Apply(t.Context(), time.Now(), []record.Change{{Operation: op, Moves: []record.Move{{Desktop: c.Desktops[0], To: tasks.StateDetached}}}})
				require.NoError(t, err)
				_, err = s.producer.Record.Finish(t.Context(), []string{op.ID})
				require.NoError(t, err)
				op, err = s.producer.Record.Operation(t.Context(), op.ID)
				require.NoError(t, err)
			}
			s.ops = []record.Operation{op}
			require.NoError(t, s.judge(t.Context()))
			require.NotEmpty(t, test.want(&s.verdict))
			require.NotZero(t, s.verdict.bad())
		})
	}
}

// Who was killed or frozen is not a living worker that was called dead.
func TestTheJudgeSeesLivingWorkersCalledDead(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := func(second int) time.Time { return noon.Add(time.Duration(second) * time.Second) }
	const line = `{"level":"warn","dead_worker":"w-1","silent":8000.5,"chunks":3,"time":"2026-01-02T12:00:20Z","message":"a worker died"}` // silent from 11.9995 on
	for name, test := range map[string]struct {
		worker process
		log    string
		living bool
	}{
		"alive":                       {process{id: "w-1"}, line, true},
		"after another line, cut off": {process{id: "w-1"}, `{"level":"info","mess` + "\n" + line, true},
		"nobody called it dead":       {process{id: "w-1"}, `{"level":"info","message":"w-1"}`, false},
		"nobody has started it":       {process{id: "w-2"}, line, true},
		"killed before":               {process{id: "w-1", died: at(5)}, line, false},
		"killed in the silence":       {process{id: "w-1", died: at(15)}, line, false},
		"killed after":                {process{id: "w-1", died: at(25)}, line, true},
		"frozen throughout":           {process{id: "w-1", frozen: []period{{at(10), at(30)}}}, line, false},
		"frozen still":                {process{id: "w-1", frozen: []period{{from: at(13)}}}, line, false},
		"frozen in a part of it":      {process{id: "w-1", frozen: []period{{at(1), at(2)}, {at(11), at(14)}}}, line, false},
		"frozen before":               {process{id: "w-1", frozen: []period{{at(1), at(10)}}}, line, true},
		"frozen after":                {process{id: "w-1", frozen: []period{{at(22), at(30)}}}, line, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stage{processes: []*process{&test.worker}}
			var err error
			s.log, err = os.Create(filepath.Join(t.TempDir(), "workers.log"))
			require.NoError(t, err)
			defer func() { _ = s.log.Close() }()
			_, err = s.log.WriteString(test.log + "\n")
			require.NoError(t, err)
			require.NoError(t, s.judgeDeaths())
			require.Equal(t, test.living, len(s.verdict.Living) > 0, s.verdict.Living)
			require.Equal(t, test.living, s.verdict.bad() > 0)
		})
	}
}

func post(t *testing.T, cloud, id string) {
	t.Helper()
	resp, err := http.Post(cloud+"/v2/"+projectID+"/desktops/detach", "application/json", strings.NewReader(`{"desktop_ids":["`+id+`"]}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// What is drawn is within its span, and short draws mostly near its beginning.
func TestSpans(t *testing.T) {
	t.Parallel()
	s, r := span{2 * time.Second, time.Minute}, rand.New(rand.NewPCG(1, 1))
	near := 0
	for range 1000 {
		for _, d := range []time.Duration{s.draw(r), s.short(r)} {
			require.True(t, s.least <= d && d <= s.most, d)
		}
		if s.short(r) <= 12*time.Second {
			near++
		}
	}
	require.Greater(t, near, 800)
	require.Equal(t, time.Second, span{time.Second, time.Second}.short(r))
}
