package worker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// onAnswer records a 200: the cloud accepted every desktop, except those that it lists as
// refused.
func (s *sender) onAnswer(b *batch, group []*item, out outcome) {
	call := out.call
	refused := make(map[string]apiclient.DesktopFailure, len(out.result.Failed))
	for _, f := range out.result.Failed {
		refused[f.DesktopID] = f
	}
	unnamed := slices.IndexFunc(out.result.Unasked, func(f apiclient.DesktopFailure) bool { return f.DesktopID == "" })
	if unnamed >= 0 {
		group, call = s.onUnnamed(b, group, out, refused, out.result.Unasked[unnamed])
	}
	if unasked := out.result.Unasked; len(unasked) > 0 && unnamed < 0 {
		s.log.Warn().Int("entries", len(unasked)).Str("call", call.ID).Str("desktop", unasked[0].DesktopID).
			Msg("the cloud reported failures of desktops that were not in the call; ignored")
	}
	s.settle(b, group, call, func(it *item) transition {
		f, bad := refused[it.desktop.ID]
		if !bad {
			t := transition{to: tasks.StateAccepted, attempts: it.desktop.Attempts}
			if call.JobID != "" {
				t.note = tasks.NoteByJob
			}
			return t
		}
		class := s.rules.Desktop(call.Status, f.Code)
		failure := &tasks.Failure{
			DesktopName: f.DesktopName, Code: cmp.Or(f.Code, tasks.CodeUnknown), Message: f.Message, Class: class, Status: call.Status,
			RequestID: call.RequestID, CallID: call.ID,
		}
		return s.afterFailure(it.job.op, it.desktop, class, failure, it.desktop.Note)
	})
}

// onUnnamed acts on a refusal that does not say of which desktop. In a call for one it is clear.
// Of several, the outcome is unknown for those that are not refused by name: they are read, and those
// that are still attached go on in smaller calls. It returns the desktops whose outcome is known.
func (s *sender) onUnnamed(
	b *batch, group []*item, out outcome, refused map[string]apiclient.DesktopFailure, f apiclient.DesktopFailure,
) (known []*item, recorded *record.Call) {
	var unknown []*item
	for _, it := range group {
		if _, named := refused[it.desktop.ID]; named {
			known = append(known, it)
		} else {
			unknown = append(unknown, it)
		}
	}
	if len(unknown) == 0 {
		return group, out.call
	}
	if len(group) == 1 {
		refused[group[0].desktop.ID] = f
		return group, out.call
	}
	call := *out.call
	call.Code, call.Message = cmp.Or(f.Code, tasks.CodeUnknown), "the cloud refused a desktop without saying which: "+f.Message
	s.log.Warn().Str("call", call.ID).Str("code", call.Code).Int("desktops", len(unknown)).
		Msg("the cloud refused a desktop without saying which; the desktops are read")
	out.call = &call
	s.settleUnknown(b, unknown, out)
	return known, &call
}

// onError acts on a call that was refused or not answered, by its class.
func (s *sender) onError(b *batch, group []*item, out outcome) {
	if undoDenied(group, out.class) {
		s.onUndoDenied(b, group, out)
		return
	}
	b.pause = max(b.pause, s.pauseFor(out.fault))
	switch out.class {
	case tasks.ClassThrottled, tasks.ClassAuth, tasks.ClassPolicy:
		s.giveBack(b, group, out.call)
	case tasks.ClassNotAPI:
		if out.api.Effect == apiclient.EffectPossible {
			s.settleUnknown(b, group, out) // the API may have got it all the same
		} else {
			s.giveBack(b, group, out.call)
		}
	case tasks.ClassConflict, tasks.ClassPoison:
		s.calls.answered() // the service works; a desktop does not
		s.isolate(b, group, out)
	case tasks.ClassLocal:
		s.isolate(b, group, out)
	case tasks.ClassDenied:
		s.calls.answered()
		s.onDenied(b, group, out)
	case tasks.ClassAmbiguous:
		s.settleUnknown(b, group, out)
	default:
		s.settle(b, group, out.call, func(it *item) transition {
			return s.afterFailure(it.job.op, it.desktop, out.class, out.failure(), it.desktop.Note)
		})
	}
}

// onDenied acts on a 403 or 404 that names no desktop: one desktop may have caused it, or it
// concerns the whole project. The batch is split, down to single desktops, while no call
// gets a 200. A desktop that is denied alone fails only if the project got a 200 since it
// was first denied. deniedAfter calls in a row, the last of them for a single desktop,
// pause the project. Neither spends attempts.
func (s *sender) onDenied(b *batch, group []*item, out outcome) {
	if named, _ := split(group, out.api.Culprits()); len(named) > 0 {
		out.class = tasks.ClassPoison
		s.isolate(b, group, out)
		return
	}
	n := s.calls.denied()
	if b.deniedAt.IsZero() {
		b.deniedAt = time.Now()
	}
	if len(group) > 1 {
		s.recordCall(b, group, out.call)
		if n >= deniedAfter-1 {
			b.push(group[:1], group[1:])
		} else {
			b.push(halves(group)...)
		}
		return
	}
	it := group[0]
	since := b.deniedAt
	if it.desktop.Note == tasks.NoteDenied {
		since = it.desktop.UpdatedAt
	}
	switch {
	case s.calls.goodSince(since):
		s.settleFailed(b, group, out, tasks.ClassDenied, tasks.NoteNone)
	case n >= deniedAfter:
		out.api.Message = fmt.Sprintf("%d calls in a row were refused, down to a single desktop (does the IAM user have %s?): %s",
			n, actionOf(group), out.api.Message)
		b.pause = s.pause(tasks.PauseNoRight, authPause, out.api)
		s.giveBack(b, group, out.call)
	default:
		s.settle(b, group, out.call, func(it *item) transition {
			t := it.moveTo(tasks.StateQueued, s.backoff(n))
			t.note, t.failure = tasks.NoteDenied, out.failure()
			t.failure.Attempts, t.failure.At = t.attempts, time.Now()
			return t
		})
	}
}

// actionOf is the IAM action that a call of a group needs.
func actionOf(group []*item) string {
	switch {
	case isUndo(group):
		return "workspace:desktops:attach"
	case group[0].leavers != nil:
		return "workspace:desktops:batchDetach"
	}
	return "workspace:desktops:detach"
}

// isolate finds the desktop that spoils a batch: the one that the error names, or by
// halves. Desktops that are set aside are suspects from now on.
func (s *sender) isolate(b *batch, group []*item, out outcome) {
	bad, rest := split(group, out.api.Culprits())
	switch {
	case len(group) == 1:
		s.settleFailed(b, group, out, out.class, tasks.NoteSuspect)
	case len(bad) > 0:
		s.settleFailed(b, bad, out, out.class, tasks.NoteSuspect)
		s.recordCall(b, rest, out.call)
		b.push(rest)
	case b.calls >= maxIsolationCalls:
		// No desktop is known to be bad: none fails for it, all are retried.
		s.settleFailed(b, group, out, tasks.ClassConflict, tasks.NoteSuspect)
	default:
		s.recordCall(b, group, out.call)
		b.push(halves(group)...)
	}
}

// settleFailed settles items of a call that failed; class decides about another attempt.
func (s *sender) settleFailed(b *batch, items []*item, out outcome, class tasks.Class, note tasks.Note) {
	s.settle(b, items, out.call, func(it *item) transition {
		return s.afterFailure(it.job.op, it.desktop, class, out.failure(), note)
	})
}

// recordCall records a call whose desktops go into further calls at once.
func (s *sender) recordCall(b *batch, group []*item, call *record.Call) {
	if len(group) > 0 {
		s.apply(s.gather(group, call, unmoved))
	}
}

// unmoved leaves every desktop as it is.
func unmoved(*item) (transition, bool) { return transition{}, false }

// requeued queues again what was in an earlier call of its batch, which was refused or did not leave. Left in
// "sending", it would be taken for lost, and spend an attempt.
func requeued(it *item) (transition, bool) {
	return it.moveTo(tasks.StateQueued, 0), it.desktop.State == tasks.StateSending
}

// settleUnknown records a call that may have taken effect. Its desktops stay in "sending", and
// claimed for as long as the call can still take effect: until then they are read and not
// sent again.
func (s *sender) settleUnknown(b *batch, group []*item, out outcome) {
	stay := record.Linger{Claim: b.claim, Call: out.call.ID, For: time.Until(b.leave.Add(s.project.CallTimeout + s.cfg.CallMargin))}
	stay.Claim.Desktops = idsOf(group)
	if out.fromService() {
		stay.For = s.cfg.FirstLook // its effects have begun
	}
	s.apply(s.gather(group, out.call, unmoved), stay)
	// A failover may have lost that they are being sent.
	lost := s.gather(group, nil, func(it *item) (transition, bool) { return it.moveTo(tasks.StateSending, 0), true })
	for i, items := range lost.items {
		for n, it := range items {
			m := &lost.changes[i].Moves[n]
			m.Desktop, m.CallID, m.Before = it.unsent.desktop, out.call.ID, it.unsent.before
		}
	}
	s.restore(lost)
	for _, it := range group {
		it.settled(s.backoff(it.desktop.Attempts + 1))
	}
}
