package worker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// stepper is a hook of a worker's Redis that counts the commands about one operation, and does something
// at one point: an even one is before a command, the next one after it. The worker waits meanwhile. It
// sends the commands of a pipeline one by one, because those of others may come between any two.
type stepper struct {
	mu    sync.Mutex
	op    string // "": nothing is counted
	n, at int    // points so far, and the one
	do    func()
	fired chan struct{} // closed when it is done
	seen  []string
}

func (x *stepper) arm(op string, at int, do func()) (fired chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.op, x.n, x.at, x.do, x.fired, x.seen = op, 0, at, do, make(chan struct{}), nil
	return x.fired
}

func (x *stepper) point(cmd redis.Cmder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.op == "" || !slices.ContainsFunc(cmd.Args()[1:], func(arg any) bool {
		text, _ := arg.(string)
		return strings.Contains(text, x.op) || strings.HasSuffix(text, "{p:hq}:holders") || text == "detachd:recalls"
	}) {
		return
	}
	x.seen = append(x.seen, fmt.Sprintf("%.160s", fmt.Sprint(cmd.Args()...)))
	if x.n == x.at {
		x.do()
		close(x.fired)
	}
	x.n++
}

func (x *stepper) DialHook(next redis.DialHook) redis.DialHook { return next }

func (x *stepper) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		x.point(cmd)
		err := next(ctx, cmd)
		x.point(cmd)
		return err
	}
}

func (x *stepper) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "multi" {
			return next(ctx, cmds)
		}
		var all error
		for i, cmd := range cmds {
			x.point(cmd)
			if err := next(ctx, cmds[i:i+1]); all == nil {
				all = err
			}
			x.point(cmd)
		}
		return all
	}
}

// meeting is an operation on its way, and a person who does something about it.
type meeting struct {
	*env
	name       string
	op         record.Operation
	more       []record.Operation // that the person asks for
	ids, users []string           // desktops, and who has each
	plan       record.Plan
	reassigned time.Time // when the second desktop got another user
	done       time.Time
	rows       map[string]record.Row // as the person left them
	err        error                 // that the person got
}

// way is how an operation goes on its way.
type way struct {
	name    string
	waits   bool // for an approval, before it is watched
	request func(m *meeting) tasks.Request
	faults  func(m *meeting) []fakecloud.Fault
}

var ways = []way{
	{name: "plain", request: func(m *meeting) tasks.Request {
		return tasks.Request{Desktops: m.ids, Expect: map[string][]string{m.ids[0]: m.users[:1]}}
	}},
	{name: "names", request: func(m *meeting) tasks.Request {
		return tasks.Request{Users: m.users[:2], Computers: []string{"PC-" + m.ids[2]}}
	}},
	{
		name: "split", request: func(m *meeting) tasks.Request { return tasks.Request{Desktops: m.ids} },
		faults: func(m *meeting) []fakecloud.Fault { return []fakecloud.Fault{fakecloud.Poison(m.ids[0])} },
	},
	{name: "waits", waits: true, request: func(m *meeting) tasks.Request { return tasks.Request{Desktops: m.ids} }},
}

// act is what a person does. None of the barred desktops may be in a further call.
type act struct {
	name   string
	does   func(ctx context.Context, m *meeting)
	barred func(m *meeting, i int, row record.Row) bool
	waits  bool // only about what waits
	asks   bool // for another operation, which would wait, too
}

func isCancelled(_ *meeting, _ int, row record.Row) bool { return row.State == tasks.StateCancelled }
func isSecond(m *meeting, i int, _ record.Row) bool      { return i == 1 && m.err == nil }

var acts = []act{
	{name: "cancels", barred: isCancelled, does: func(ctx context.Context, m *meeting) {
		_, _, m.err = m.record.Cancel(ctx, m.operation(m.op), time.Now(), "ann")
		require.NoError(m.t, m.err)
	}},
	{name: "recalls", barred: isSecond, does: func(_ context.Context, m *meeting) {
		m.recall(tasks.RecallRequest{User: m.users[1]})
	}},
	{name: "reassigns", does: func(_ context.Context, m *meeting) { m.reassign() }},
	{name: "asks for it from another", asks: true, does: func(_ context.Context, m *meeting) {
		req := tasks.Request{Desktops: m.ids[1:2], Expect: map[string][]string{m.ids[1]: {"heir"}}, RequestedBy: "it"}
		m.more = append(m.more, m.enqueue(req))
	}},
	{name: "approves a plan", waits: true, barred: isSecond, does: func(ctx context.Context, m *meeting) {
		m.reassign()
		_, m.err = m.p.Approve(ctx, m.operation(m.op), tasks.Approval{By: "ann", Plan: m.plan.Hash, PlanOwner: "me"})
		require.NoError(m.t, m.err)
	}},
	{name: "rejects", waits: true, barred: isCancelled, does: func(ctx context.Context, m *meeting) {
		_, m.err = m.p.Reject(ctx, m.operation(m.op), "ann", "no")
		require.NoError(m.t, m.err)
	}},
}

func (m *meeting) reassign() {
	m.cloud.Attach(projectID, m.ids[1], people("heir")...)
	m.reassigned = time.Now()
}

// A person acts, to the end, between any two commands of a worker about an operation. What the person took
// back before the record said that it is being sent is in no call, nobody else loses a desktop, and all
// ends in states that fit the trail. DETACHD_TEST_ALL_POINTS=1 tries every point, not one in some.
func TestAPersonActsMeanwhile(t *testing.T) {
	t.Parallel()
	for _, w := range ways {
		for _, a := range acts {
			if a.waits && !w.waits || a.asks && w.waits {
				continue
			}
			t.Run(w.name+", "+a.name, func(t *testing.T) {
				t.Parallel()
				s, x := newEnv(t, fakecloud.Config{}), &stepper{}
				rdb := s.unrepeated()
				t.Cleanup(func() { _ = rdb.Close() })
				rdb.AddHook(x)
				s.sweptElsewhere() // a sweep and a repair also read what has ended
				s.start(func(c *worker.Config) {
					if c.Redis = rdb; w.waits {
						none(c)
					}
				})
				first, stride := (len(w.name)+len(a.name))%7, 7
				if os.Getenv("DETACHD_TEST_ALL_POINTS") != "" || w.waits {
					first, stride = 0, 1
				}
				for at := first; s.meet(x, w, a, at) && (!w.waits || at < 5); at += stride { // one that waits is read by three commands
				}
			})
		}
	}
}

// meet has the person act at a point, or at the end if it is not reached: then it returns false.
func (s *env) meet(x *stepper, w way, a act, at int) (reached bool) {
	m := &meeting{env: s, name: fmt.Sprintf("at%d", at)}
	for i := range 3 {
		m.ids, m.users = append(m.ids, fmt.Sprintf("%s-d%d", m.name, i)), append(m.users, fmt.Sprintf("%s-u%d", m.name, i))
		s.cloud.Add(projectID, fakecloud.Desktop{ID: m.ids[i], ComputerName: "PC-" + m.ids[i], Users: people(m.users[i])})
	}
	if w.faults != nil {
		s.cloud.Fail(w.faults(m)...)
	}
	ctx := context.Background()
	does := func() {
		a.does(ctx, m)
		m.done, m.rows = time.Now(), s.rows(s.operation(m.op))
	}
	defer func() {
		if s.t.Failed() {
			x.mu.Lock()
			defer x.mu.Unlock()
			s.t.Logf("point %d of\n%s", at, strings.Join(x.seen, "\n"))
		}
	}()
	req := w.request(m)
	req.RequestedBy, req.IdempotencyKey = "hr", m.name
	m.op.ID = record.OperationID(req.RequestedBy, req.IdempotencyKey)
	var fired chan struct{}
	if !w.waits {
		fired = x.arm(m.op.ID, at, does)
		s.ended(s.enqueue(req))
	} else {
		m.op = s.waits(s.enqueue(req))
		m.plan, _ = s.planOf(m.op)
		c, err := s.record.Chunk(ctx, m.op.ID, 0)
		require.NoError(s.t, err)
		fired = x.arm(m.op.ID, at, does)
		require.NoError(s.t, s.p.Regenerate(ctx, record.OpenChunk{Operation: &c.Operation, Number: 0, Generation: c.Generation}))
		require.Eventually(s.t, func() bool {
			select {
			case <-fired:
				return true
			default:
				return false
			}
		}, patience, time.Millisecond)
		if now := s.operation(m.op); now.AwaitsApproval() {
			_, err := s.p.Approve(ctx, now, tasks.Approval{By: "zed"})
			require.True(s.t, err == nil || errors.Is(err, tasks.ErrNotWaiting), "%v", err)
		}
	}
	select {
	case <-fired:
		reached = true
	default:
		x.arm("", 0, nil)
		does()
	}
	m.check(a)
	return reached
}

// check checks what must hold whatever the person did, and whenever.
func (m *meeting) check(a act) {
	m.t.Helper()
	expected := map[string][]string{}
	for _, op := range append(m.more, m.op) {
		got, rows := m.ended(op)
		for n := range got.Chunks() {
			c, err := m.record.Chunk(context.Background(), op.ID, n)
			require.NoError(m.t, err)
			for _, d := range c.Desktops {
				expected[d.ID] = append(expected[d.ID], d.Expected()...)
			}
		}
		for id, row := range rows {
			if d, is := m.cloud.Get(projectID, id); is && row.State == tasks.StateDetached {
				for _, u := range d.Users {
					require.NotContains(m.t, expected[id], u.Name, "%s counts as detached", id)
				}
			}
		}
	}
	for i, id := range m.ids {
		row, is := m.rows[id]
		for _, name := range []string{tasks.UserRow(m.users[i]), tasks.ComputerRow("PC-" + id)} {
			if found, named := m.rows[name]; !is && named {
				row = found
			}
		}
		sent := row.State == tasks.StateSending || row.State == tasks.StateAccepted || row.State == tasks.StateDetached
		if a.barred == nil || sent || !a.barred(m, i, row) {
			continue
		}
		for _, call := range m.detaches() {
			require.False(m.t, call.Time.After(m.done) && slices.Contains(call.DesktopIDs, id), "%s is called, and was %s", id, row.State)
		}
	}
	m.nobodyElse(expected)
}

// nobodyElse checks that only those lost a desktop who were to; or who got it between the reading of it and
// the effect of its call.
func (m *meeting) nobodyElse(expected map[string][]string) {
	m.t.Helper()
	for _, lost := range m.cloud.Removals(projectID) {
		if !slices.Contains(m.ids, lost.DesktopID) || slices.Contains(expected[lost.DesktopID], lost.User.Name) {
			continue
		}
		var read time.Time
		for _, r := range m.cloud.Requests() {
			if r.RequestID == lost.RequestID {
				break
			}
			if r.Op == fakecloud.OpDetail && strings.Contains(r.Query, lost.DesktopID) {
				read = r.Time
			}
		}
		require.True(m.t, read.Before(m.reassigned) && m.reassigned.Before(lost.Time),
			"%s lost %s, %v were to", lost.User.Name, lost.DesktopID, expected[lost.DesktopID])
	}
}
