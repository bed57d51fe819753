package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	os.Exit(m.Run())
}

// A short run of what make chaos does at length: real processes, real kills.
func TestChaos(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("DETACHD_TEST_REDIS") != "required" {
		t.Skip("redis-server is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	p := plan{Kills: 7, Desktops: 400, Seed: 7, Every: 500 * time.Millisecond, Dir: t.TempDir(), Progress: io.Discard}
	var err error
	p.Binary, err = build(ctx, t.TempDir())
	require.NoError(t, err)
	v, err := p.run(ctx)
	require.NoError(t, err)
	var text bytes.Buffer
	v.print(&text)
	require.Zero(t, v.bad(), text.String())
	require.Equal(t, 400, v.Desktops)
	require.Equal(t, 7, v.Kills)
	require.Equal(t, 1, v.RedisKills)
	require.NotZero(t, v.Detached)
	require.NotZero(t, v.Held)
	require.NotEmpty(t, v.Recovery["worker"])
}

// A run in which the workers do not work is an error, not a run without faults.
func TestWorkersThatEndByThemselves(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("DETACHD_TEST_REDIS") != "required" {
		t.Skip("redis-server is not installed")
	}
	p := plan{Kills: 3, Desktops: 3, Every: time.Second, Dir: t.TempDir(), Progress: io.Discard, Binary: "false"}
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
		"a colleague":     {fakecloud.Desktop{ID: "shared-1", Type: fakecloud.Shared, Users: one(leaver, colleague)}, 1, true, func(v *verdict) []string { return v.WrongPerson }},
		"unproven":        {fakecloud.Desktop{ID: "plain-1", Users: one(leaver)}, 0, true, func(v *verdict) []string { return v.Unproven }},
		"nowhere":         {fakecloud.Desktop{ID: "nowhere-1"}, 0, true, func(v *verdict) []string { return v.Nowhere }},
		"nowhere, sent":   {fakecloud.Desktop{ID: "nowhere-1"}, 1, false, func(v *verdict) []string { return v.Nowhere }},
		"passed on, held": {fakecloud.Desktop{ID: "passed-on-1", Users: one(somebody)}, 0, true, func(v *verdict) []string { return v.Unproven }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stage{rand: rand.New(rand.NewPCG(1, 1))}
			var err error
			s.cloud, err = fakecloud.Serve(fakecloud.Config{}, "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(s.cloud.Close)
			s.producer, err = tasks.NewProducer(redistest.Mini(t), tasks.ProducerConfig{Projects: []string{"hq"}})
			require.NoError(t, err)
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
				_, err = s.producer.Record.Apply(t.Context(), time.Now(), []tasks.Change{{Operation: op, Moves: []tasks.Move{{Desktop: c.Desktops[0], To: tasks.Detached}}}})
				require.NoError(t, err)
				_, err = s.producer.Record.Finish(t.Context(), []string{op.ID})
				require.NoError(t, err)
				op, err = s.producer.Record.Operation(t.Context(), op.ID)
				require.NoError(t, err)
			}
			s.ops = []tasks.Operation{op}
			require.NoError(t, s.judge(t.Context()))
			require.NotEmpty(t, test.want(&s.verdict))
			require.NotZero(t, s.verdict.bad())
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
