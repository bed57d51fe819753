package worker

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// onAnswer records a 200: every desktop was taken by the cloud, except those it
// lists as refused.
func (s *sender) onAnswer(b *batch, group []*item, call *record.Call, res *apiclient.DetachResult) {
	refused := make(map[string]apiclient.DesktopFailure, len(res.Failed))
	for _, f := range res.Failed {
		refused[f.DesktopID] = f
	}
	if len(res.Unasked) > 0 {
		s.log.Warn().Int("entries", len(res.Unasked)).Str("call", call.ID).Str("desktop", res.Unasked[0].DesktopID).
			Msg("the cloud reported failures of desktops that were not in the call; ignored")
	}
	s.settle(b, group, call, func(it *item) verdict {
		f, bad := refused[it.desktop.ID]
		if !bad {
			v := verdict{to: tasks.StateAccepted, attempts: it.desktop.Attempts}
			if call.JobID != "" {
				v.note = tasks.NoteByJob
			}
			return v
		}
		class := s.policy.Desktop(call.Status, f.Code)
		failure := &tasks.Failure{
			DesktopName: f.DesktopName, Code: orUnknown(f.Code), Message: f.Message, Class: class, Status: call.Status,
			RequestID: call.RequestID, CallID: call.ID,
		}
		return s.afterFailure(it, class, failure, it.desktop.Note)
	})
}

func orUnknown(code string) string {
	if code == "" {
		return "UNKNOWN"
	}
	return code
}

// onError acts on a call that was refused or not answered, by its class.
func (s *sender) onError(b *batch, group []*item, call *record.Call, err error) {
	e := asAPIError(err)
	class := s.policy.Call(err)
	switch class {
	case tasks.ClassThrottled:
		b.pause = s.closeGate(tasks.PauseThrottled, s.throttlePause(e), e)
		s.giveBack(b, group, call)
	case tasks.ClassAuth, tasks.ClassPolicy:
		b.pause = s.closeGate(tasks.PauseAuth, authPause, e)
		s.giveBack(b, group, call)
	case tasks.ClassNotAPI:
		b.pause = s.closeGate(tasks.PauseNotAPI, foreignPause, e)
		if e.Effect == apiclient.EffectPossible {
			s.settleUnknown(b, group, call) // the API may have got it all the same
		} else {
			s.giveBack(b, group, call)
		}
	case tasks.ClassConflict, tasks.ClassPoison, tasks.ClassLocal:
		if class != tasks.ClassLocal {
			s.health.answered() // the service works; a desktop does not
		}
		s.isolate(b, group, call, class, e)
	case tasks.ClassDenied:
		s.health.answered()
		s.onDenied(b, group, call, e)
	case tasks.ClassAmbiguous:
		b.pause = max(b.pause, s.closeGateIfDown(e))
		// The desktops stay "sending", which says that nobody knows; the next
		// look at their chunk reads them before anything is sent again.
		s.settleUnknown(b, group, call)
	default:
		if class == tasks.ClassTransient {
			b.pause = max(b.pause, s.closeGateIfDown(e))
		}
		s.settle(b, group, call, func(it *item) verdict {
			return s.afterFailure(it, class, callFailure(call, class, e), it.desktop.Note)
		})
	}
}

func callFailure(call *record.Call, class tasks.Class, e apiclient.Error) *tasks.Failure {
	return &tasks.Failure{
		Code: e.Code, Message: e.Message, Class: class, Status: e.Status,
		RequestID: call.RequestID, CallID: call.ID,
	}
}

// afterFailure decides for one desktop whose try failed: failed, or queued for
// another. None is failed that was not read before its last try: what the cloud
// refuses may be detached already, or gone.
func (s *sender) afterFailure(it *item, class tasks.Class, f *tasks.Failure, note tasks.Note) verdict {
	n := it.desktop.Attempts + 1
	f.Attempts, f.At = n, s.now()
	v := verdict{to: tasks.StateQueued, attempts: n, note: note, failure: f, delay: s.backoff(n)}
	if class != tasks.ClassPermanent && class != tasks.ClassPoison && class != tasks.ClassLocal && class != tasks.ClassDenied && n < s.maxAttempts && s.now().Before(it.job.op.Deadline) {
		return v
	}
	v.to, v.delay = tasks.StateFailed, 0
	return v
}

// onDenied acts on a 403, or a 404, that names no desktop: it may be about one of
// them, or about the whole project. The batch is split, down to single desktops,
// while no call gets a 200. A desktop that is refused alone fails only if the project
// got a 200 since it was first refused; and what deniedAfter calls in a row met with,
// the last of them for a single desktop, pauses the project. Neither spends attempts.
func (s *sender) onDenied(b *batch, group []*item, call *record.Call, e apiclient.Error) {
	if named, _ := split(group, policy.Culprits(e)); len(named) > 0 {
		s.isolate(b, group, call, tasks.ClassPoison, e)
		return
	}
	n := s.health.denied()
	if b.deniedAt.IsZero() {
		b.deniedAt = s.now()
	}
	if len(group) > 1 {
		s.noteCall(b, group, call)
		first := len(group) / 2
		if n >= deniedAfter-1 {
			first = 1
		}
		b.push(group[:first])
		b.push(group[first:])
		return
	}
	it := group[0]
	since := b.deniedAt
	if it.desktop.Note == tasks.NoteDenied {
		since = it.desktop.UpdatedAt
	}
	switch {
	case s.health.goodSince(since):
		s.settle(b, group, call, func(it *item) verdict {
			return s.afterFailure(it, tasks.ClassDenied, callFailure(call, tasks.ClassDenied, e), tasks.NoteNone)
		})
	case n >= deniedAfter:
		e.Message = fmt.Sprintf("%d calls in a row were refused, down to a single desktop (does the IAM user have %s?): %s", n, actionOf(group), e.Message)
		b.pause = s.closeGate(tasks.PauseNoRight, authPause, e)
		s.giveBack(b, group, call)
	default:
		s.settle(b, group, call, func(it *item) verdict {
			f := callFailure(call, tasks.ClassDenied, e)
			f.Attempts, f.At = it.desktop.Attempts, s.now()
			return verdict{to: tasks.StateQueued, attempts: it.desktop.Attempts, note: tasks.NoteDenied, failure: f, delay: s.backoff(n)}
		})
	}
}

// actionOf is the action that a call of a group needs.
func actionOf(group []*item) string {
	if group[0].leavers != nil {
		return "workspace:desktops:batchDetach"
	}
	return "workspace:desktops:detach"
}

// isolate finds the desktop that spoils a batch: the one that the error names,
// or by halves. Those set aside are suspects from now on.
func (s *sender) isolate(b *batch, group []*item, call *record.Call, class tasks.Class, e apiclient.Error) {
	aside := func(items []*item) {
		s.settle(b, items, call, func(it *item) verdict {
			return s.afterFailure(it, class, callFailure(call, class, e), tasks.NoteSuspect)
		})
	}
	if len(group) == 1 {
		aside(group)
		return
	}
	bad, rest := split(group, policy.Culprits(e))
	switch {
	case len(bad) > 0:
		aside(bad)
		s.noteCall(b, rest, call)
		b.push(rest)
	case b.calls >= maxIsolationCalls:
		// Not one of them is known to be bad: none fails for it, all try again.
		s.settle(b, group, call, func(it *item) verdict {
			return s.afterFailure(it, tasks.ClassConflict, callFailure(call, class, e), tasks.NoteSuspect)
		})
	default:
		s.noteCall(b, group, call)
		half := len(group) / 2
		b.push(group[:half])
		b.push(group[half:])
	}
}

// noteCall records a call whose desktops go into further calls at once.
func (s *sender) noteCall(b *batch, group []*item, call *record.Call) {
	if len(group) > 0 {
		s.write(b, group, call, func(*item) (verdict, bool) { return verdict{}, false }, false)
	}
}

// settleUnknown records the call and leaves its desktops "sending", and claimed for as
// long as the call may still take effect: until then they are read and not sent again,
// by whoever.
func (s *sender) settleUnknown(b *batch, group []*item, call *record.Call) {
	stay := record.Linger{Claim: b.claim, Call: call.ID, For: time.Until(b.leave.Add(s.project.CallTimeout + s.callMargin))}
	stay.Claim.Desktops = idsOf(group)
	if answeredByService(call) {
		stay.For = s.firstLook // what it does it has begun
	}
	w := s.gather(group, call, func(*item) (verdict, bool) { return verdict{}, false })
	s.apply(w, stay)
	// A failover may have lost that they are being sent.
	lost := s.gather(group, nil, func(it *item) (verdict, bool) {
		return verdict{to: tasks.StateSending, attempts: it.desktop.Attempts, note: it.desktop.Note}, true
	})
	for i, its := range lost.members {
		for n, it := range its {
			m := &lost.changes[i].Moves[n]
			m.Desktop, m.CallID, m.Before = it.was, call.ID, it.wasRead
		}
	}
	s.restore(lost)
	for _, it := range group {
		it.settled(s.backoff(it.desktop.Attempts + 1))
	}
}

// answeredByService says that the call came back from the service itself, with whatever
// answer. A gateway that gave up waiting, or a proxy, knows nothing of what goes on
// behind it.
func answeredByService(call *record.Call) bool {
	return call.Answered && call.Code != notAPI && call.Status != http.StatusBadGateway && call.Status != http.StatusGatewayTimeout
}

const (
	// authPause is how long a project rests after the cloud refused its
	// credentials or rights, before one call tries again. IAM locks accounts
	// after wrong passwords, so it is long.
	authPause = 10 * time.Minute
	// foreignPause is how long a project rests after something else than the API
	// answered.
	foreignPause = time.Minute
	// longestThrottle bounds what a Retry-After can ask for.
	longestThrottle = 10 * time.Minute
)

func (s *sender) throttlePause(e apiclient.Error) time.Duration {
	if e.RetryAfter > 0 {
		return min(e.RetryAfter, longestThrottle)
	}
	return s.backoff(s.health.throttled())
}

// closeGate pauses the project for all workers, and says when this one is to
// look at the gate again.
func (s *sender) closeGate(kind tasks.PauseKind, d time.Duration, e apiclient.Error) (recheck time.Duration) {
	reason := strings.TrimSpace(e.Code + " " + e.Message)
	if e.Status != 0 {
		reason = fmt.Sprintf("%d %s", e.Status, reason)
	}
	if e.Host != "" {
		reason += " (answered by " + e.Host + ")"
	}
	if err := s.record.PauseProject(s.ctx, s.project.Alias, kind, d, reason); err != nil {
		s.log.Warn().Err(err).Str("project", s.project.Alias).Msg("the project could not be paused for other workers")
	}
	if kind != tasks.PauseThrottled {
		s.log.Error().Str("project", s.project.Alias).Str("kind", string(kind)).Str("code", e.Code).Int("status", e.Status).Str("host", e.Host).Dur("for", d).
			Msg("the project is paused, as all that is asked of its cloud is refused: correct what the reason says, then run `detachd resume`")
	}
	return min(d, recheckPause)
}

// closeGateIfDown pauses the project when call after call finds the service
// down, so that an outage does not use up the attempts of every desktop.
func (s *sender) closeGateIfDown(e apiclient.Error) (recheck time.Duration) {
	if n := s.health.bad(); n >= downAfter {
		return s.closeGate(tasks.PauseThrottled, s.backoff(n-downAfter+1), e)
	}
	return 0
}

// paused says for how long at least the project's gate stays closed, at most
// recheckPause at a time, so that resuming it takes effect soon. While that
// cannot be read it counts as closed.
func (s *sender) paused(ctx context.Context) time.Duration {
	p, err := s.record.ProjectPause(ctx, s.project.Alias)
	switch {
	case err != nil:
		return recheckPause
	case p == nil:
		return 0
	case p.Until.IsZero():
		return recheckPause
	}
	return min(max(time.Until(p.Until), time.Millisecond), recheckPause)
}
