package worker_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/queue"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

func TestBulkTravelsInFullCalls(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(1050), RequestedBy: "hr", Reason: "left", Ticket: "T-1"}))
	require.Equal(t, 1050, op.Counts.Detached)
	require.Len(t, s.calls(), 11)
	calls, err := s.record.Calls(t.Context(), op.ID)
	require.NoError(t, err)
	require.Len(t, calls, 11)
	named := 0
	for _, c := range calls {
		require.True(t, c.Answered)
		require.Equal(t, 200, c.Status)
		require.NotEmpty(t, c.RequestID)
		require.Empty(t, c.JobID, "ordinary desktops have no job")
		for _, r := range c.Desktops {
			named += r.Last - r.First + 1
		}
	}
	require.Equal(t, 1050, named, "every desktop is in one recorded call")
	for _, d := range rows {
		require.NotEmpty(t, d.CallID)
		require.Equal(t, 0, d.Attempts)
	}
	require.Eventually(t, func() bool { // it leaves the list a moment after it is sealed
		open, _, err := s.record.Operations(t.Context(), tasks.OperationFilter{Open: true}, 10, "")
		return err == nil && len(open) == 0
	}, patience, time.Millisecond)
}

// One line for each call and one for an operation's end, with what is needed to
// find them again.
func TestLogLines(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Calls: []int{1}, Status: 409, Code: "WKS.00010032", Message: "busy \x1b[31m <b>"})
	s.sweptElsewhere()
	s.start()
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(1)}))
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "operation ended") }, patience, time.Millisecond)
	byMessage := map[string][]map[string]any{}
	for line := range strings.Lines(s.log.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		message, _ := fields["message"].(string)
		byMessage[message] = append(byMessage[message], fields)
	}
	require.Len(t, byMessage["detach call"], 2)
	refused, taken := byMessage["detach call"][0], byMessage["detach call"][1]
	require.Equal(t, "conflict", refused["class"])
	require.Equal(t, "WKS.00010032", refused["code"])
	for _, call := range []map[string]any{refused, taken} {
		require.Equal(t, []any{op.ID}, call["operations"])
		require.Equal(t, "hq", call["project"])
		require.NotEmpty(t, call["call"])
		require.Len(t, call["request_id"], 32)
		require.Contains(t, call, "job_id")
	}
	require.Len(t, byMessage["operation ended"], 1)
	require.Equal(t, op.ID, byMessage["operation ended"][0]["operation"])
	require.EqualValues(t, 1, byMessage["operation ended"][0]["detached"])
	require.Equal(t, s.operation(op).Seal, byMessage["operation ended"][0]["trail_head"])
}

func TestOnRedisCluster(t *testing.T) {
	t.Parallel()
	server := redistest.StartCluster(t)
	s := newEnvOn(t, server, server.ClusterClient(t), fakecloud.Config{})
	s.cloud.Fail(fakecloud.Poison("d-000007"), fakecloud.Fault{Calls: []int{3}, Effect: fakecloud.DropAfter})
	s.start(func(c *worker.Config) { c.Projects[0].CallsPerMinute = 60_000 })
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(550)}))
	require.Equal(t, 549, op.Counts.Detached)
	urgent, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{"u"}, Urgent: true}))
	require.Equal(t, 1, urgent.Counts.Detached)
	require.Empty(t, s.takenTwice(ids(550)))
}

// What waits for a call leaves with the next one, whatever its operation. The project is paused
// until all wait, so nothing here depends on how quick the machine is. A call that it makes too late
// is made again, in more calls.
func TestOperationsShareCalls(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	require.NoError(t, s.record.PauseProject(t.Context(), "hq", tasks.PauseOperator, 0, "test"))
	var ops []record.Operation
	for _, id := range ids(300) {
		ops = append(ops, s.enqueue(tasks.Request{Desktops: []string{id}}))
	}
	api := &turnstile{}
	w := s.start(api.through)
	require.Eventually(t, func() bool { return worker.Waiting(w) == 300 }, patience, time.Millisecond)
	require.NoError(t, s.record.ResumeProject(t.Context(), "hq"))
	for _, op := range ops {
		got, _ := s.ended(op)
		require.Equal(t, 1, got.Counts.Detached)
	}
	for _, call := range api.begun()[:3] {
		require.Len(t, call, 100)
	}
}

func TestThreeOfAHundredRefused(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for id, code := range map[string]string{"d-000003": "WKS.00010110", "d-000050": "WKS.00010110", "d-000099": "WKS.77777777"} {
		s.cloud.Fail(fakecloud.Fault{Desktop: id, Refuse: &fakecloud.Refusal{Code: code, Message: "no <b>address</b>"}})
	}
	s.start(func(c *worker.Config) { c.MaxAttempts = 3 })
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(100)}))
	require.Equal(t, tasks.Counts{Detached: 97, Failed: 3}, op.Counts)
	require.Equal(t, 1, rows["d-000003"].Attempts, "a permanent refusal is not tried again")
	require.Equal(t, 3, rows["d-000099"].Attempts, "an unknown one is")
	failures, _, err := s.record.Failures(t.Context(), tasks.FailureFilter{Code: "WKS.00010110"}, 10, "")
	require.NoError(t, err)
	require.Len(t, failures, 2)
	require.Equal(t, tasks.ClassPermanent, failures[0].Class)
	require.Equal(t, "no <b>address</b>", failures[0].Message)
	require.Empty(t, s.takenTwice(ids(100)))
}

func TestJobIDOfPoolDesktops(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "pooled", Type: "POOLED", Status: "ACTIVE", AttachState: "ATTACHED", Users: []fakecloud.User{{ID: "u", Name: "ann"}}})
	s.start()
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{"pooled"}}))
	calls, err := s.record.Calls(t.Context(), op.ID)
	require.NoError(t, err)
	require.Len(t, calls, 1)
	require.NotEmpty(t, calls[0].JobID)
}

func TestConflictThatNamesItsCulprit(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Desktop: "d-000042", Status: 409, Code: "WKS.00010032", NamesCulprit: true, Times: 3})
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(100)}))
	require.Equal(t, 100, op.Counts.Detached)
	require.Equal(t, 3, rows["d-000042"].Attempts)
	require.Equal(t, 0, rows["d-000041"].Attempts, "the others spent none")
	require.LessOrEqual(t, len(s.calls()), 5, "one that failed, one of the others, and the culprit's own")
}

// A 409 that names no desktop, with two spoilers among a hundred: 98 go through at
// once and the calls stay bounded.
func TestConflictWithoutCulprit(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for _, id := range []string{"d-000017", "d-000081"} {
		s.cloud.Fail(fakecloud.Fault{Desktop: id, Status: 409, Code: "WKS.00010032"})
	}
	s.start(func(c *worker.Config) { c.MaxAttempts = 3 })
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(100)}))
	require.Equal(t, tasks.Counts{Detached: 98, Failed: 2}, op.Counts)
	for id, d := range rows {
		if d.State == tasks.StateDetached {
			require.Equal(t, 0, d.Attempts, "%s spent an attempt for another's fault", id)
		} else {
			require.Equal(t, 3, d.Attempts)
			require.Equal(t, tasks.ClassConflict, d.Failure.Class)
		}
	}
	// 1 + at most 2 spoilers x 7 levels x 2 halves; then each retry of the two
	// together, and apart, is 3.
	require.LessOrEqual(t, len(s.calls()), 29+2*3)
	require.Empty(t, s.takenTwice(ids(100)))
}

// A throttle in the middle of splitting a batch: what is left of it goes back
// whole, and nothing waits for a reading.
func TestThrottledWhileIsolating(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Calls: []int{4}, Status: 429, Code: "APIGW.0308"})
	s.cloud.Fail(fakecloud.Poison("d-000007"))
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(100)}))
	require.Equal(t, tasks.Counts{Detached: 99, Failed: 1}, op.Counts)
	for id, d := range rows {
		if d.State == tasks.StateDetached {
			require.Zero(t, d.Attempts, id)
		}
	}
	require.NotContains(t, s.log.String(), "unknown outcomes")
	require.Empty(t, s.takenTwice(ids(100)))
}

func TestPoisonDesktopFailsAlone(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Desktop: "d-000007", Status: 400, Code: "WKS.0001", Message: "The request message is empty."})
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(300)}))
	require.Equal(t, tasks.Counts{Detached: 299, Failed: 1}, op.Counts)
	require.Equal(t, tasks.ClassPoison, rows["d-000007"].Failure.Class)
	require.LessOrEqual(t, len(s.calls()), 3+14)
}

// Every documented refusal of a whole call that passes with a retry: nothing is lost, and
// no desktop is detached twice.
func TestRefusalsThatPass(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fakecloud.Fault{
		"429":                  {Status: 429, Code: "APIGW.0308"},
		"429 with Retry-After": {Status: 429, Code: "APIGW.0308", RetryAfter: time.Second},
		"500":                  {Status: 500, Code: "WKS.0005"},
		"502":                  {Status: 502, Code: "APIGW.0201"},
		"503":                  {Status: 503, Code: "WKS.00050902"},
		"504":                  {Status: 504, Code: "APIGW.0201"},
		"409":                  {Status: 409, Code: "WKS.00010032"},
		"cut before":           {Effect: fakecloud.DropBefore},
		"cut after":            {Effect: fakecloud.DropAfter},
		"truncated":            {Effect: fakecloud.Truncate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, fakecloud.Config{})
			fault.Calls = []int{1, 2}
			s.cloud.Fail(fault)
			s.start()
			op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(250)}))
			require.Equal(t, 250, op.Counts.Detached)
			s.calls()
			require.Empty(t, s.takenTwice(ids(250)), "what the cloud had taken was sent again")
		})
	}
}

// Without a reply the outcome is unknown: the desktops are read, and those that the call
// had reached are not sent again.
func TestTimeOutAfterTheEffect(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Calls: []int{1}, Effect: fakecloud.HangAfter})
	s.start(func(c *worker.Config) { c.Projects[0].API = client(t, s.cloud.URL, 300*time.Millisecond) })
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(100)}))
	require.Equal(t, 100, op.Counts.Detached)
	require.Equal(t, tasks.NoteReadBack, rows["d-000000"].Note)
	require.Len(t, s.calls(), 1)
}

func TestThrottlingSpendsNoAttempts(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Calls: []int{1, 2, 3, 4}, Status: 429, Code: "APIGW.0308"})
	s.start(func(c *worker.Config) { c.MaxAttempts = 1 })
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(400)}))
	require.Equal(t, 400, op.Counts.Detached)
	for _, d := range rows {
		require.Equal(t, 0, d.Attempts)
	}
}

// A 401 in the middle of a run pauses the project; nothing fails for it, and
// when the credentials are fixed the rest goes through.
func TestRefusedCredentialsPauseTheProject(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Calls: []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, Status: 401, Code: "APIGW.0301"})
	s.start(func(c *worker.Config) { c.Projects[0].MaxInFlight = 1 })
	op := s.enqueue(tasks.Request{Desktops: ids(1000)})
	require.Eventually(t, func() bool {
		p, err := s.record.ProjectPause(context.Background(), "hq")
		return err == nil && p != nil && p.Kind == tasks.PauseAuth
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		if s.record.ResumeProject(context.Background(), "hq") != nil {
			return false
		}
		got, err := s.record.Operation(context.Background(), op.ID)
		return err == nil && got.Done()
	}, patience, 10*time.Millisecond)
	_, rows := s.ended(op)
	for _, d := range rows {
		require.Equal(t, tasks.StateDetached, d.State)
		require.Equal(t, 0, d.Attempts)
	}
}

func TestFiveHundredUntilTheDeadline(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Status: 500, Code: "WKS.0005", Message: "Failed to invoke ECS interface."})
	s.start(func(c *worker.Config) { c.MaxAttempts = 1000 })
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(120), Deadline: time.Now().Add(3 * time.Second)}))
	require.Equal(t, tasks.Counts{Failed: 120}, op.Counts)
	for _, d := range rows {
		require.NotEmpty(t, d.Failure.Code)
		require.NotEmpty(t, d.Failure.Message)
	}
	require.Empty(t, s.takenTwice(ids(120)))
}

func TestDeadlineOfAPausedProject(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	require.NoError(t, s.record.PauseProject(t.Context(), "hq", tasks.PauseOperator, 0, "maintenance"))
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(3), Deadline: time.Now().Add(time.Second)}))
	require.Equal(t, 3, op.Counts.Failed)
	require.Equal(t, "DEADLINE", rows["d-000001"].Failure.Code)
	require.Contains(t, rows["d-000001"].Failure.Message, "maintenance")
	require.Empty(t, s.calls())
}

func TestNotBefore(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start()
	at := time.Now().Add(1500 * time.Millisecond)
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(3), NotBefore: at}))
	require.Equal(t, 3, op.Counts.Detached)
	for _, c := range s.calls() {
		require.False(t, c.Time.Before(at), "the call left early")
	}
}

func TestShutoffIsALaneOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	on := s.enqueue(tasks.Request{Desktops: ids(5), ShutoffAfterDetach: true})
	off := s.enqueue(tasks.Request{Desktops: []string{"x", "y"}})
	s.start()
	s.ended(on)
	s.ended(off)
	for _, c := range s.calls() {
		require.NotNil(t, c.Shutoff)
		require.Equal(t, c.DesktopIDs[0] != "x" && c.DesktopIDs[0] != "y", *c.Shutoff)
	}
}

func TestCancelledInTheQueue(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	op := s.enqueue(tasks.Request{Desktops: ids(250)})
	cancelled, late, err := s.record.Cancel(t.Context(), op, time.Now(), "jo")
	require.NoError(t, err)
	require.Equal(t, 250, cancelled)
	require.Zero(t, late)
	s.start()
	got, _ := s.ended(op)
	require.Equal(t, 250, got.Counts.Cancelled)
	other, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{"other"}}))
	require.Equal(t, 1, other.Counts.Detached)
	require.Len(t, s.calls(), 1, "what was cancelled is not sent")
}

func TestRetryTakesUpTheFailed(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Desktop: "d-000001", Times: 1, Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address"}})
	s.start()
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(10)}))
	require.Equal(t, 1, op.Counts.Failed)
	n, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{Code: "WKS.00010110"}, "jo")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	op, _ = s.ended(op)
	require.Equal(t, 10, op.Counts.Detached)
	failures, _, err := s.record.Failures(t.Context(), tasks.FailureFilter{}, 10, "")
	require.NoError(t, err)
	require.Empty(t, failures)
}

func TestRedriveTakesUpTheFailedOfAllOperations(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for _, id := range []string{"a", "b", "c"} {
		s.cloud.Fail(fakecloud.Fault{Desktop: id, Times: 1, Refuse: &fakecloud.Refusal{Code: "WKS.00010110", Message: "no address"}})
	}
	s.start()
	var ops []record.Operation
	for _, req := range []tasks.Request{{Desktops: []string{"a"}}, {Desktops: append(ids(120), "b", "c")}} {
		op, _ := s.ended(s.enqueue(req))
		require.NotZero(t, op.Counts.Failed)
		ops = append(ops, op)
	}
	x, err := s.p.Redrive(t.Context(), tasks.RedriveRequest{Filter: tasks.FailureFilter{Code: "WKS.00010110"}})
	require.NoError(t, err)
	require.Equal(t, 3, x.Matched)
	require.Eventually(t, func() bool {
		x, err = s.record.Redrive(context.Background(), x.ID)
		return err == nil && x.Done()
	}, patience, 10*time.Millisecond)
	require.Equal(t, 3, x.Retried)
	for _, op := range ops {
		op, _ = s.ended(op)
		require.Equal(t, op.Total, op.Counts.Detached)
	}
}

// A payload that cannot be read is recorded with its reason and not tried for
// ever; the work it may have been for is found by the reconciler.
func TestUnreadablePayload(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	c := asynq.NewClientFromRedisClient(s.rdb)
	bulk := s.record.QueueName("hq", record.BulkQueue)
	for _, payload := range []string{"\x00garbage", `{"v":99,"op":"x","project":"hq"}`, `{"v":1,"op":"x","project":"other"}`} {
		_, err := c.EnqueueContext(t.Context(), asynq.NewTask(queue.TaskType, []byte(payload)), asynq.Queue(bulk), asynq.MaxRetry(1000))
		require.NoError(t, err)
	}
	s.start()
	require.Eventually(t, func() bool {
		rejected, err := s.record.Rejects(context.Background())
		return err == nil && len(rejected) == 3
	}, patience, 10*time.Millisecond)
	rejected, err := s.record.Rejects(t.Context())
	require.NoError(t, err)
	for _, r := range rejected {
		require.NotEmpty(t, r.Reason)
		require.NotEmpty(t, r.Payload)
	}
	good, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(2)}))
	require.Equal(t, 2, good.Counts.Detached)
}

// panicking is an API whose first call panics.
type panicking struct {
	*apiclient.Client
	calls atomic.Int32
}

func (p *panicking) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	if p.calls.Add(1) == 1 {
		panic("boom")
	}
	return p.Client.Detach(ctx, req)
}

func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	api := &panicking{Client: client(t, s.cloud.URL, time.Second)}
	s.start(func(c *worker.Config) { c.Projects[0].API, c.Projects[0].MaxInFlight = api, 1 })
	op := s.enqueue(tasks.Request{Desktops: ids(5)})
	require.Eventually(t, func() bool { return api.calls.Load() == 1 }, patience, time.Millisecond)
	other, _ := s.ended(s.enqueue(tasks.Request{Desktops: []string{"after"}}))
	require.Equal(t, 1, other.Counts.Detached, "the worker goes on")
	// What was in the panicking call is "sending": unknown until it is read.
	got, err := s.record.Operation(t.Context(), op.ID)
	require.NoError(t, err)
	require.Equal(t, 5, got.Counts.Sending+got.Counts.Accepted+got.Counts.Queued)
}

// Two workers: they share one limit, and no desktop is in two calls at once,
// although two operations name each of them.
func TestTwoWorkersShareLimitAndDesktops(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 20 * time.Millisecond})
	const perMinute = 20 * 60
	limited := func(id string) func(*worker.Config) {
		return func(c *worker.Config) {
			// One call at a time, so that neither worker takes all that waits.
			c.ID, c.Projects[0].CallsPerMinute, c.Projects[0].MaxInFlight = id, perMinute, 1
		}
	}
	a := s.enqueue(tasks.Request{Desktops: ids(3000)})
	b := s.enqueue(tasks.Request{Desktops: ids(3000)})
	begun := time.Now()
	s.start(limited("worker-1"))
	s.start(limited("worker-2"))
	workers := map[string]bool{}
	for _, op := range []record.Operation{a, b} {
		got, _ := s.ended(op)
		require.Equal(t, 3000, got.Counts.Detached)
		calls, err := s.record.Calls(t.Context(), op.ID)
		require.NoError(t, err)
		for _, c := range calls {
			workers[c.Worker] = true
		}
	}
	require.Len(t, workers, 2, "both took part")
	calls := s.calls()
	took := calls[len(calls)-1].Time.Sub(begun)
	require.LessOrEqual(t, len(calls), int(took.Minutes()*perMinute)+5+1, "more calls than the limit and its burst allow")
}

// Two operations name the same desktops and two workers do them at once: each
// desktop is in one call at a time.
func TestNoDesktopIsInTwoCallsAtOnce(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 50 * time.Millisecond})
	a := s.enqueue(tasks.Request{Desktops: ids(700)})
	b := s.enqueue(tasks.Request{Desktops: ids(700)})
	s.start()
	s.start(func(c *worker.Config) { c.ID = "worker-2" })
	for _, op := range []record.Operation{a, b} {
		got, _ := s.ended(op)
		require.Equal(t, 700, got.Counts.Detached)
	}
	s.calls()
	require.Greater(t, s.cloud.MaxInFlight(), 1, "nothing was at once")
}

// redis-server dies in mid-run and comes back from its AOF: the worker goes on
// by itself, and whatever was accepted ends.
func TestRedisRestartsInMidRun(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 20 * time.Millisecond})
	s.start()
	op := s.enqueue(tasks.Request{Desktops: ids(10_000)})
	require.Eventually(t, func() bool {
		got, err := s.record.Operation(context.Background(), op.ID)
		return err == nil && got.Counts.Accepted+got.Counts.Detached > 2000
	}, patience, 5*time.Millisecond)
	s.server.Stop()
	_, err := s.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"late"}})
	require.Error(t, err, "nothing is accepted while Redis is away")
	require.ErrorContains(t, err, "not accepted")
	require.NoError(t, s.server.Restart())
	got, _ := s.ended(op)
	require.Equal(t, 10_000, got.Counts.Detached)
	s.calls()
	require.Empty(t, s.takenTwice(ids(10_000)))
}

// The gap between recording and enqueuing: a producer that died there left an
// accepted operation without tasks. A reconciler enqueues them.
func TestLostTasksAreFound(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.exist(ids(250)...)
	past := func() time.Time { return time.Now().Add(-time.Minute) } // the reconciler leaves the young alone
	p, err := record.NewProducer(s.rdb, record.ProducerConfig{Projects: []string{"hq"}, Now: past})
	require.NoError(t, err)
	op, err := p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(250)})
	require.NoError(t, err)
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	n, err := inspector.DeleteAllPendingTasks(s.record.QueueName("hq", record.BulkQueue))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	s.start()
	got, _ := s.ended(op)
	require.Equal(t, 250, got.Counts.Detached)
}

func TestStopLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 30 * time.Millisecond})
	op := s.enqueue(tasks.Request{Desktops: ids(5000)})
	w := s.start(func(c *worker.Config) { c.Projects[0].MaxInFlight = 2 })
	require.Eventually(t, func() bool {
		got, err := s.record.Operation(context.Background(), op.ID)
		return err == nil && got.Counts.Accepted+got.Counts.Detached > 500
	}, patience, time.Millisecond)
	w.Stop()
	w.Stop() // harmless
	got, err := s.record.Operation(t.Context(), op.ID)
	require.NoError(t, err)
	require.Zero(t, got.Counts.Sending, "a call in flight was not recorded")
	require.Positive(t, got.Counts.Queued, "the test stopped too late to show anything")
	workers, err := s.record.Workers(t.Context())
	require.NoError(t, err)
	require.Empty(t, workers)
	active, err := asynq.NewInspectorFromRedisClient(s.rdb).ListActiveTasks(s.record.QueueName("hq", record.BulkQueue))
	require.NoError(t, err)
	require.Empty(t, active, "nothing waits for asynq's lease")
	s.start(func(c *worker.Config) { c.ID = "worker-2" })
	got, _ = s.ended(op)
	require.Equal(t, 5000, got.Counts.Detached)
	require.Empty(t, s.takenTwice(ids(5000)))
}

func TestProjectsAreBulkheads(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	p, err := record.NewProducer(s.rdb, record.ProducerConfig{Projects: []string{"hq", "branch"}})
	require.NoError(t, err)
	s.start(func(c *worker.Config) {
		branch := c.Projects[0]
		branch.Alias = "branch"
		c.Projects = append(c.Projects, branch)
	})
	require.NoError(t, s.record.PauseProject(t.Context(), "hq", tasks.PauseOperator, 0, "test"))
	stuck := s.enqueue(tasks.Request{Desktops: ids(5000)})
	op, err := p.Enqueue(t.Context(), tasks.Request{Project: "branch", Desktops: ids(300)})
	require.NoError(t, err)
	got, _ := s.ended(op)
	require.Equal(t, 300, got.Counts.Detached)
	waiting, err := s.record.Operation(t.Context(), stuck.ID)
	require.NoError(t, err)
	require.Equal(t, 5000, waiting.Counts.Queued)
	require.NoError(t, s.record.ResumeProject(t.Context(), "hq"))
	s.ended(stuck)
}

func TestConfigNamesItsBadFields(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{})
	defer rdb.Close()
	good := quick(rdb, "w", &apiclient.Client{})
	for field, spoil := range map[string]func(*worker.Config){
		"Redis":           func(c *worker.Config) { c.Redis = nil },
		"ID":              func(c *worker.Config) { c.ID = "a/b" },
		"Projects":        func(c *worker.Config) { c.Projects = nil },
		"MaxAttempts":     func(c *worker.Config) { c.MaxAttempts = -1 },
		"RetryMax":        func(c *worker.Config) { c.RetryMax = time.Nanosecond },
		"ShutdownTimeout": func(c *worker.Config) { c.ShutdownTimeout = time.Second },
		"Alias":           func(c *worker.Config) { c.Projects = append(c.Projects, c.Projects[0]) },
		"API":             func(c *worker.Config) { c.Projects = []worker.Project{{Alias: "x"}} },
	} {
		bad := good
		spoil(&bad)
		_, err := worker.New(bad)
		require.ErrorContains(t, err, field)
	}
	_, err := worker.New(good)
	require.NoError(t, err)
}
