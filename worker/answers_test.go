package worker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// A desktop of which a list says 404 fails by itself; it is not the project that is refused.
func TestADesktopThatIsRefusedBeforeItsCall(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 404, 409} {
		s := newEnv(t, fakecloud.Config{})
		for _, bad := range []string{"d-000007", "d-000042"} {
			s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: bad, Status: status, Code: "WKS.00211902"})
		}
		s.start()
		got, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(50)}))
		require.Equal(t, tasks.Counts{Detached: 48, Failed: 2}, got.Counts)
		require.Contains(t, rows["d-000007"].Failure.Message, "it could not be read, and nothing was sent")
		pause, err := s.record.ProjectPause(t.Context(), "hq")
		require.NoError(t, err)
		require.Nil(t, pause)
	}
}

// A desktop that the cloud refuses to read after the call keeps no other from being confirmed.
func TestADesktopThatIsRefusedWhenItIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	held, answer := s.hold()
	s.start(held, func(cfg *worker.Config) { cfg.ConfirmWithin = time.Second })
	t.Cleanup(answer) // before the worker stops
	op := s.enqueue(tasks.Request{Desktops: ids(50)})
	require.NoError(t, s.cloud.Wait(t.Context(), func() bool { return s.cloud.DetachedTimes(projectID, "d-000007") == 1 }))
	for _, bad := range []string{"d-000007", "d-000042"} {
		s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: bad, Status: 404, Code: "WKS.00211902"})
	}
	answer()
	got, rows := s.ended(op)
	require.Equal(t, tasks.Counts{Detached: 48, Failed: 2}, got.Counts)
	require.Equal(t, "UNCONFIRMED", rows["d-000007"].Failure.Code, "that it is refused proves nothing")
	require.Contains(t, rows["d-000042"].Failure.Message, "WKS.00211902")
	require.Empty(t, s.takenTwice(ids(50)))
}

// Nor does one whose call has an unknown outcome.
func TestADesktopThatIsRefusedWhenItsOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	var s *env
	var op record.Operation
	for within := 2 * time.Second; s == nil || s.cloud.CallsOf(fakecloud.OpDetach, "") == 0; within *= 2 { // a slow machine makes its call later
		s = newEnv(t, fakecloud.Config{})
		s.cloud.Fail(fakecloud.LoseReplies(1))
		held, answer := s.hold()
		s.start(held, func(cfg *worker.Config) { cfg.ConfirmWithin = time.Second })
		t.Cleanup(answer) // before the worker stops
		op = s.enqueue(tasks.Request{Desktops: ids(50), Deadline: time.Now().Add(within)})
		require.Eventually(t, func() bool {
			return s.cloud.CallsOf(fakecloud.OpDetach, "") == 1 || s.operation(op).Done()
		}, patience, time.Millisecond)
		s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Desktop: "d-000007", Status: 404, Code: "WKS.00211902"})
		answer()
	}
	got, rows := s.ended(op)
	require.Equal(t, tasks.Counts{Detached: 49, Failed: 1}, got.Counts)
	require.Equal(t, "UNCONFIRMED", rows["d-000007"].Failure.Code)
	require.Empty(t, s.takenTwice(ids(50)))
}

// refusesNames is a cloud that does not look for some names.
type refusesNames struct {
	worker.API
	bad []string
}

func (r refusesNames) refusal(names []string) error {
	for _, name := range names {
		if slices.Contains(r.bad, name) {
			return &apiclient.Error{
				Op: "ListDesktopsDetail", Status: 400, Code: "WKS.00211102", Message: "The parameter is invalid.", Effect: apiclient.EffectNone, About: name,
			}
		}
	}
	return nil
}

func (r refusesNames) DesktopsOf(ctx context.Context, names []string) ([]apiclient.Desktop, error) {
	if err := r.refusal(names); err != nil {
		return nil, err
	}
	return r.API.DesktopsOf(ctx, names)
}

func (r refusesNames) DesktopsNamed(ctx context.Context, names []string) ([]apiclient.Desktop, error) {
	if err := r.refusal(names); err != nil {
		return nil, err
	}
	return r.API.DesktopsNamed(ctx, names)
}

// A name that the cloud does not look for is held by itself: no other leaver of the list keeps access for it.
func TestANameThatIsRefused(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID,
		fakecloud.Desktop{ID: "zoe's", Users: users("zoe")}, fakecloud.Desktop{ID: "ann's", ComputerName: "WS-1", Users: users("ann")},
		fakecloud.Desktop{ID: "odd's", Users: users("o\u0301dd")},
	)
	bad := []string{"a b;c", "\u00f3dd", "WS-2-(old)", "o\u0301dd"}
	s.start(func(cfg *worker.Config) {
		cfg.Projects[0].API = refusesNames{cfg.Projects[0].API, bad}
		cfg.Projects[0].UnknownUsers = tasks.IgnoreUnknown
	})
	got, rows := s.ended(s.enqueue(tasks.Request{Users: []string{"zoe", "a b;c", "\u00f3dd"}, Computers: []string{"WS-1", "WS-2-(old)"}}))
	require.Equal(t, tasks.Counts{Detached: 2, Expanded: 2, Held: 3}, got.Counts)
	for _, id := range []string{tasks.UserRow("a b;c"), tasks.UserRow("\u00f3dd"), tasks.ComputerRow("WS-2-(old)")} {
		require.Equal(t, tasks.StateHeld, rows[id].State, id)
		require.Contains(t, rows[id].Failure.Message, "the cloud does not look for")
		require.Contains(t, rows[id].Failure.Message, "WKS.00211102")
	}
}

// The same where only the spelling of the list of users is refused.
func TestASpellingThatIsRefused(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "zoe's", Users: users("zoe")}, fakecloud.Desktop{ID: "odd's", Users: users("o\u0301dd")})
	s.start(func(cfg *worker.Config) {
		cfg.Projects[0].API = refusesNames{cfg.Projects[0].API, []string{"o\u0301dd"}}
	})
	got, rows := s.ended(s.enqueue(tasks.Request{Users: []string{"zoe", "\u00f3dd"}}))
	require.Equal(t, tasks.Counts{Detached: 1, Expanded: 1, Held: 1}, got.Counts)
	require.Equal(t, "USER_UNKNOWN", rows[tasks.UserRow("\u00f3dd")].Failure.Code)
}

// unnamed is a reply that refuses a desktop without its id.
const unnamed = `{"failed_operation_list":[{"desktop_name":"PC","error_code":"WKS.00010032","error_msg":"busy"}]}`

// A refusal that does not name its desktop is nobody's success: the desktops are read, and it is found in smaller calls.
func TestARefusalThatNamesNoDesktop(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 50} {
		s := newEnv(t, fakecloud.Config{})
		s.cloud.Fail(fakecloud.Fault{Body: unnamed, Times: 2})
		s.start()
		got, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(n)}))
		require.Equal(t, n, got.Counts.Detached)
	}
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Desktop: "d-000007", Body: unnamed}, fakecloud.Fault{
		Desktop: "d-000008", Body: `{"failed_operation_list":[{"desktop_id":"d-000008","error_code":"WKS.00010110"},{"error_code":"WKS.1"}]}`, Times: 1,
	})
	s.start()
	got, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(50)}))
	require.Equal(t, "WKS.00010032", rows["d-000007"].Failure.Code, "%+v", got.Counts)
	require.Equal(t, "busy", rows["d-000007"].Failure.Message)
	require.Equal(t, "WKS.00010110", rows["d-000008"].Failure.Code, "this one is named, and for good")
	require.Equal(t, 2, got.Counts.Failed)
	require.Equal(t, 48, got.Counts.Detached)
}

// A service that says when to come again is not asked before, so that no desktop uses up its attempts meanwhile.
func TestAnOutageThatSaysHowLong(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fakecloud.Fault{
		"a call, 503": {Status: 503, Code: "WKS.00050902", RetryAfter: 5 * time.Minute}, "a call, 500": {Status: 500, RetryAfter: 5 * time.Minute},
		"a reading": {Op: fakecloud.OpDetail, Status: 503, RetryAfter: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.cloud.Fail(fault)
			s.start()
			op := s.enqueue(tasks.Request{Desktops: []string{"d"}})
			require.Eventually(t, func() bool {
				pause, err := s.record.ProjectPause(context.Background(), "hq")
				long := err == nil && pause != nil && pause.Kind == tasks.PauseThrottled && time.Until(pause.Until) > 3*time.Minute
				return long || s.operation(op).Done()
			}, patience, time.Millisecond)
			require.False(t, s.operation(op).Done(), "it failed")
			s.cloud.ClearFaults()
			require.Eventually(t, func() bool {
				require.NoError(t, s.record.ResumeProject(t.Context(), "hq"))
				return s.operation(op).Done()
			}, patience, 20*time.Millisecond)
			_, rows := s.ended(op)
			require.Equal(t, tasks.StateDetached, rows["d"].State)
			require.LessOrEqual(t, rows["d"].Attempts, 1)
		})
	}
}
