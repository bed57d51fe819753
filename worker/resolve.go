package worker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker/policy"
)

// maxUnknownDelay is how often desktops with an unknown outcome are read again, at least,
// while the call may still take effect.
const maxUnknownDelay = 5 * time.Second

// resolve settles the desktops of a chunk whose last call has an unknown outcome, by
// reading them. Desktops that read as detached are done, and those on their way are
// accepted, at once. Those still attached are queued again once their claim is over,
// because the call can have no effect after that. It returns the desktops that are queued
// now, and when to retry if the outcome of some is still unknown (0: of none).
func (s *sender) resolve(
	ctx context.Context, op record.Operation, chunk int, unknown []record.Row,
) (queued []record.Row, retryAfter time.Duration, err error) {
	ids := make([]string, len(unknown))
	for i, d := range unknown {
		ids[i] = d.ID
	}
	retryAfter, err = s.claims.withClaim(ctx, ids, func(got claimed) (after time.Duration, err error) {
		reading := s.cfg.Spans.Reading(partsIn(ctx), string(readDesktops), spans.Unknown, s.project.Alias, len(ids))
		read, err := s.reader.read(ctx, ids)
		reading.Read(s.faultOf(err).class)
		if err != nil {
			s.pauseForReading(s.faultOf(err))
			return s.backoff(unknown[0].Attempts + 1), nil
		}
		change := record.Change{Operation: op, Chunk: chunk, By: s.cfg.ID, LookAt: time.Now().Add(s.cfg.FirstLook)}
		calls, err := s.record.CallsNamed(ctx, op.ID, callIDs(unknown)...)
		if err != nil {
			return 0, err
		}
		for i, d := range unknown {
			if refused, is := read[d.ID]; is && refused == nil {
				after = sooner(after, s.backoff(d.Attempts+1)) // nothing is known of it, and the others do not wait for it
				continue
			}
			r := readingOf(op, d, read, true)
			if !got.mine[i] && policy.VerdictOf(r).Unknown == policy.Send {
				after = sooner(after, jitter(min(max(got.free, immediately), maxUnknownDelay)))
			} else {
				change.Moves = append(change.Moves, s.afterUnknown(op, d, r, calls[d.CallID]))
			}
		}
		if len(change.Moves) == 0 {
			return after, nil
		}
		applied, err := s.committer.commit(s.inFlight, []record.Change{change})
		if err != nil {
			return 0, err
		}
		queued = inState(applied[0].Desktops, tasks.StateQueued)
		s.log.Info().Str("operation", op.ID).Int("desktops", len(change.Moves)).Int("still_attached", len(queued)).
			Msg("unknown outcomes were resolved by reading the desktops")
		return after, nil
	})
	// asynq cuts the time of a retry to seconds, so that a shorter delay would be none:
	// the desktops would be read again at every check of the queue.
	if err == nil && len(queued) == 0 && 0 < retryAfter && retryAfter < time.Second && wait(ctx, retryAfter) {
		retryAfter = immediately
	}
	return queued, retryAfter, err
}

// afterUnknown returns what a reading means for a desktop with an unknown outcome.
func (s *shared) afterUnknown(op record.Operation, d record.Row, r policy.Look, call record.Call) record.Move {
	row := policy.VerdictOf(r)
	m := record.Move{Desktop: d, Attempts: d.Attempts, CallID: d.CallID, Note: recordNotes[row.Note], Detail: r.ProofAfterCall()}
	switch {
	case row.Unknown == policy.Done:
		m.To = tasks.StateDetached
	case row.Unknown == policy.Follow:
		m.To = tasks.StateAccepted
	case call.Code == tasks.CodeNotAPI: // it says nothing about the desktop
		m.To, m.Note, m.Failure = tasks.StateQueued, d.Note, unknownFailure(call, r)
		m.Failure.Attempts, m.Failure.At = d.Attempts, time.Now()
	default:
		t := s.afterFailure(op, d, tasks.ClassAmbiguous, unknownFailure(call, r), tasks.NoteSuspect)
		if t.to == tasks.StateQueued && s.calls.isDown() {
			t.note = d.Note // an outage says nothing about this desktop
		}
		m.To, m.Attempts, m.Note, m.Failure = t.to, t.attempts, t.note, t.failure
	}
	return m
}

// unknownFailure describes a call with an unknown outcome whose desktop is still attached.
func unknownFailure(call record.Call, r policy.Look) *tasks.Failure {
	return &tasks.Failure{
		DesktopName: r.ComputerName, Code: cmp.Or(call.Code, tasks.CodeNoReply), Class: tasks.ClassAmbiguous,
		Status: call.Status, RequestID: call.RequestID, CallID: call.ID,
		Message: fmt.Sprintf("%s (the desktop was then read as %s)",
			cmp.Or(call.Message, "no reply was recorded: the worker died during the call"), r.SeenBy()),
	}
}

// callIDs returns the calls that desktops were last in, each once.
func callIDs(ds []record.Row) []string {
	var out []string
	for _, d := range ds {
		if d.CallID != "" && !slices.Contains(out, d.CallID) {
			out = append(out, d.CallID)
		}
	}
	return out
}
