package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
	"github.com/detachd/detachd/worker/policy"
)

func users(names ...string) (out []fakecloud.User) {
	for _, n := range names {
		out = append(out, fakecloud.User{Name: n})
	}
	return out
}

// on says who has a desktop, by name.
func (s *env) on(id string) []string {
	s.t.Helper()
	d, ok := s.cloud.Get(projectID, id)
	require.True(s.t, ok, id)
	out := []string{}
	for _, u := range d.Users {
		out = append(out, u.Name)
	}
	return out
}

// sent says in how many detach calls a desktop was.
func (s *env) sent(id string) (n int) {
	for _, r := range s.calls() {
		for _, named := range r.DesktopIDs {
			if named == id {
				n++
			}
		}
	}
	return n
}

// confirmAtOnce decides everything by the first reading of accepted desktops, or soon after.
func confirmAtOnce(cfg *worker.Config) { cfg.ConfirmWithin = 300 * time.Millisecond }

// Who is on a desktop decides what becomes of it, before anything is sent.
func TestGuards(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		desktop     fakecloud.Desktop
		expect      []string
		allowShared bool

		want tasks.State
		code string   // of what is held
		left []string // who still has it
		sent int
	}{
		"the leaver's own": {
			desktop: fakecloud.Desktop{Users: users("zoe")}, expect: []string{"zoe"},
			want: tasks.StateDetached, sent: 1,
		},
		"somebody else's": {
			desktop: fakecloud.Desktop{Users: users("heir")}, expect: []string{"zoe"},
			want: tasks.StateHeld, code: "OTHER_USER", left: []string{"heir"},
		},
		"of a name that only looks like it": {
			desktop: fakecloud.Desktop{Users: users("Zoe")}, expect: []string{"zoe"},
			want: tasks.StateHeld, code: "OTHER_USER", left: []string{"Zoe"},
		},
		"a group's": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "zoe", Type: "GROUP"}}}, expect: []string{"zoe"},
			want: tasks.StateHeld, code: "GROUP", left: []string{"zoe"},
		},
		"shared with a colleague": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, Users: users("zoe", "bob")}, expect: []string{"zoe"},
			want: tasks.StateDetached, left: []string{"bob"}, sent: 1,
		},
		"shared by two leavers and a colleague": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, Users: users("zoe", "bob", "eve")}, expect: []string{"zoe", "eve"},
			want: tasks.StateDetached, left: []string{"bob"}, sent: 1,
		},
		"shared, and allowed, but the leaver is named": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, Users: users("zoe", "bob")}, expect: []string{"zoe"}, allowShared: true,
			want: tasks.StateDetached, left: []string{"bob"}, sent: 1,
		},
		"shared, without the leaver": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, Users: users("bob", "eve")}, expect: []string{"zoe"},
			want: tasks.StateDetached, left: []string{"bob", "eve"},
		},
		"shared, of nobody in particular": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, Users: users("zoe", "bob")},
			want:    tasks.StateHeld, code: "SHARED", left: []string{"zoe", "bob"},
		},
		"shared, of nobody in particular, and allowed": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, Users: users("zoe", "bob")}, allowShared: true,
			want: tasks.StateDetached, sent: 1,
		},
		"detached already": {
			desktop: fakecloud.Desktop{AttachState: fakecloud.Detached},
			want:    tasks.StateDetached,
		},
		"never assigned, of an expected user": {
			desktop: fakecloud.Desktop{AttachState: fakecloud.Unattached}, expect: []string{"zoe"},
			want: tasks.StateDetached,
		},
		"on its way already": {
			desktop: fakecloud.Desktop{AttachState: fakecloud.Detaching, Users: users("zoe")},
			want:    tasks.StateFailed, code: "UNCONFIRMED", left: []string{"zoe"},
		},
		"being detached from somebody else": {
			desktop: fakecloud.Desktop{AttachState: fakecloud.Detaching, Users: users("heir")}, expect: []string{"zoe"},
			want: tasks.StateHeld, code: "OTHER_USER", left: []string{"heir"},
		},
		"being detached from others for ever, shared": {
			desktop: fakecloud.Desktop{Type: fakecloud.Shared, AttachState: fakecloud.Detaching, Users: users("bob", "eve")}, expect: []string{"zoe"},
			want: tasks.StateDetached, left: []string{"bob", "eve"},
		},
		"hibernated": {
			desktop: fakecloud.Desktop{Status: fakecloud.Hibernated, Users: users("zoe")},
			want:    tasks.StateHeld, code: "HIBERNATED", left: []string{"zoe"},
		},
		"frozen": {
			desktop: fakecloud.Desktop{Frozen: true, Users: users("zoe")}, expect: []string{"zoe"},
			want: tasks.StateHeld, code: "FROZEN", left: []string{"zoe"},
		},
		"in maintenance": {
			desktop: fakecloud.Desktop{Maintenance: true, Users: users("zoe")},
			want:    tasks.StateHeld, code: "MAINTENANCE", left: []string{"zoe"},
		},
		"broken": {
			desktop: fakecloud.Desktop{Status: fakecloud.Errored, Users: users("zoe")},
			want:    tasks.StateHeld, code: "DESKTOP_ERROR", left: []string{"zoe"},
		},
		"busy for good": {
			desktop: fakecloud.Desktop{TaskStatus: "rebooting", Users: users("zoe")},
			want:    tasks.StateFailed, code: "BUSY", left: []string{"zoe"},
		},
		"an assignment that failed": {
			desktop: fakecloud.Desktop{AttachState: fakecloud.AttachFailed, Users: users("zoe")}, expect: []string{"zoe"},
			want: tasks.StateDetached, sent: 1,
		},
		"an assignment that may be repeated": {
			desktop: fakecloud.Desktop{AttachState: fakecloud.AttachRepeatable, Users: users("zoe")},
			want:    tasks.StateDetached, sent: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			test.desktop.ID = "d"
			test.desktop.ComputerName = "PC-OF-D"
			s.cloud.Add(projectID, test.desktop)
			s.start(confirmAtOnce)
			req := tasks.Request{Desktops: []string{"d"}, AllowShared: test.allowShared}
			if test.expect != nil {
				req.Expect = map[string][]string{"d": test.expect}
			}
			op, rows := s.ended(s.enqueue(req))
			d := rows["d"]
			require.Equal(t, test.want, d.State, "%+v", d.Failure)
			require.ElementsMatch(t, test.left, s.on("d"))
			require.Equal(t, test.sent, s.sent("d"))
			if test.code != "" {
				require.Equal(t, test.code, d.Failure.Code)
				require.Equal(t, "PC-OF-D", d.Failure.DesktopName)
				for _, name := range append(test.expect, test.left...) {
					if test.want == tasks.StateHeld && test.code != "HIBERNATED" {
						require.Contains(t, d.Failure.Message, fmt.Sprintf("%q", name))
					}
				}
			}
			// The state before is kept with it.
			es, err := s.record.Evidence(t.Context(), op, 0, op.Chunks())
			require.NoError(t, err)
			before := es[0].Desktops[0].Before
			require.NotNil(t, before)
			require.Equal(t, "PC-OF-D", before.Name)
			require.False(t, before.ReadAt.IsZero())
			names := []string{}
			for _, u := range before.Users {
				names = append(names, u.Name)
			}
			for _, u := range test.desktop.Users {
				require.Contains(t, names, u.Name)
			}
		})
	}
}

// Each desktop is read before its call, and until it is proven; how many readings that
// takes is the bench's business.
func TestEveryDesktopIsReadBeforeItsCall(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(1000)}))
	require.Equal(t, 1000, op.Counts.Detached)
	readAt := map[string]bool{}
	for _, r := range s.cloud.Requests() {
		for _, id := range r.DesktopIDs {
			if r.Op == fakecloud.OpDetail {
				readAt[id] = true
			} else {
				require.True(t, readAt[id], "%s was sent unread", id)
			}
		}
	}
	es, err := s.record.Evidence(t.Context(), op, 0, op.Chunks())
	require.NoError(t, err)
	for _, e := range es {
		for _, d := range e.Desktops {
			require.NotNil(t, d.Before, d.ID)
			require.Equal(t, []string{d.Before.Users[0].Name}, d.Pinned)
			require.Contains(t, rows, d.ID)
		}
	}
}

// Leavers are named, not desktops.
func TestLeaversByName(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{FuzzyUserNames: true, MaxPage: 3})
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "own", Users: users("zoe")},
		fakecloud.Desktop{ID: "second", Users: users("zoe")},
		fakecloud.Desktop{ID: "team", Type: fakecloud.Shared, Users: users("zoe", "bob", "ann")},
		fakecloud.Desktop{ID: "like", Users: users("zoe2")},
		fakecloud.Desktop{ID: "case", Users: users("Ann")},
		fakecloud.Desktop{ID: "asleep", Status: fakecloud.Hibernated, Users: users("eve")},
		fakecloud.Desktop{ID: "group", Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "nobody", Type: "GROUP"}}},
	)
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Users: []string{"zoe", "nobody", "eve", "ANN", "ann"}, Desktops: []string{"bare"}}))
	require.Equal(t, tasks.StateExpanded, rows["user:zoe"].State)
	require.Equal(t, tasks.StateExpanded, rows["user:ann"].State)
	require.Equal(t, tasks.StateHeld, rows["user:nobody"].State)
	require.Equal(t, "USER_UNKNOWN", rows["user:nobody"].Failure.Code)
	require.Equal(t, "USER_NAME", rows["user:ANN"].Failure.Code)
	require.Equal(t, tasks.StateHeld, rows["user:ANN"].State)
	require.Contains(t, rows["user:ANN"].Failure.Message, `"Ann"`)
	require.Equal(t, tasks.StateHeld, rows["asleep"].State)
	require.Equal(t, []string{"zoe"}, rows["own"].Expect)
	require.ElementsMatch(t, []string{"zoe", "ann"}, rows["team"].Expect)
	for _, id := range []string{"own", "second", "team", "bare"} {
		require.Equal(t, tasks.StateDetached, rows[id].State, id)
	}
	require.Len(t, rows, 5+1+4)
	require.Equal(t, 10, op.Total)
	require.Equal(t, []string{"bob"}, s.on("team"))
	require.Equal(t, []string{"zoe2"}, s.on("like"))
	require.Equal(t, []string{"Ann"}, s.on("case"))

	// Held rows are read again: by then the name is correct.
	s.cloud.Attach(projectID, "case", users("ANN")...)
	s.cloud.Update(projectID, "asleep", func(d *fakecloud.Desktop) { d.Status = fakecloud.Active })
	n, err := s.p.Retry(t.Context(), s.operation(op), tasks.RetryFilter{Held: true}, "ann")
	require.NoError(t, err)
	require.Equal(t, 3, n)
	op, rows = s.ended(op)
	require.Equal(t, tasks.StateDetached, rows["asleep"].State)
	require.Equal(t, tasks.StateExpanded, rows["user:ANN"].State)
	require.Equal(t, tasks.StateDetached, rows["case"].State)
	require.Equal(t, 1, op.Counts.Held, "nobody")
}

// A desktop has one row in an operation, though it is named and found.
func TestLeaversWhoseDesktopsAreNamedAsWell(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "bare", Users: users("zoe")},
		fakecloud.Desktop{ID: "hers", Users: users("zoe")},
		fakecloud.Desktop{ID: "team", Type: fakecloud.Shared, Users: users("ann", "bob", "eve")},
		fakecloud.Desktop{ID: "ann's", Users: users("ann")},
	)
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{
		Users: []string{"zoe", "ann"}, Desktops: []string{"bare", "hers", "team"},
		Expect: map[string][]string{"hers": {"zoe"}, "team": {"bob"}},
	}))
	require.Equal(t, 6, op.Total)
	// Hers may be detached before she is looked up, or after.
	require.Contains(t, []tasks.State{tasks.StateExpanded, tasks.StateNoDesktop}, rows["user:zoe"].State)
	require.Equal(t, "NAMED_FOR_OTHERS", rows["user:ann"].Failure.Code)
	require.Contains(t, rows["user:ann"].Failure.Message, "team")
	require.Equal(t, tasks.StateDetached, rows["ann's"].State)
	require.Equal(t, []string{"ann", "eve"}, s.on("team"))

	// After a retry it is held again, and nothing is recorded twice.
	_, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{Held: true}, "ann")
	require.NoError(t, err)
	op, _ = s.ended(op)
	require.Equal(t, 6, op.Total)
	require.Equal(t, 1, op.Counts.Held)
}

// Held rows are cancelled after the end of the operation; the trail is sealed again.
func TestCancelOfWhatIsHeld(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "d", Users: users("heir")})
	s.start()
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{"d"}, Expect: map[string][]string{"d": {"zoe"}}}))
	n, _, err := s.record.Cancel(t.Context(), op, time.Now(), "ann")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	after, rows := s.ended(op)
	require.Equal(t, tasks.StateCancelled, rows["d"].State)
	require.NotEqual(t, op.Seal, after.Seal)
}

// Hundreds of leavers, over many pages, with desktops of their own.
func TestManyLeaversByName(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{MaxPage: 40})
	var names []string
	for i := range 230 {
		name := fmt.Sprintf("leaver-%d", i)
		names = append(names, name)
		s.cloud.Add(projectID, fakecloud.Desktop{ID: fmt.Sprintf("a-%d", i), Users: users(name)}, fakecloud.Desktop{ID: fmt.Sprintf("b-%d", i), Users: users(name)})
	}
	s.start()
	op, _ := s.ended(s.enqueue(tasks.Request{Users: names}))
	require.Equal(t, tasks.Counts{Detached: 460, Expanded: 230}, op.Counts)
	for _, d := range s.cloud.Desktops(projectID) {
		require.Empty(t, d.Users)
	}
}

// A look-up that fails is repeated, and never taken for "no desktop".
func TestLookUpThatFails(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "own", Users: users("zoe")})
	s.cloud.Fail(
		fakecloud.Fault{Op: fakecloud.OpDetail, Times: 1, Status: 500},
		fakecloud.Fault{Op: fakecloud.OpDetail, Times: 1, Body: `{"desktops":[],"total_count":1}`},
	)
	s.start()
	_, rows := s.ended(s.enqueue(tasks.Request{Users: []string{"zoe"}}))
	require.Equal(t, tasks.StateDetached, rows["own"].State)
}

// What the cloud accepted is followed: until it is so, however long that takes.
func TestFollowedUntilItIsSo(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{DetachDelay: 700 * time.Millisecond})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "pool", Type: fakecloud.Pooled})
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"plain", "pool"}}))
	require.Equal(t, 2, op.Counts.Detached)
	for id, d := range rows {
		require.Equal(t, tasks.NoteReadBack, d.Note)
		require.Equal(t, 1, s.sent(id))
	}
	es, err := s.record.Evidence(t.Context(), op, 0, 1)
	require.NoError(t, err)
	last := es[0].Trail[len(es[0].Trail)-1]
	require.Equal(t, "worker-1", last.By)
	require.Regexp(t, `^DEATTACHED by request [0-9a-f]{32}$`, last.Moves[0].Detail)
	removal, err := s.record.Removal(t.Context(), op, time.Millisecond, time.Now())
	require.NoError(t, err)
	require.Equal(t, 2, removal.Proven)
	require.GreaterOrEqual(t, removal.P50, 700*time.Millisecond)
	require.Equal(t, 2, removal.Late)
}

// The cloud's own attempt may fail, late and in many ways.
func TestDetachesThatTheCloudFails(t *testing.T) {
	t.Parallel()
	const again, pooled = fakecloud.DetachRepeatable, fakecloud.Pooled
	for name, test := range map[string]struct {
		kind string
		ends []string
		want tasks.State
		code string
		sent int
	}{
		"once, and it may be repeated":         {"", []string{again}, tasks.StateDetached, "", 2},
		"too often, and it may be repeated":    {"", slices.Repeat([]string{again}, 20), tasks.StateFailed, again, 8},
		"once":                                 {"", []string{fakecloud.DetachFailed}, tasks.StateDetached, "", 2},
		"twice":                                {"", []string{fakecloud.DetachFailed, fakecloud.DetachFailed}, tasks.StateFailed, "DEATTACHFAIL", 2},
		"as an assignment that failed":         {"", []string{fakecloud.AttachFailed}, tasks.StateDetached, "", 2},
		"it never ends":                        {"", []string{fakecloud.Detaching}, tasks.StateFailed, "UNCONFIRMED", 1},
		"it ends as if nothing had been":       {"", []string{fakecloud.Attached}, tasks.StateFailed, "UNCONFIRMED", 1},
		"it ends in a state that nobody knows": {"", []string{"PONDERING"}, tasks.StateFailed, "UNCONFIRMED", 1},
		"it ends waiting":                      {"", []string{fakecloud.Waiting}, tasks.StateFailed, "UNCONFIRMED", 1},
		"it ends being assigned":               {"", []string{fakecloud.Attaching}, tasks.StateFailed, "UNCONFIRMED", 1},
		"it ends as an assignment to repeat":   {"", []string{fakecloud.AttachRepeatable}, tasks.StateFailed, "UNCONFIRMED", 1},

		"a job, once, and it may be repeated":          {pooled, []string{again}, tasks.StateDetached, "", 2},
		"a job, too often":                             {pooled, slices.Repeat([]string{again}, 20), tasks.StateFailed, "WKS.00211401", 8},
		"a job, once":                                  {pooled, []string{fakecloud.DetachFailed}, tasks.StateDetached, "", 2},
		"a job, twice":                                 {pooled, []string{fakecloud.DetachFailed, fakecloud.DetachFailed}, tasks.StateFailed, "WKS.00211401", 2},
		"a job in a state that nobody knows":           {pooled, []string{"PONDERING"}, tasks.StateDetached, "", 2},
		"a job that never ends":                        {pooled, []string{fakecloud.Detaching}, tasks.StateFailed, "UNCONFIRMED", 1},
		"a job that says SUCCESS and has done nothing": {pooled, []string{fakecloud.Attached}, tasks.StateFailed, "UNCONFIRMED", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.cloud.Add(projectID, fakecloud.Desktop{ID: "d", Type: test.kind, Users: users("zoe"), DetachEnds: test.ends})
			s.start(confirmAtOnce)
			_, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"d"}}))
			d := rows["d"]
			require.Equal(t, test.want, d.State, "%+v", d.Failure)
			require.Equal(t, test.sent, s.sent("d"))
			if test.want == tasks.StateFailed {
				require.Equal(t, test.code, d.Failure.Code, "%+v", d.Failure)
				require.Contains(t, d.Failure.Message, "zoe", "the last state seen")
			}
			if strings.Contains(name, "SUCCESS") {
				require.Contains(t, d.Failure.Message, "its job as SUCCESS")
			}
			require.Equal(t, test.want == tasks.StateDetached, len(s.on("d")) == 0)
		})
	}
}

// A job may end late, partly or never, and what it says may run ahead of what
// the desktops show, or behind.
func TestJobsAndReadingsThatDisagree(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]fakecloud.Config{
		"the job runs on":    {JobLag: 200 * time.Millisecond},
		"the lists lag":      {ReadLag: 200 * time.Millisecond},
		"both, and it takes": {JobLag: 200 * time.Millisecond, ReadLag: 300 * time.Millisecond, DetachDelay: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, cfg)
			s.cloud.Add(projectID,
				fakecloud.Desktop{ID: "in-time", Type: fakecloud.Pooled, Users: users("a")},
				fakecloud.Desktop{ID: "late", Type: fakecloud.Pooled, Users: users("b"), DetachTakes: 400 * time.Millisecond},
				fakecloud.Desktop{ID: "fails", Type: fakecloud.Pooled, Users: users("c"), DetachEnds: []string{fakecloud.DetachFailed, fakecloud.DetachFailed}},
				fakecloud.Desktop{ID: "plain", Users: users("d")},
			)
			s.start(func(cfg *worker.Config) { cfg.ConfirmWithin = 5 * time.Second })
			op, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"in-time", "late", "fails", "plain"}}))
			require.Equal(t, tasks.Counts{Detached: 3, Failed: 1}, op.Counts)
			require.Equal(t, tasks.StateFailed, rows["fails"].State)
			for _, id := range []string{"in-time", "late", "plain"} {
				require.Equal(t, 1, s.sent(id), id)
				require.Empty(t, s.on(id))
			}
		})
	}
}

// While it cannot be read nothing is claimed; the time for it is twice as long.
func TestAcceptedButUnreadable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault fakecloud.Fault
		want  tasks.State
	}{
		"for a while":      {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 503, Times: 3}, tasks.StateDetached},
		"cut for a while":  {fakecloud.Fault{Op: fakecloud.OpDetail, Effect: fakecloud.Truncate, Times: 5}, tasks.StateDetached},
		"throttled":        {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 429, Code: "APIGW.0308", Times: 2}, tasks.StateDetached},
		"for good":         {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500}, tasks.StateFailed},
		"garbage for good": {fakecloud.Fault{Op: fakecloud.OpDetail, Effect: fakecloud.Garbage}, tasks.StateFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			held, answer := s.hold()
			s.start(held, func(cfg *worker.Config) {
				cfg.ConfirmWithin = time.Second
				if test.want == tasks.StateDetached {
					cfg.ConfirmWithin = patience // the faults are over before that, however slow the machine is
				}
			})
			t.Cleanup(answer) // before the worker stops
			op := s.enqueue(tasks.Request{Desktops: []string{"d"}})
			require.NoError(t, s.cloud.Wait(t.Context(), func() bool { return s.cloud.DetachedTimes(projectID, "d") == 1 }))
			s.cloud.Fail(test.fault)
			answer()
			_, rows := s.ended(op)
			require.Equal(t, test.want, rows["d"].State, "%+v", rows["d"].Failure)
			require.Equal(t, 1, s.sent("d"))
			if test.want == tasks.StateFailed {
				require.Equal(t, "UNCONFIRMED", rows["d"].Failure.Code)
				require.Contains(t, rows["d"].Failure.Message, "it could not be read")
			}
		})
	}
}

// A desktop that is somebody else's by the time it is read is theirs: it is
// proven for the leaver, and not sent again.
func TestReassignedWhileItWasDetached(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]fakecloud.Fault{
		"accepted":          nil,
		"the reply is lost": {fakecloud.LoseReplies(1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.cloud.Add(projectID,
				fakecloud.Desktop{ID: "named", Users: users("zoe"), AfterDetach: users("heir")},
				fakecloud.Desktop{ID: "shared", Type: fakecloud.Shared, Users: users("zoe"), AfterDetach: users("heir", "bob")})
			s.cloud.Fail(faults...)
			s.cloud.Fail(faults...) // one for each of the two kinds of calls
			s.start()
			op, rows := s.ended(s.enqueue(tasks.Request{
				Desktops: []string{"named", "shared"}, Expect: map[string][]string{"named": {"zoe"}, "shared": {"zoe"}},
			}))
			require.Equal(t, 2, op.Counts.Detached)
			for id := range rows {
				require.Equal(t, tasks.NoteNotTheirs, rows[id].Note)
				require.Equal(t, 1, s.sent(id), id)
				require.Contains(t, s.on(id), "heir")
			}
		})
	}
}

// The first reading pins whose a bare id is: it is proven against them, and an heir
// keeps the desktop.
func TestBareDesktopReassignedWhileItWasDetached(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]fakecloud.Fault{
		"accepted":          nil,
		"the reply is lost": {fakecloud.LoseReplies(1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.cloud.Add(projectID, fakecloud.Desktop{ID: "d", Users: users("zoe"), AfterDetach: users("heir")})
			s.cloud.Fail(faults...)
			s.start()
			_, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"d"}}))
			require.Equal(t, tasks.StateDetached, rows["d"].State)
			require.Equal(t, tasks.NoteNotTheirs, rows["d"].Note)
			require.Equal(t, []string{"heir"}, s.on("d"))
			require.Equal(t, 1, s.sent("d"))
		})
	}
}

// A bare id that failed and was given to somebody else meanwhile is not taken from
// them when a person retries it.
func TestRetriedBareDesktopIsStillWhoseItWas(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "d", Users: users("zoe")})
	s.cloud.Fail(fakecloud.Refused("d", "WKS.00010110", "no address"))
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"d"}}))
	require.Equal(t, tasks.StateFailed, rows["d"].State)
	s.cloud.ClearFaults()
	s.cloud.Attach(projectID, "d", users("heir")...)
	_, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{}, "ann")
	require.NoError(t, err)
	_, rows = s.ended(op)
	require.Equal(t, tasks.StateHeld, rows["d"].State)
	require.Equal(t, "OTHER_USER", rows["d"].Failure.Code)
	require.Equal(t, []string{"heir"}, s.on("d"))
}

// A list that leaves a desktop out once does not make it gone.
func TestListThatLeavesADesktopOut(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{DetachDelay: 300 * time.Millisecond})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "d", Users: users("zoe")}, fakecloud.Desktop{ID: "gone", Users: users("bob")})
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: "d", Omit: true, Times: 1})
	held, answer := s.hold()
	s.start(held)
	t.Cleanup(answer) // before the worker stops
	op := s.enqueue(tasks.Request{Desktops: []string{"d", "gone"}})
	require.NoError(t, s.cloud.Wait(t.Context(), func() bool { return s.cloud.DetachedTimes(projectID, "gone") == 1 }))
	s.cloud.Remove(projectID, "gone")
	answer()
	_, rows := s.ended(op)
	require.Equal(t, tasks.NoteReadBack, rows["d"].Note)
	require.Equal(t, tasks.NoteGone, rows["gone"].Note)
}

// What is detached already is never sent, and what is refused for good fails.
func TestDetachedAlreadyAndRefusedForGood(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "off", AttachState: fakecloud.Detached}, fakecloud.Desktop{ID: "on", Users: users("zoe")})
	s.cloud.Fail(fakecloud.Refused("off", "WKS.00010110", "no address"), fakecloud.Refused("on", "WKS.00010110", "no address"))
	s.start()
	_, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"off", "on"}}))
	require.Equal(t, tasks.StateDetached, rows["off"].State)
	require.Equal(t, tasks.StateFailed, rows["on"].State)
	require.Equal(t, "WKS.00010110", rows["on"].Failure.Code)
	require.Zero(t, s.sent("off"))
	require.Equal(t, 1, s.sent("on"))
}

// Proving waits for its own turn: calls leave although no reading that proves is
// answered.
func TestProvingDoesNotHoldUpDetaching(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	api := &stuckProof{API: client(t, s.cloud.URL, 5*time.Second), taken: s.takenTimes, release: make(chan struct{})}
	s.start(func(cfg *worker.Config) {
		cfg.Projects[0].MaxInFlight, cfg.Projects[0].MaxReads, cfg.Projects[0].API = 1, 2, api
	})
	op := s.enqueue(tasks.Request{Desktops: ids(2000)})
	require.Eventually(t, func() bool { return s.operation(op).Counts.Accepted == 2000 }, patience, 10*time.Millisecond)
	close(api.release)
	got, _ := s.ended(op)
	require.Equal(t, 2000, got.Counts.Detached)
}

func (s *env) takenTimes(id string) int { return s.cloud.DetachedTimes(projectID, id) }

// stuckProof answers no reading of a desktop that the cloud has taken until it is
// released.
type stuckProof struct {
	worker.API
	taken   func(id string) int
	release chan struct{}
}

func (p *stuckProof) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	if p.taken(ids[0]) > 0 {
		select {
		case <-p.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p.API.Desktops(ctx, ids)
}

// An operator's codes go before the built-in ones.
func TestCodesOfTheOperator(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Desktop: "d", Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address yet"}, Times: 2})
	s.start(func(cfg *worker.Config) {
		cfg.Rules = []policy.Rule{{Of: policy.OfDesktop, Code: "WKS.00010110", Class: tasks.ClassTransient, Why: "it gets one soon"}}
	})
	_, rows := s.ended(s.enqueue(tasks.Request{Desktops: []string{"d"}}))
	require.Equal(t, tasks.StateDetached, rows["d"].State)
	require.Equal(t, 3, s.sent("d"))
}

// What is followed is found again when the list of it is lost.
func TestLostListOfWhatIsFollowed(t *testing.T) {
	t.Parallel()
	var s *env
	var op record.Operation
	for delay := time.Second; op.Counts.Accepted < 120; delay *= 2 { // on a slow machine the first are confirmed before the last are sent
		s = newEnv(t, fakecloud.Config{DetachDelay: delay})
		s.start()
		op = s.enqueue(tasks.Request{Desktops: ids(120)})
		require.Eventually(t, func() bool {
			op = s.operation(op)
			return op.Counts.Accepted == 120 || op.Counts.Detached > 0
		}, patience, time.Millisecond)
	}
	keys, err := s.rdb.Keys(t.Context(), "*:follow").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.NoError(t, s.rdb.Del(t.Context(), keys...).Err())
	got, _ := s.ended(op)
	require.Equal(t, 120, got.Counts.Detached)
	for _, id := range ids(120) {
		require.Equal(t, 1, s.cloud.DetachedTimes(projectID, id))
	}
}
