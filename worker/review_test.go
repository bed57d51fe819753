package worker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// review makes a review of the project hq.
func (s *env) review(since time.Time) record.AccessReview {
	s.t.Helper()
	x, err := s.record.CreateReview(s.t.Context(), time.Now(), "me", "hq", []string{"hq"}, since, func(string) error { return nil })
	require.NoError(s.t, err)
	return x
}

// readReview has a review read, and gives it with its items.
func (s *env) readReview(x record.AccessReview, planner *worker.Planner) (record.AccessReview, []tasks.Returned) {
	s.t.Helper()
	work, err := s.record.TakeReview(s.t.Context(), x, true)
	require.NoError(s.t, err)
	require.NotNil(s.t, work)
	require.NoError(s.t, worker.ReadReview(s.t.Context(), work, func(string) (*worker.Planner, error) { return planner, nil }, zerolog.Nop()))
	x, err = s.record.Review(s.t.Context(), x.ID)
	require.NoError(s.t, err)
	require.NotEqual(s.t, tasks.PlanReading, x.State)
	rows, next, err := s.record.CameBack(s.t.Context(), x, 1000, "")
	require.NoError(s.t, err)
	require.Empty(s.t, next)
	return x, rows
}

// Who came back is everybody who was detached and has a desktop now, by what they lost and what
// they have; what an undo gave back, and another account with the name, are told apart.
func TestWhoCameBack(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{FuzzyUserNames: true})
	user := func(name, id string) []fakecloud.User { return []fakecloud.User{{Name: name, ID: id}} }
	for _, name := range []string{"gone", "same", "other", "rehired", "undone", "keeps", "group", "pool", "zoë"} {
		s.cloud.Add(projectID, fakecloud.Desktop{ID: "of-" + name, Users: user(name, "id-"+name)})
	}
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "crowd", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "keeps", ID: "id-keeps"}, {Name: "colleague"}}},
		fakecloud.Desktop{ID: "hidden", Type: fakecloud.Shared, Users: user("group", "id-group")}, // no list shows it
		fakecloud.Desktop{ID: "team", Users: []fakecloud.User{{Name: "staff", Type: "GROUP"}}},
		fakecloud.Desktop{ID: "of-stays", Users: user("stays", "id-stays")},
	)
	w := s.start(func(c *worker.Config) { above := 1000; c.Projects[0].UndoSecondPersonAbove = &above })
	begun := time.Now()
	s.detached(tasks.Request{Desktops: []string{"of-gone", "of-same", "of-rehired", "of-keeps", "team"}})
	op := s.detached(tasks.Request{Desktops: []string{"of-other", "of-group", "of-pool", "of-zoë"}})
	given := s.detached(tasks.Request{Desktops: []string{"of-undone"}})
	back, _ := s.ended(s.undo(given))
	require.Equal(t, 1, back.Counts.Detached)
	w.Stop()

	s.cloud.Attach(projectID, "of-same", user("same", "id-same")...)
	s.cloud.Attach(projectID, "of-rehired", user("rehired", "id-rehired-2")...)
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "new", ComputerName: "PC-9", Users: user("other", "id-other")},
		fakecloud.Desktop{ID: "pooled", Type: fakecloud.Pooled, Users: user("pool", "id-pool")},
		fakecloud.Desktop{ID: "new-zoë", Users: user("zoe\u0308", "id-zoë")}, // composed otherwise
		fakecloud.Desktop{ID: "not-hers", Users: user("GONE", "x")}, fakecloud.Desktop{ID: "group-gone", Users: []fakecloud.User{{Name: "gone", Type: "GROUP"}}},
	)
	calls := len(s.calls())
	x, rows := s.readReview(s.review(begun), s.plannerAt(hidingDesktop(t, s.cloud.URL, "hidden")))
	require.True(t, x.Complete)
	require.Equal(t, []tasks.ReviewedAccess{{Project: "hq", People: 9, Read: true}}, x.Projects)
	require.Equal(t, []int{10, 9, 1, 9, 7, 1}, []int{x.Desktops, x.People, x.Groups, x.Read, x.CameBack, x.GivenBack})
	got, again := map[string]string{}, map[string]bool{}
	for _, row := range rows {
		got[row.User+" "+row.DesktopID] = row.How
		require.Equal(t, row.User == "rehired", row.OtherUser, row.User)
		require.Equal(t, "hq", row.Project)
		again[row.DesktopID] = row.Again()
		switch row.User {
		case "other":
			require.Equal(t, []string{"PC-9", "ATTACHED", "id-other", "of-other", op.ID}, []string{row.ComputerName, row.AttachState, row.UserID, row.DetachedDesktopID, row.DetachedOperationID})
			require.False(t, row.DetachedAt.Before(begun.Truncate(time.Millisecond)))
		case "undone":
			require.Equal(t, []string{back.ID, given.ID}, []string{row.UndoID, row.DetachedOperationID})
		case "group":
			require.Equal(t, "Workspace counts 1 desktop and lists 0: access may come through a group", row.Why)
		}
	}
	require.Equal(t, map[string]string{
		"same of-same": tasks.CameSame, "rehired of-rehired": tasks.CameSame, "other new": tasks.CameOther, "pool pooled": tasks.CameOther,
		"zoë new-zoë": tasks.CameOther, "keeps crowd": tasks.CameShared, "undone of-undone": tasks.CameByUndo, "group ": tasks.CameByGroup,
	}, got)
	require.Equal(t, map[string]bool{
		"of-same": true, "new": true, "new-zoë": true, "of-rehired": false, "pooled": false, "crowd": false, "of-undone": false, "": false,
	}, again)
	require.Len(t, s.calls(), calls, "it detaches nobody")

	// The source of a schedule reads the same, without a review.
	same, err := s.plannerAt(hidingDesktop(t, s.cloud.URL, "hidden")).CameBack(t.Context(), begun)
	require.NoError(t, err)
	require.Equal(t, rows, same)
	same, err = s.planner().CameBack(t.Context(), time.Now())
	require.NoError(t, err)
	require.Empty(t, same, "nobody was detached since")
}

// many detaches desktops from people of their own, without a worker, and gives each a new one
// of every tenth.
func (s *env) many(n int) {
	s.t.Helper()
	expect := map[string][]string{}
	for i, id := range ids(n) {
		expect[id] = []string{fmt.Sprintf("user-%05d", i)}
		if i%10 == 0 {
			s.cloud.Add(projectID, fakecloud.Desktop{ID: "new-" + id, Users: []fakecloud.User{{Name: expect[id][0]}}})
		}
	}
	s.absent = true
	op := s.enqueue(tasks.Request{Desktops: ids(n), Expect: expect})
	for chunk := range op.Chunks() {
		c, err := s.record.Chunk(s.t.Context(), op.ID, chunk)
		require.NoError(s.t, err)
		ch := record.Change{Operation: c.Operation, Chunk: chunk}
		for _, d := range c.Desktops {
			ch.Moves = append(ch.Moves, record.Move{Desktop: d, To: tasks.StateDetached})
		}
		_, err = s.record.Apply(s.t.Context(), time.Now(), []record.Change{ch})
		require.NoError(s.t, err)
	}
}

// However often the process that reads goes, the next reads on, and a hundred people take one
// reading.
func TestAReviewIsReadOn(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	begun := time.Now()
	s.many(2050)
	whole, rows := s.readReview(s.review(begun), s.planner())
	require.True(t, whole.Complete)
	require.Equal(t, []int{2050, 2050, 205}, []int{whole.People, whole.Read, whole.CameBack})
	require.Len(t, rows, 205)
	require.Equal(t, 21+2, whole.Readings, "and the list of users, whose end is read, too")

	x := s.review(begun)
	progress := []int{0}
	for range 30 {
		ctx, stop := context.WithCancel(t.Context())
		api := &stopping{API: client(t, s.cloud.URL, 5*time.Second), left: 3, stop: stop}
		planner := worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: api, ReadsPerMinute: 600_000, Burst: 1000}, zerolog.Nop())
		work, err := s.record.TakeReview(t.Context(), x, true)
		require.NoError(t, err)
		require.NotNil(t, work)
		require.NoError(t, worker.ReadReview(ctx, work, func(string) (*worker.Planner, error) { return planner, nil }, zerolog.Nop()))
		stop()
		x, err = s.record.Review(t.Context(), x.ID)
		require.NoError(t, err)
		progress = append(progress, x.Read)
		if x.State != tasks.PlanReading {
			break
		}
		require.False(t, x.Complete)
	}
	require.True(t, slices.IsSorted(progress), progress)
	require.Len(t, progress, 1+7, progress)
	require.True(t, x.Complete)
	again, _, err := s.record.CameBack(t.Context(), x, 1000, "")
	require.NoError(t, err)
	require.Equal(t, rows, again)
}

// What cannot be read never looks as if nobody came back.
func TestAReviewThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	begun := time.Now()
	s.many(150)
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403, Code: "IAM.0002", Message: "no right", Times: 100})
	x, rows := s.readReview(s.review(begun), s.planner())
	require.Equal(t, tasks.PlanDone, x.State)
	require.False(t, x.Complete)
	require.Empty(t, rows)
	require.Zero(t, x.Read)
	require.Len(t, x.Projects, 1)
	require.False(t, x.Projects[0].Read)
	require.Contains(t, x.Projects[0].Error, "no right")
	_, err := s.planner().CameBack(t.Context(), begun)
	require.ErrorContains(t, err, "no right")
	s.cloud.ClearFaults()

	// The list of users is refused: what is listed is shown, what is only counted is unknown.
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Status: 403, Times: 100})
	x, rows = s.readReview(s.review(begun), s.planner())
	require.Len(t, rows, 15)
	require.Equal(t, []int{150, 15}, []int{x.Read, x.CameBack})
	require.False(t, x.Complete)
	require.Contains(t, x.Projects[0].Error, "could not be listed")
	_, err = s.planner().CameBack(t.Context(), begun)
	require.Error(t, err)
	s.cloud.ClearFaults()

	// The cloud answers again after some faults.
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500, Times: 2})
	x, _ = s.readReview(s.review(begun), s.planner())
	require.True(t, x.Complete)

	work, err := s.record.TakeReview(t.Context(), s.review(begun), true)
	require.NoError(t, err)
	none := func(string) (*worker.Planner, error) { return nil, errors.New("no credentials: secret") }
	require.NoError(t, worker.ReadReview(t.Context(), work, none, zerolog.Nop()))
	x, err = s.record.Review(t.Context(), work.ID)
	require.NoError(t, err)
	require.False(t, x.Complete)
	require.Equal(t, "the server cannot read this project: its log says why", x.Projects[0].Error)

	// Somebody whom the cloud showed without a name cannot be looked for.
	op := s.enqueue(tasks.Request{Desktops: []string{"nameless"}})
	c, err := s.record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	_, err = s.record.Apply(t.Context(), time.Now(), []record.Change{{Operation: c.Operation, Moves: []record.Move{{
		Desktop: c.Desktops[0], To: tasks.StateDetached, CallID: "c1", Before: &tasks.Before{Users: []tasks.Person{{ID: "u1", Type: "USER"}}, ReadAt: time.Now()},
	}}}})
	require.NoError(t, err)
	x, rows = s.readReview(s.review(begun), s.planner())
	require.Len(t, rows, 15)
	require.False(t, x.Complete)
	require.Contains(t, x.Projects[0].Error, "without a name")
	require.Empty(t, s.calls())
}

// settling is an API whose list of users is behind its list of desktops, the first time.
type settling struct {
	worker.API
	lists int
}

func (s *settling) People(ctx context.Context, pages apiclient.Pages) iter.Seq2[apiclient.Person, error] {
	return func(yield func(apiclient.Person, error) bool) {
		for p, err := range s.API.People(ctx, pages) {
			if !yield(p, err) {
				return
			}
		}
		if s.lists++; s.lists == 1 {
			yield(apiclient.Person{Name: "user-00001", Desktops: 3}, nil)
		}
	}
}

// A count that is a moment old is read again before it is called access through a group.
func TestACountThatIsBehind(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	begun := time.Now()
	s.many(150)
	api := &settling{API: client(t, s.cloud.URL, 5*time.Second)}
	planner := worker.NewPlanner(s.rdb, s.record, worker.Project{Alias: "hq", API: api, ReadsPerMinute: 600_000, Burst: 1000}, zerolog.Nop())
	x, rows := s.readReview(s.review(begun), planner)
	require.True(t, x.Complete)
	require.Len(t, rows, 15)
	require.False(t, slices.ContainsFunc(rows, func(r tasks.Returned) bool { return strings.Contains(r.Why, "group") }))
	require.Equal(t, 2, api.lists)
	require.Equal(t, 150, x.Read)
}
