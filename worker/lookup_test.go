package worker_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// A name that matches nothing is never a success, whatever is like it.
func TestUsersAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "mia's", Users: users("mia")},
		fakecloud.Desktop{ID: "zoe's", Users: users("zo\u0065\u0301")}, // decomposed, as some directories have it
	)
	s.cloud.AddPeople(projectID, fakecloud.Person{Name: "idle"}, fakecloud.Person{Name: "bk1234", Email: "bob.kent@corp.example"})
	held := map[string]string{
		"mia@corp.example": "USER_NAME", `CORP\mia`: "USER_NAME", "MIA": "USER_NAME", "m\u200bia": "USER_NAME", "corp/mia": "USER_NAME",
		"idle@corp": "USER_NAME", "bob.kent": "USER_NAME", "bob.kent@corp.example": "USER_NAME", "Bob.Kent": "USER_NAME",
		"'mia": "USER_NAME", `="mia"`: "USER_NAME", "\u201cmia\u201d": "USER_NAME", "mia;": "USER_NAME", "no one; mia": "USER_NAME",
		"Mia M. <mia@corp.example>": "USER_NAME", "mailto:mia@corp.example": "USER_NAME", `"CORP\mia"`: "USER_NAME",
		"nobody": "USER_UNKNOWN", "mi": "USER_UNKNOWN", "'": "USER_UNKNOWN", ";": "USER_UNKNOWN", "mia's": "USER_UNKNOWN",
	}
	req := tasks.Request{Users: []string{"zo\u00e9", "idle"}}
	for name := range held {
		req.Users = append(req.Users, name)
	}
	s.start()
	op, rows := s.ended(s.enqueue(req))
	for name, code := range held {
		d := rows[tasks.UserRow(name)]
		require.Equal(t, tasks.StateHeld, d.State, name)
		require.Equal(t, code, d.Failure.Code, name)
	}
	require.Contains(t, rows["user:bob.kent"].Failure.Message, `"bk1234"`)
	require.Contains(t, rows[`user:CORP\mia`].Failure.Message, `"mia"`)
	require.Equal(t, tasks.StateNoDesktop, rows["user:idle"].State)
	require.Equal(t, tasks.StateExpanded, rows["user:zo\u00e9"].State)
	require.Equal(t, tasks.StateDetached, rows["zoe's"].State)
	require.Equal(t, 1, op.Counts.Detached)
	require.Equal(t, []string{"mia"}, s.on("mia's"))
}

// HR feeds mostly name people who never had a desktop. A name in another form, or one that
// cannot be looked up, is held all the same.
func TestUnknownUsersIgnored(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*worker.Config, *tasks.Request){
		"by the request": func(_ *worker.Config, req *tasks.Request) { req.UnknownUsers = tasks.IgnoreUnknown },
		"by the project": func(cfg *worker.Config, _ *tasks.Request) { cfg.Projects[0].UnknownUsers = tasks.IgnoreUnknown },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.cloud.AddPeople(projectID, fakecloud.Person{Name: "mia"})
			req := tasks.Request{Users: []string{"nobody", "MIA", "mia"}}
			s.start(func(cfg *worker.Config) { ask(cfg, &req) })
			_, rows := s.ended(s.enqueue(req))
			require.Equal(t, tasks.StateNoDesktop, rows["user:nobody"].State)
			require.Equal(t, tasks.NoteUnknownUser, rows["user:nobody"].Note)
			require.Equal(t, tasks.StateNoDesktop, rows["user:mia"].State)
			require.Empty(t, rows["user:mia"].Note)
			require.Equal(t, "USER_NAME", rows["user:MIA"].Failure.Code)
		})
	}
}

// That the users of Workspace may not be read pauses nothing: who has no desktop is held.
func TestDirectoryThatIsRefused(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "own", Users: users("zoe")})
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Status: 403})
	s.start()
	_, rows := s.ended(s.enqueue(tasks.Request{Users: []string{"zoe", "mia"}, UnknownUsers: tasks.IgnoreUnknown}))
	require.Equal(t, tasks.StateDetached, rows["own"].State)
	require.Equal(t, tasks.StateHeld, rows["user:mia"].State)
	require.Equal(t, "USER_UNKNOWN", rows["user:mia"].Failure.Code)
	require.Contains(t, rows["user:mia"].Failure.Message, "could not be read")
	pause, err := s.record.ProjectPause(t.Context(), "hq")
	require.NoError(t, err)
	require.Nil(t, pause)
}

// Computers are found by exactly their name, and their guard goes with them.
func TestComputersByName(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "a", ComputerName: "WS-0001", Users: users("mia")},
		fakecloud.Desktop{ID: "b", ComputerName: "WS-0002", Users: users("heir")},
		fakecloud.Desktop{ID: "c", ComputerName: "WS-0003", Users: users("zoe")},
		fakecloud.Desktop{ID: "d", ComputerName: "TWICE", Users: users("eve")},
		fakecloud.Desktop{ID: "e", ComputerName: "TWICE", Users: users("bob")},
		fakecloud.Desktop{ID: "f", ComputerName: "WS-00011", Users: users("mia")},
		fakecloud.Desktop{ID: "g", ComputerName: "named", Users: users("ann")},
	)
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{
		Desktops:  []string{"g"},
		Computers: []string{"WS-0001", "WS-0002", "WS-0003", "TWICE", "ws-0003", "WS-0003.corp.example", "WS-0004", "named"},
		Expect: map[string][]string{
			tasks.ComputerRow("WS-0001"): {"mia"}, tasks.ComputerRow("WS-0002"): {"mia"}, tasks.ComputerRow("named"): {"zoe"},
		},
	}))
	require.Equal(t, tasks.StateExpanded, rows["computer:WS-0001"].State)
	require.Equal(t, tasks.StateDetached, rows["a"].State)
	require.Equal(t, []string{"mia"}, rows["a"].Expect)
	require.Equal(t, "OTHER_USER", rows["b"].Failure.Code)
	require.Equal(t, tasks.StateDetached, rows["c"].State)
	require.Equal(t, "NAMED_FOR_OTHERS", rows["computer:named"].Failure.Code, "its guard would be dropped")
	for _, name := range []string{"TWICE", "ws-0003", "WS-0003.corp.example", "WS-0004"} {
		require.Equal(t, "COMPUTER_NAME", rows[tasks.ComputerRow(name)].Failure.Code, name)
	}
	require.Contains(t, rows["computer:ws-0003"].Failure.Message, `"WS-0003"`)
	require.Contains(t, rows["computer:WS-0003.corp.example"].Failure.Message, `"WS-0003"`)
	require.Equal(t, 1+8+3, op.Total)
	require.Equal(t, []string{"mia"}, s.on("f"), "never everything of the user")
	require.Equal(t, []string{"heir"}, s.on("b"))
}

// A computer that was renamed since it was looked up is not the one that was meant.
func TestComputerThatWasRenamed(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "a", ComputerName: "WS-1", Users: users("mia"), Status: fakecloud.Hibernated})
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Computers: []string{"WS-1"}}))
	require.Equal(t, "HIBERNATED", rows["a"].Failure.Code)
	s.cloud.Update(projectID, "a", func(d *fakecloud.Desktop) { d.Status, d.ComputerName = fakecloud.Active, "WS-2" })
	_, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{Held: true}, "ann")
	require.NoError(t, err)
	_, rows = s.ended(op)
	require.Equal(t, "COMPUTER_NAME", rows["a"].Failure.Code)
	require.Equal(t, []string{"mia"}, s.on("a"))
}

// What was looked up is kept for every hundred: who goes on does not begin again.
func TestLookUpsGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprintf("leaver-%d", i))
		s.cloud.Add(projectID, fakecloud.Desktop{ID: fmt.Sprintf("d-%d", i), Users: users(names[i])})
	}
	// The third hundred cannot be read until somebody has looked.
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Calls: []int{3, 4, 5}, Status: 500})
	s.start()
	op := s.enqueue(tasks.Request{Users: names})
	got, _ := s.ended(op)
	require.Equal(t, tasks.Counts{Detached: 250, Expanded: 250}, got.Counts)
	asked := map[string]int{}
	for _, r := range s.cloud.Requests() {
		if r.Op == fakecloud.OpDetail && r.Status == 200 {
			query, err := url.ParseQuery(r.Query)
			require.NoError(t, err)
			for _, name := range query["user_names"] {
				asked[name]++
			}
		}
	}
	for _, name := range names {
		require.Equal(t, 1, asked[name], "%s was looked up again", name)
	}
}

// 2,000 ids that mean nothing, or the right ids with the wrong project: all are held,
// nothing is called detached, and nothing is sent.
func TestNothingOfThatName(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.absent = true
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(2000)}))
	require.Equal(t, tasks.Counts{Held: 2000}, op.Counts)
	for _, d := range rows {
		require.Equal(t, "NOT_FOUND", d.Failure.Code)
		require.Contains(t, d.Failure.Message, "hq")
	}
	require.Empty(t, s.calls())
}

// A desktop that a reading of the project has shown is gone when lists leave it out; one
// that no reading ever showed is not.
func TestGoneIsWhatWasSeen(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "seen", Users: users("zoe"), Status: fakecloud.Hibernated})
	s.start()
	first, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"seen"}}))
	require.Equal(t, tasks.StateHeld, rows["seen"].State)
	s.cloud.Remove(projectID, "seen")
	s.absent = true
	_, rows = s.ended(s.enqueue(tasks.Request{Desktops: []string{"seen", "unseen"}}))
	require.Equal(t, tasks.StateDetached, rows["seen"].State, "an earlier operation had read it")
	require.Equal(t, tasks.NoteGone, rows["seen"].Note)
	require.Equal(t, "NOT_FOUND", rows["unseen"].Failure.Code)
	_, err := s.p.Retry(t.Context(), first, tasks.RetryFilter{Held: true}, "ann")
	require.NoError(t, err)
	_, rows = s.ended(first)
	require.Equal(t, tasks.NoteGone, rows["seen"].Note)
}

// For what was not found it is said what was probably meant.
func TestWhatWasProbablyMeant(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	const other = "00000000000000000000000000000002"
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "d", ComputerName: "WS-1"})
	s.cloud.Add(other, fakecloud.Desktop{ID: "elsewhere"})
	s.absent = true
	s.start(func(cfg *worker.Config) {
		cfg.Projects = append(cfg.Projects, reckless(worker.Project{Alias: "branch", API: clientOf(t, s.cloud.URL, other, 5*time.Second)}))
	})
	op := s.enqueue(tasks.Request{Desktops: []string{"WS-1", "elsewhere", "nowhere"}})
	_, _ = s.ended(op)
	require.Eventually(t, func() bool {
		rows := s.rows(op)
		return rows["WS-1"].Failure.Message != rows["nowhere"].Failure.Message && len(rows["elsewhere"].Failure.Message) > len(rows["nowhere"].Failure.Message)+5
	}, patience, 10*time.Millisecond)
	rows := s.rows(op)
	require.Contains(t, rows["WS-1"].Failure.Message, "it is the name of a computer, whose desktop is d")
	require.Contains(t, rows["elsewhere"].Failure.Message, "project branch has it")
	require.NotContains(t, rows["nowhere"].Failure.Message, "branch")
}

// What is cancelled while a look-up is under way does not come back as the desktops that it finds.
func TestACancelDuringALookUp(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "zoe's", Users: users("zoe")}, fakecloud.Desktop{ID: "bo's", ComputerName: "WS-1"})
	op := s.enqueue(tasks.Request{Desktops: ids(1), Users: []string{"zoe"}, Computers: []string{"WS-1"}})
	api := &turnstile{looking: func() {
		cancelled, _, err := s.record.Cancel(context.Background(), op, time.Now(), "ann")
		require.NoError(t, err)
		require.Equal(t, 3, cancelled)
	}}
	w := s.start(api.through)
	s.ended(op)
	w.Stop() // the look-up is over
	got, rows := s.ended(op)
	require.Equal(t, tasks.Counts{Cancelled: 3}, got.Counts, "%v", rows)
	require.Empty(t, api.begun())
}

// A cancel of an operation that was read before its look-up had found desktops cancels these, too.
func TestACancelThatReadBeforeALookUp(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "zoe's", Users: users("zoe")})
	s.start(none)
	read := s.enqueue(tasks.Request{Users: []string{"zoe"}})
	s.waits(read)
	cancelled, tooLate, err := s.record.Cancel(t.Context(), read, time.Now(), "ann")
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{cancelled, tooLate})
	got, rows := s.ended(read)
	require.Equal(t, tasks.Counts{Cancelled: 1, Expanded: 1}, got.Counts, "%v", rows)
}
