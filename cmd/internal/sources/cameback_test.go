package sources

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

// A schedule names the desktops that people have again, each for that person only; what is for a
// person to judge, or protected, it leaves, and says so.
func TestCameBack(t *testing.T) {
	t.Parallel()
	ctx, rdb := t.Context(), redistest.Mini(t)
	cloud, err := fakecloud.Serve(fakecloud.Config{Token: "token"}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cloud.Close)
	const id = "0bec5db98280d2d02fd6c00c2de791ce"
	producer, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	op, err := producer.Enqueue(ctx, tasks.Request{
		Project: "hq", Desktops: []string{"d1", "d2", "d3", "d4"},
		Expect: map[string][]string{"d1": {"zoe"}, "d2": {"bob"}, "d3": {"boss"}, "d4": {"keeps"}},
	})
	require.NoError(t, err)
	c, err := producer.Record.Chunk(ctx, op.ID, 0)
	require.NoError(t, err)
	ch := record.Change{Operation: op}
	for _, d := range c.Desktops {
		ch.Moves = append(ch.Moves, record.Move{Desktop: d, To: tasks.StateDetached})
	}
	_, err = producer.Record.Apply(ctx, time.Now(), []record.Change{ch})
	require.NoError(t, err)
	require.NoError(t, producer.Record.AddProtection(ctx, tasks.Protection{Name: "boss", Kind: tasks.ProtectUser, Pattern: "boss"}))
	for desktop, users := range map[string][]string{"D1": {"zoe"}, "n2": {"bob", "zoe"}, "n3": {"boss"}} {
		d := fakecloud.Desktop{ID: desktop}
		for _, name := range users {
			d.Users = append(d.Users, fakecloud.User{Name: name})
		}
		cloud.Add(id, d)
	}
	cloud.Add(id, fakecloud.Desktop{ID: "crowd", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "keeps"}}})

	transport := apiclient.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	api, err := apiclient.New(apiclient.Config{ProjectID: id, Endpoint: cloud.URL, Auth: apiclient.StaticToken("token"), Transport: transport})
	require.NoError(t, err)
	planner := worker.NewPlanner(rdb, producer.Record, worker.Project{Alias: "hq", API: api}, zerolog.Nop())
	now := time.Now()
	r := New(Config{
		Fleet: func(string) (Fleet, error) { return planner, nil }, Now: func() time.Time { return now },
	})
	s := tasks.Schedule{Name: "back", Project: "hq", Reason: "came back", Source: tasks.ScheduleSource{CameBack: &tasks.CameBack{Since: tasks.Duration(30 * 24 * time.Hour)}}}
	found, err := r.Read(ctx, s, -1)
	require.NoError(t, err)
	require.Equal(t, 2, found.Rows)
	require.Len(t, found.Lists[0].Requests, 1)
	req := found.Lists[0].Requests[0]
	require.Equal(t, "hq", req.Project)
	require.Equal(t, []string{"D1", "n2"}, req.Desktops)
	require.Equal(t, map[string][]string{"D1": {"zoe"}, "n2": {"bob", "zoe"}}, req.Expect)
	require.Equal(t, "2 more desktops of people who came back were not selected: detachd access --since 30d shows them", found.Note)
	require.NoError(t, producer.Validate(req))
	require.NoError(t, producer.Protected(ctx, req))

	long := s
	long.Source.CameBack = &tasks.CameBack{Since: tasks.Duration(120 * 24 * time.Hour)}
	_, err = r.Read(ctx, long, 2)
	require.ErrorContains(t, err, "does not keep so long")
	require.NotErrorIs(t, err, ErrNotReady)
	now = now.Add(60 * 24 * time.Hour)
	found, err = r.Read(ctx, s, 2)
	require.NoError(t, err)
	require.Zero(t, found.Rows, "nobody was detached within so long")
	require.Empty(t, found.Lists[0].Requests)

	now = time.Now()
	cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403, Code: "IAM.0002", Message: "no right", Times: 100})
	_, err = r.Read(ctx, s, 2)
	require.ErrorContains(t, err, "no right")
	require.NotErrorIs(t, err, ErrNotReady)
}
