package record_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// lost are who lost desktops of a project since a time, with the desktops of each.
func (b *bundle) lost(since time.Time, project string) (map[string]record.Lost, *record.Losses) {
	b.t.Helper()
	all, err := b.r.DetachedSince(b.t.Context(), []string{"hq", "branch"}, since)
	require.NoError(b.t, err)
	out := map[string]record.Lost{}
	for _, part := range all[project].Parts(project, 7) {
		require.Equal(b.t, project, part.Project)
		require.GreaterOrEqual(b.t, part.Number, 7)
		require.LessOrEqual(b.t, len(part.People), 100)
		for _, x := range part.People {
			out[x.Name] = x
		}
	}
	return out, all[project]
}

// Who was detached since a time is whoever lost a desktop by a row that was confirmed since then,
// of operations that have ended and of those that have not, each with what they lost last.
func detachedSince(t *testing.T, b *bundle) {
	start := b.now
	b.finish(b.detachedFrom(tasks.Request{Desktops: []string{"old"}}, tasks.Person{Name: "early", ID: "u9", Type: "USER"}).ID)
	first := b.finish(b.detachedFrom(tasks.Request{Desktops: []string{"ann's"}}, ann).ID)
	b.now = start.Add(time.Hour)
	since := b.now
	ended := b.finish(b.detachedFrom(tasks.Request{Desktops: []string{"ann's", "shared"}}, ann, ops).ID)
	b.now = b.now.Add(time.Minute)
	b.finish(b.detachedFrom(tasks.Request{Project: "branch", Desktops: []string{"far"}}, ben).ID)
	again := b.finish(b.detachedFrom(tasks.Request{Desktops: []string{"ann's"}}, tasks.Person{Name: "ann", ID: "u3", Type: "USER"}).ID)
	many := b.enqueue(tasks.Request{Desktops: ids(150), Users: []string{"x"}, Expect: map[string][]string{"d-000120": {"zoe"}, "d-000121": {"zoë"}, "d-000122": {"zoë"}}})
	b.step(many, 1, tasks.StateQueued, tasks.StateDetached, func(m *record.Move) { m.CallID = "" }) // it was free
	require.False(t, b.operation(many.ID).Done())

	people, losses := b.lost(since, "hq")
	require.Equal(t, 2+1+50, losses.Desktops)
	require.Len(t, losses.Groups, 1)
	require.ElementsMatch(t, []string{"ann", "zoe", "zoë"}, slices.Collect(maps.Keys(people)))
	require.ElementsMatch(t, []string{"u1", "u3"}, people["ann"].IDs)
	require.False(t, people["ann"].Unread)
	byID := map[string]record.LostDesktop{}
	for _, d := range people["ann"].Desktops {
		byID[d.ID] = d
	}
	require.Len(t, byID, 2)
	require.Equal(t, again.ID, byID["ann's"].Operation, "the last time")
	require.True(t, byID["ann's"].At.Equal(b.now))
	require.Equal(t, ended.ID, byID["shared"].Operation)
	require.True(t, people["zoe"].Unread, "nobody was read there")
	require.Len(t, people["zoë"].Desktops, 2, "one name, however it is composed")
	people, _ = b.lost(since, "branch")
	require.Contains(t, people, "ben")
	require.Len(t, people, 1)
	people, _ = b.lost(start, "hq")
	require.Contains(t, people, "early")

	// What an undo gave back stays a loss, and says so, until it is detached again.
	b.now = b.now.Add(time.Minute)
	back, err := b.p.Undo(t.Context(), again, tasks.UndoRequest{Reason: "x"})
	require.NoError(t, err)
	b.step(back, 0, tasks.StateQueued, tasks.StateDetached)
	b.finish(back.ID)
	people, losses = b.lost(since, "hq")
	require.Equal(t, 2+1+50, losses.Desktops, "an undo detaches nobody")
	given := func() map[string]string {
		out := map[string]string{}
		for _, d := range people["ann"].Desktops {
			out[d.ID] = d.GivenBackBy
		}
		return out
	}
	require.Equal(t, map[string]string{"ann's": back.ID, "shared": ""}, given())
	b.now = b.now.Add(time.Minute)
	b.finish(b.detachedFrom(tasks.Request{Desktops: []string{"ann's"}}, ann).ID)
	people, _ = b.lost(since, "hq")
	require.Equal(t, map[string]string{"ann's": "", "shared": ""}, given())

	// A row that was confirmed before is none, although its operation ended later.
	half := b.enqueue(tasks.Request{Desktops: ids(101), Expect: map[string][]string{"d-000000": {"soon"}, "d-000100": {"late"}}})
	b.step(half, 0, tasks.StateQueued, tasks.StateDetached)
	b.now = b.now.Add(time.Hour)
	b.step(half, 1, tasks.StateQueued, tasks.StateDetached)
	b.finish(half.ID)
	people, losses = b.lost(b.now, "hq")
	require.Equal(t, 1, losses.Desktops)
	require.Contains(t, people, "late")
	require.Len(t, people, 1)
	require.NotEmpty(t, first.ID)
}

// A review is read by one process at a time, and another reads it on where that one left it.
func reviewIsReadOn(t *testing.T, b *bundle) {
	since := b.now
	expect := map[string][]string{}
	for i, id := range ids(250) {
		expect[id] = []string{fmt.Sprintf("user-%03d", i)}
	}
	op := b.enqueue(tasks.Request{Desktops: ids(250), Expect: expect})
	for n := range op.Chunks() {
		b.step(op, n, tasks.StateQueued, tasks.StateDetached)
	}
	b.finish(op.ID)
	ctx := t.Context()
	refused := errors.New("no")
	_, err := b.r.CreateReview(ctx, b.now, "me", "hq", []string{"hq"}, since, func(string) error { return refused })
	require.ErrorIs(t, err, refused)
	var announced string
	x, err := b.r.CreateReview(ctx, b.now, "me", "", []string{"hq", "branch"}, since, func(id string) error { announced = id; return nil })
	require.NoError(t, err)
	require.Equal(t, announced, x.ID)
	_, err = b.r.Review(ctx, "nowhere")
	require.ErrorIs(t, err, tasks.ErrNoReview)

	take := func() (*record.ReviewWork, []record.ReviewPart) {
		t.Helper()
		x, err := b.r.Review(ctx, x.ID)
		require.NoError(t, err)
		work, err := b.r.TakeReview(ctx, x, true)
		require.NoError(t, err)
		require.NotNil(t, work)
		left, err := work.Load(ctx)
		require.NoError(t, err)
		require.Empty(t, left["branch"])
		return work, left["hq"]
	}
	work, left := take()
	require.Len(t, left, 3)
	other, err := b.r.TakeReview(ctx, x, true)
	require.NoError(t, err)
	require.Nil(t, other, "one reads it")
	rows := func(names ...string) (out []tasks.Returned) {
		for i, name := range names {
			how := tasks.CameOther
			if name == "back" {
				how = tasks.CameByUndo
			}
			out = append(out, tasks.Returned{User: name, How: how, AccessDesktop: tasks.AccessDesktop{DesktopID: fmt.Sprint("e", i), Users: []tasks.Person{}}})
		}
		return out
	}
	work.Reading()
	require.NoError(t, work.Add(ctx, left[0], rows("a", "a", "back")))
	require.NoError(t, work.Leave(ctx))
	require.ErrorIs(t, work.Add(ctx, left[1], nil), record.ErrOvertaken)

	// What is detached meanwhile is not in it.
	b.detachedFrom(tasks.Request{Desktops: []string{"new"}}, ann)
	work, left = take()
	require.Len(t, left, 2, "the first part was read")
	require.Equal(t, []int{1, 2}, []int{left[0].Number, left[1].Number})
	require.Equal(t, "user-100", left[0].People[0].Name)
	work.Reading()
	require.NoError(t, work.Add(ctx, left[1], rows("c", "back", "d")))
	x, err = b.r.Review(ctx, x.ID)
	require.NoError(t, err)
	require.Equal(t, tasks.PlanReading, x.State)
	require.False(t, x.Complete)
	require.Equal(t, []int{150, 250, 250, 2, 3, 2}, []int{x.Read, x.People, x.Desktops, x.Readings, x.CameBack, x.GivenBack})
	require.NoError(t, work.Unread(ctx, "hq", "away"))
	require.NoError(t, work.Unread(ctx, "hq", "later"))
	require.NoError(t, work.End(ctx, b.now, ""))
	x, err = b.r.Review(ctx, x.ID)
	require.NoError(t, err)
	require.Equal(t, tasks.PlanDone, x.State)
	require.False(t, x.Complete, "a project was not read whole")
	require.Equal(t, []tasks.ReviewedAccess{{Project: "branch", Read: true}, {Project: "hq", People: 250, Error: "away"}}, x.Projects)
	require.True(t, x.EndedAt.Equal(b.now))
	for size := range 4 {
		var got []string
		for token, more := "", true; more; more = token != "" {
			var page []tasks.Returned
			page, token, err = b.r.CameBack(ctx, x, size+1, token)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), size+1)
			for _, row := range page {
				got = append(got, row.User)
			}
		}
		require.Equal(t, []string{"a", "a", "back", "c", "back", "d"}, got)
	}
	_, _, err = b.r.CameBack(ctx, x, 1, "x")
	require.ErrorIs(t, err, tasks.ErrPageToken)
	other, err = b.r.TakeReview(ctx, x, true)
	require.NoError(t, err)
	require.Nil(t, other, "it is done")
	require.NoError(t, b.rdb.Del(ctx, b.prefix+":{ar:"+x.ID+"}").Err())
	_, _, err = b.r.CameBack(ctx, x, 1, "")
	require.ErrorIs(t, err, tasks.ErrNoReview, "not an empty list")
	_, err = b.r.TakeReview(ctx, x, true)
	require.ErrorIs(t, err, tasks.ErrNoReview)
}
