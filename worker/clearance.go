package worker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

const (
	// fleetAge is how long the number of a project's assigned desktops is used.
	fleetAge = 10 * time.Minute
	// lookUpsDelay is how long the desktops of an operation wait for its look-ups.
	lookUpsDelay = time.Second
	// clearedFor is how long a worker remembers that an operation is in the window, so
	// that its many chunks ask once. The record remembers it for the window.
	clearedFor = time.Minute
)

// clearance decides whether the calls of a project's operations may begin.
type clearance struct {
	mu      sync.Mutex
	cleared map[string]inWindow // by operation

	fleetMu  sync.Mutex
	assigned int
	readAt   time.Time
}

// inWindow says what an operation in the window had asked for, and until when that is trusted.
type inWindow struct {
	asked int
	until time.Time
}

// clear reports whether the calls of an operation may begin; after > 0: ask again then. If
// neither, the operation waits for a person or is over. Every run of a chunk asks, however
// the operation was enqueued. It updates op.
func (s *sender) clear(ctx context.Context, op *record.Operation) (cleared bool, after time.Duration, err error) {
	if !s.clearance.knows(*op, time.Now()) || op.AwaitsApproval() || op.Stopped() != "" {
		if cleared, after, err = s.clearWindow(ctx, op); err != nil || !cleared {
			return false, after, err
		}
	}
	if op.UndoOf == "" { // an undo is the emergency: it does not wait for a canary
		if *op, err = s.record.Brake(ctx, *op, *s.project.Canary, *s.project.StopLoss); err != nil {
			return false, 0, err
		}
	}
	if op.Stopped() != "" {
		return false, 0, s.askToContinue(ctx, *op)
	}
	if op.Chunks() > 1 {
		s.clearance.note(*op, time.Now())
	}
	return true, 0, nil
}

// clearWindow reports whether an operation is in the window, and nobody has to be asked.
func (s *sender) clearWindow(ctx context.Context, p *record.Operation) (cleared bool, after time.Duration, err error) {
	if p.AwaitsApproval() { // if it was approved since, the rows in hand may lack the pins of the approval
		return s.expireIfOver(ctx, *p)
	}
	if *p, after, err = s.lookedUp(ctx, *p); err != nil || after > 0 {
		return false, after, err
	}
	op, limit, now := *p, *s.project.Limit, time.Now()
	approved := false
	if c := op.Clearance; c != nil {
		switch c.State {
		case tasks.ClearanceWaiting:
			return s.expireIfOver(ctx, op)
		case tasks.ClearanceRejected, tasks.ClearanceExpired: // the process that rejected it died
			_, _, err := s.record.Cancel(ctx, op, now, c.DecidedBy)
			return false, 0, err
		}
		approved = c.Why == tasks.WhyLimit && now.Sub(c.DecidedAt) < limit.Window
	}
	if op.UndoOf != "" {
		return s.clearUndo(ctx, op, now)
	}
	asks := op.Counts.Unsettled()
	allowed := limit.Allowed(0)
	if approved {
		allowed = -1
	}
	usage, err := s.record.Reserve(ctx, op, asks, allowed, limit.Window)
	if err != nil {
		return false, 0, err
	}
	if !usage.Cleared && limit.DependsOnFleet(usage.Project+asks) {
		assigned, err := s.assigned(ctx)
		if err != nil {
			s.log.Warn().Err(err).Str("operation", op.ID).
				Msg("nothing is sent: whether the operation exceeds the limit depends on the assigned desktops, which could not be counted; retrying")
			s.pauseForReading(s.faultOf(err))
			return false, s.backoff(3), nil
		}
		allowed = limit.Allowed(assigned)
		if usage, err = s.record.Reserve(ctx, op, asks, allowed, limit.Window); err != nil {
			return false, 0, err
		}
	}
	if usage.Cleared {
		return true, 0, nil
	}
	return false, 0, s.askApproval(ctx, op, tasks.Clearance{
		Why: tasks.WhyLimit, AskedAt: now.UTC(), ExpiresAt: now.Add(s.project.ApprovalExpires).UTC(), Desktops: asks, Used: usage.Project,
		UsedBySource: usage.BySource, Assigned: s.clearance.counted(), Allowed: allowed, WindowS: int(limit.Window.Seconds()),
		SecondPersonAbove: *s.project.SecondPersonAbove,
	})
}

// expireIfOver cancels an operation that waits once the time for an answer is over. Until then there
// is nothing to do: an approval enqueues its chunks again.
func (s *sender) expireIfOver(ctx context.Context, op record.Operation) (cleared bool, after time.Duration, err error) {
	if time.Now().Before(op.Clearance.ExpiresAt) {
		return false, 0, nil
	}
	_, err = s.producer.ExpireApproval(ctx, op, s.cfg.ID)
	if errors.Is(err, tasks.ErrNotWaiting) {
		return false, immediately, nil
	}
	return false, 0, err
}

// lookedUp returns the operation as it is once its users and computers were looked up: only
// then is it known how many desktops it asks for.
func (s *sender) lookedUp(ctx context.Context, op record.Operation) (_ record.Operation, after time.Duration, err error) {
	if op.Users+op.Computers == 0 {
		return op, 0, nil
	}
	left, err := s.record.LookUpsLeft(ctx, op)
	if err != nil {
		return op, 0, err
	}
	if left {
		return op, lookUpsDelay, nil
	}
	op, err = s.record.Operation(ctx, op.ID)
	return op, 0, err
}

func (s *sender) askApproval(ctx context.Context, op record.Operation, c tasks.Clearance) error {
	asked, err := s.record.AskApproval(ctx, op, c)
	if err != nil || !asked {
		return err
	}
	s.log.Warn().Str("operation", op.ID).Str("why", string(c.Why)).
		Str("requested_by", op.RequestedBy).Str("ticket", op.Ticket).
		Int("desktops", c.Desktops).Int("used", c.Used).Int("used_by_source", c.UsedBySource).
		Int("allowed", c.Allowed).Int("assigned", c.Assigned).
		Bool("second_person", c.NeedsSecondPerson()).Time("expires_at", c.ExpiresAt).
		Interface("codes", c.Codes).Msg("an operation waits for approval, and nothing more of it is sent: " + c.Question())
	return nil
}

// assigned counts the desktops of the project that have a user; the count is up to fleetAge
// old.
func (s *sender) assigned(ctx context.Context) (int, error) {
	c := s.clearance
	c.fleetMu.Lock()
	defer c.fleetMu.Unlock()
	if !c.readAt.IsZero() && time.Since(c.readAt) < fleetAge {
		return c.assigned, nil
	}
	if err := s.limit.acquire(ctx, readRequest, s.priority); err != nil {
		return 0, err
	}
	begun := time.Now()
	n, err := s.project.API.CountAssigned(ctx)
	s.reportReading(readFleet, 0, begun, err)
	if err != nil {
		return 0, err
	}
	c.assigned, c.readAt = n, begun
	return n, nil
}

func (c *clearance) counted() int {
	c.fleetMu.Lock()
	defer c.fleetMu.Unlock()
	return c.assigned
}

func (c *clearance) knows(op record.Operation, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.cleared[op.ID]
	return now.Before(known.until) && op.Asked() <= known.asked
}

func (c *clearance) note(op record.Operation, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.cleared, func(_ string, k inWindow) bool { return now.After(k.until) })
	c.cleared[op.ID] = inWindow{op.Asked(), now.Add(clearedFor)}
}
