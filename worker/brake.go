package worker

import (
	"context"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// brakes acts when a canary is confirmed or an operation is stopped. The record has already
// let the calls pass or refused them, so an event that is lost here only causes a delay: a
// sweep enqueues what may go on, and the next run of a chunk asks the person.
type brakes struct {
	senders map[string][]*sender // by project
	events  chan brakeEvent
}

type brakeEvent struct {
	op   record.Operation
	what record.BrakeEvent
}

func newBrakes() *brakes {
	return &brakes{senders: map[string][]*sender{}, events: make(chan brakeEvent, 1024)}
}

// note passes on which canaries were confirmed and which operations were stopped by changes.
func (b *brakes) note(changes []record.Change, applied []record.Applied) {
	for i, a := range applied {
		if a.Brake != record.BrakeUnchanged {
			offer(b.events, brakeEvent{changes[i].Operation, a.Brake})
		}
	}
}

// run acts until ctx ends.
func (b *brakes) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-b.events:
			if senders := b.senders[e.op.Project]; len(senders) > 0 {
				senders[0].onBrake(ctx, e, senders)
			}
		}
	}
}

func (s *sender) onBrake(ctx context.Context, e brakeEvent, senders []*sender) {
	if e.what == record.BrakeStopped {
		for _, other := range senders {
			other.lanes.remove(func(it *item) bool { return it.job.op.ID == e.op.ID })
		}
	}
	op, err := s.record.Operation(ctx, e.op.ID)
	switch {
	case err != nil:
	case op.Stopped() != "":
		err = s.askToContinue(ctx, op)
	case e.what == record.CanaryConfirmed:
		if err = s.producer.Continue(ctx, op); err == nil {
			s.log.Info().Str("operation", op.ID).Msg("the first desktops of the operation are confirmed; the others are sent now")
		}
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn().Err(err).Str("operation", e.op.ID).Msg("the brake of an operation could not be acted on; a sweep will")
	}
}

// askToContinue makes an operation that was stopped wait for a person. If nothing of it is
// left to be sent, there is nothing to ask.
func (s *sender) askToContinue(ctx context.Context, op record.Operation) error {
	if op.Done() || op.AwaitsApproval() || op.Counts.Queued == 0 {
		return nil
	}
	codes, err := s.record.StopCodes(ctx, op)
	if err != nil {
		return err
	}
	now := time.Now()
	return s.askApproval(ctx, op, tasks.Clearance{
		Why: op.Stopped(), Codes: codes, AskedAt: now.UTC(), ExpiresAt: now.Add(s.project.ApprovalExpires).UTC(), Desktops: op.Counts.Unsettled(),
		SecondPersonAbove: *s.project.SecondPersonAbove,
	})
}

// canary sends those of a chunk's queued desktops whose turn it is before the first desktops
// of the operation are confirmed. Where one ends without a call, the next takes its turn. It
// returns the desktops that are left once all may be sent. Others have no task until then:
// the confirmation enqueues them.
func (h *handler) canary(
	ctx context.Context, c record.Chunk, queued []record.Row, arrived func(),
) (left []record.Row, after time.Duration, err error) {
	for sent := false; ; sent = true {
		turn, err := h.sender.record.CanaryTurn(ctx, c.Operation)
		if err != nil || !turn.Pending {
			return queued, 0, err
		}
		may, others := turn.Pick(c.Number, queued)
		if len(may) == 0 {
			if sent && turn.Free > 0 && turn.Chunk >= 0 && turn.Chunk != c.Number {
				return nil, 0, h.sender.producer.Continue(ctx, c.Operation)
			}
			return nil, 0, nil
		}
		if after = h.send(ctx, c, may, arrived); after > 0 {
			return nil, after, nil
		}
		queued = others
	}
}
