package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/xid"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// longestUnknown is how often desktops with an unknown outcome are read again while the
// call may still take effect.
const longestUnknown = 5 * time.Second

// resolve settles the desktops of a chunk whose last call has an unknown outcome, by
// reading them. What the reading shows as detached is done, and what is on its way is
// accepted, at once. What is still attached is queued again if the call can have no
// effect any more, which is when its claim is over. It returns the chunk's desktops that
// are queued now and the time after which to try again if some stayed unknown (0: none
// did).
func (s *sender) resolve(ctx context.Context, op record.Operation, chunk int, unknown []record.Row) (queued []record.Row, retryAfter time.Duration, err error) {
	claim := record.Claim{Project: s.project.Alias, Holder: s.worker + "/" + xid.New().String()}
	for _, d := range unknown {
		claim.Desktops = append(claim.Desktops, d.ID)
	}
	got, free, err := s.record.Claim(ctx, claim, claimLease)
	if paused := (*record.PausedError)(nil); errors.As(err, &paused) {
		return nil, afterPause(paused), nil
	}
	if err != nil {
		return nil, 0, err
	}
	found, err := s.reader.read(ctx, claim.Desktops)
	if err != nil {
		s.afterReadError(err)
		return nil, s.backoff(unknown[0].Attempts + 1), s.record.Release(ctx, claim)
	}
	calls, err := s.record.CallsNamed(ctx, op.ID, callIDs(unknown)...)
	if err != nil {
		return nil, 0, errors.Join(err, s.record.Release(ctx, claim))
	}
	now := s.now()
	change := record.Change{Operation: op, Chunk: chunk, By: s.worker, LookAt: now.Add(s.firstLook)}
	for i, d := range unknown {
		l := lookAt(op, d, found, true)
		if !got[i] && policy.VerdictOf(l).Unknown == policy.Send {
			retryAfter = jitter(min(max(free, immediately), longestUnknown))
			continue
		}
		change.Moves = append(change.Moves, s.judge(op, d, l, calls[d.CallID]))
	}
	if len(change.Moves) == 0 {
		return nil, retryAfter, s.record.Release(ctx, claim)
	}
	done, err := persist(s.ctx, s.log, func() ([]record.Applied, error) {
		return s.record.Apply(s.ctx, now, []record.Change{change}, claim)
	})
	if err != nil {
		return nil, 0, err
	}
	tellMoves(s.observer, change, done[0])
	if done[0].Ended {
		s.ended(op.ID)
	}
	for _, d := range done[0].Desktops {
		if d.State == tasks.StateQueued {
			queued = append(queued, d)
		}
	}
	s.log.Info().Str("project", op.Project).Str("operation", op.ID).Int("desktops", len(change.Moves)).Int("still_attached", len(queued)).
		Msg("unknown outcomes were resolved by reading the desktops")
	return queued, retryAfter, nil
}

var errSlowReading = errors.New("reading took longer than call_timeout")

// readNow makes one reading, of up to 100 desktops.
func (s *sender) readNow(ids []string, p priority) (map[string]apiclient.Desktop, error) {
	if err := s.limit.take(s.ctx, readRequest, p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.project.CallTimeout, errSlowReading)
	defer cancel()
	begun := s.now()
	list, err := s.project.API.Desktops(ctx, ids)
	s.tellReading(ReadDesktops, len(ids), begun, err)
	if err != nil {
		s.log.Warn().Err(err).Str("project", s.project.Alias).Int("desktops", len(ids)).Msg("desktops could not be read; trying again")
		return nil, err
	}
	s.readHealth.good(s.now())
	return byID(list), nil
}

// afterReadError closes the gate where going on would be in vain, and says when this
// worker is to look at it again; 0: it is open.
func (s *sender) afterReadError(err error) (recheck time.Duration) {
	switch e := asAPIError(err); s.policy.Call(err) {
	case tasks.ClassThrottled:
		return s.closeGate(tasks.PauseThrottled, s.throttlePause(e), e)
	case tasks.ClassAuth, tasks.ClassPolicy:
		return s.closeGate(tasks.PauseAuth, authPause, e)
	case tasks.ClassNotAPI:
		return s.closeGate(tasks.PauseNotAPI, foreignPause, e)
	case tasks.ClassDenied:
		if n := s.readHealth.denied(); n >= deniedAfter {
			e.Message = fmt.Sprintf("%d readings in a row were refused (does the IAM user have workspace:desktops:list and workspace:desktops:get?): %s", n, e.Message)
			return s.closeGate(tasks.PauseNoRight, authPause, e)
		}
		return 0
	case tasks.ClassTransient, tasks.ClassAmbiguous:
		return s.closeGateIfDown(e)
	}
	return 0
}

func byID(list []apiclient.Desktop) map[string]apiclient.Desktop {
	out := make(map[string]apiclient.Desktop, len(list))
	for _, d := range list {
		out[d.ID] = d
	}
	return out
}

// judge says what a reading means for a desktop with an unknown outcome.
func (s *sender) judge(op record.Operation, d record.Row, l policy.Look, call record.Call) record.Move {
	row := policy.VerdictOf(l)
	m := record.Move{Desktop: d, Attempts: d.Attempts, CallID: d.CallID, Note: noted[row.Note], Detail: l.ProofAfterCall()}
	switch row.Unknown {
	case policy.Done:
		m.To = tasks.StateDetached
	case policy.Follow:
		m.To = tasks.StateAccepted
	default:
		if call.Code == notAPI { // it says nothing about the desktop
			m.To, m.Note, m.Failure = tasks.StateQueued, d.Note, unknownFailure(call, l)
			m.Failure.Attempts, m.Failure.At = d.Attempts, s.now()
			return m
		}
		it := &item{job: &job{op: op}, desktop: d}
		v := s.afterFailure(it, tasks.ClassAmbiguous, unknownFailure(call, l), tasks.NoteSuspect)
		if v.to == tasks.StateQueued && s.health.isDown() {
			v.note = d.Note // an outage says nothing about this desktop
		}
		m.To, m.Attempts, m.Note, m.Failure = v.to, v.attempts, v.note, v.failure
	}
	return m
}

// unknownFailure describes a call without a known outcome whose desktop turned
// out to be still attached.
func unknownFailure(call record.Call, l policy.Look) *tasks.Failure {
	f := &tasks.Failure{
		DesktopName: l.ComputerName, Code: cmp.Or(call.Code, "NO_REPLY"), Class: tasks.ClassAmbiguous,
		Status: call.Status, RequestID: call.RequestID, CallID: call.ID,
	}
	f.Message = fmt.Sprintf("%s (the desktop was then read as %s)",
		cmp.Or(call.Message, "no reply was recorded: the worker died during the call"), l.SeenBy())
	return f
}

func callIDs(ds []record.Row) []string {
	var out []string
	seen := map[string]bool{"": true}
	for _, d := range ds {
		if !seen[d.CallID] {
			seen[d.CallID] = true
			out = append(out, d.CallID)
		}
	}
	return out
}
