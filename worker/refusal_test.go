package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// paused waits until the project is paused.
func (s *env) paused() *tasks.Pause {
	s.t.Helper()
	var pause *tasks.Pause
	require.Eventually(s.t, func() bool {
		var err error
		pause, err = s.record.ProjectPause(context.Background(), "hq")
		return err == nil && pause != nil && pause.Kind != tasks.PauseThrottled
	}, patience, 5*time.Millisecond, "the project is not paused")
	return pause
}

// Refusals of the whole project pause it, say why, spend no attempt and fail nothing.
func TestRefusalsOfTheWholeProject(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault    fakecloud.Fault
		desktops int
		kind     tasks.PauseKind
		says     string
	}{
		"a proxy's login":             {fakecloud.ProxyLogin(0), 250, tasks.PauseNotAPI, "answered by 127.0.0.1"},
		"a redirect":                  {fakecloud.Redirect(0, "http://127.0.0.1:1/login"), 250, tasks.PauseNotAPI, "answered by 127.0.0.1"},
		"a page, 200":                 {fakecloud.WebPage(0, 200), 250, tasks.PauseNotAPI, "answered by 127.0.0.1"},
		"a page, 403":                 {fakecloud.WebPage(0, 403), 250, tasks.PauseNotAPI, "answered by 127.0.0.1"},
		"a page, 404":                 {fakecloud.WebPage(0, 404), 1, tasks.PauseNotAPI, "answered by 127.0.0.1"},
		"a page, 503":                 {fakecloud.WebPage(0, 503), 250, tasks.PauseNotAPI, "answered by 127.0.0.1"},
		"wrong content":               {fakecloud.WrongContent(0), 250, tasks.PauseNotAPI, "answered by 127.0.0.1"},
		"a missing right":             {fakecloud.Fault{Status: 403, Code: "WKS.00081102"}, 250, tasks.PauseNoRight, "workspace:desktops:detach"},
		"the same, one desktop":       {fakecloud.Fault{Status: 403, Code: "WKS.00081102"}, 1, tasks.PauseNoRight, "workspace:desktops:detach"},
		"404 that names nothing":      {fakecloud.Fault{Status: 404, Code: "WKS.00211902", Message: "not found"}, 120, tasks.PauseNoRight, "workspace:desktops:detach"},
		"readings refused":            {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403}, 1, tasks.PauseNoRight, "workspace:desktops:list"},
		"a gateway not configured":    {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 400, Code: "APIGW.0106"}, 120, tasks.PauseAuth, "APIGW.0106"},
		"readings of nothing, 404":    {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 404, Code: "WKS.00211902"}, 120, tasks.PauseNoRight, "workspace:desktops:list"},
		"the same, one desktop, 404":  {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 404, Code: "WKS.00211902"}, 1, tasks.PauseNoRight, "workspace:desktops:list"},
		"readings answered by a page": {fakecloud.Fault{Op: fakecloud.OpDetail, HTML: true, Status: 200}, 1, tasks.PauseNotAPI, "answered by 127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			s.cloud.Fail(test.fault)
			s.start()
			op := s.enqueue(tasks.Request{Desktops: ids(test.desktops)})
			pause := s.paused()
			require.Equal(t, test.kind, pause.Kind)
			require.Contains(t, pause.Reason, test.says)
			for _, d := range s.rows(op) {
				require.Zero(t, d.Attempts, "%+v", d)
				require.NotEqual(t, tasks.StateFailed, d.State)
			}
			s.cloud.ClearFaults()
			require.Eventually(t, func() bool {
				require.NoError(t, s.record.ResumeProject(t.Context(), "hq"))
				return s.operation(op).Done()
			}, patience, 20*time.Millisecond)
			got, rows := s.ended(op)
			require.Equal(t, test.desktops, got.Counts.Detached)
			for _, d := range rows {
				require.Zero(t, d.Attempts, "an attempt was spent on what was not about the desktop")
			}
			require.Empty(t, s.takenTwice(ids(test.desktops)))
		})
	}
}

// One desktop for which a right is missing fails alone; the project goes on.
func TestOneDesktopThatIsForbidden(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 404} {
		s := newEnv(t, fakecloud.Config{})
		s.cloud.Fail(fakecloud.Fault{Desktop: "d-000007", Status: status, Code: "WKS.00081102", Message: "no permission"})
		s.start()
		op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(300)}))
		require.Equal(t, tasks.Counts{Detached: 299, Failed: 1}, op.Counts)
		require.Equal(t, tasks.ClassDenied, rows["d-000007"].Failure.Class)
		pause, err := s.record.ProjectPause(t.Context(), "hq")
		require.NoError(t, err)
		require.Nil(t, pause)
	}
}

// A request that the client refuses to send does not pause the project: the desktop that
// spoils it fails alone.
func TestRequestThatCannotBeSent(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start(func(cfg *worker.Config) { cfg.Projects[0].API = refusesToSend{cfg.Projects[0].API} })
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: append(ids(250), "cannot-be-sent", "cannot-be-read")}))
	require.Equal(t, tasks.Counts{Detached: 250, Failed: 2}, op.Counts)
	require.Equal(t, "BAD_REQUEST", rows["cannot-be-sent"].Failure.Code)
	require.Equal(t, "BAD_REQUEST", rows["cannot-be-read"].Failure.Code)
	require.NotContains(t, s.log.String(), "paused")
}

type refusesToSend struct{ worker.API }

func refuses(ids []string, id string) error {
	if strings.Contains(strings.Join(ids, " "), id) {
		return &apiclient.Error{Op: "test", Local: true, Effect: apiclient.EffectNone, Message: "an id cannot be sent"}
	}
	return nil
}

func (r refusesToSend) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	if err := refuses(req.DesktopIDs, "cannot-be-sent"); err != nil {
		return nil, err
	}
	return r.API.Detach(ctx, req)
}

func (r refusesToSend) Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error) {
	if err := refuses(ids, "cannot-be-read"); err != nil {
		return nil, err
	}
	return r.API.Desktops(ctx, ids)
}
