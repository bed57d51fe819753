package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// Move changes the state of one desktop. It applies only if the desktop is still stored
// exactly as it was read, so a late or repeated write changes nothing.
type Move struct {
	Desktop  Row // as read from the record, or as returned by Apply
	To       tasks.State
	Attempts int
	CallID   string
	Note     tasks.Note
	Failure  *tasks.Failure // replaces the stored refusal; nil keeps it, unless To is Accepted, Detached or Cancelled
	Detail   string         // for the trail: the state that a reading showed; default the failure's code
	Before   *tasks.Before  // for the trail: the reading before the call
}

// ErrIllegalMove refuses a change of state that no desktop may make: a bug in the caller.
var ErrIllegalMove = errors.New("this change of state is not allowed")

// Change is the moves of one chunk's desktops, and the call that they belong to.
type Change struct {
	Operation Operation
	Chunk     int
	Call      *Call // written with the moves; nil: there was none
	Moves     []Move
	By        string    // for the trail: the worker or the person
	LookAt    time.Time // when to poll the desktops that move to Accepted
}

// Applied is the result of a Change.
type Applied struct {
	Desktops []Row // per move: as stored now if it applied, else the zero Row
	Ended    bool  // this change finished the operation's last open work
	Brake    BrakeEvent
}

var scriptApply = script("apply", "brake")

// Extra is written along with changes: a Claim to release, one to Linger, or Looks.
type Extra interface{ call(r *Record) *scriptCall } // nil: nothing

func (c Claim) call(r *Record) *scriptCall { return r.releaseCall(c) }

// Apply writes changes of any number of operations, and extras, in one round trip. An
// illegal move is an error, and then nothing is written.
func (r *Record) Apply(ctx context.Context, now time.Time, changes []Change, extras ...Extra) ([]Applied, error) {
	var calls []*scriptCall
	for _, e := range extras {
		if c := e.call(r); c != nil {
			calls = append(calls, c)
		}
	}
	return r.apply(ctx, now, changes, calls, nil)
}

// Renewed is the result of renewing a claim and of the changes written with it.
type Renewed struct {
	Applied []Applied
	Still   []bool // per desktop whether it is still claimed: once the lease ends another holder may claim it
	Copies  Copies // of both, the claim and the changes

	recall string // the latest
}

// ApplyRenewing writes changes and renews a claim for lease, in one round trip, and
// waits for replicas. A pause of the project, or the stop of all, is a *PausedError: the changes
// are still written and Applied is valid; the caller undoes the moves that it may not continue with.
func (r *Record) ApplyRenewing(
	ctx context.Context, now time.Time, changes []Change, c Claim, lease time.Duration,
) (out Renewed, err error) {
	claim, stopped, recall := r.renewCall(c, lease), r.stopped(), r.latestRecall()
	if out.Applied, err = r.apply(ctx, now, changes, []*scriptCall{claim, stopped, recall}, &out.Copies); err != nil {
		return Renewed{}, err
	}
	if out.recall, err = r.noteRecall(recall.reply); err != nil {
		return Renewed{}, err
	}
	if n, err := stopped.reply.Int(); err != nil || n > 0 {
		return out, errors.Join(err, &PausedError{Project: c.Project})
	}
	out.Still, _, err = claimed(c, claim.reply)
	return out, err
}

// apply writes changes and updates the inbox. It waits for replicas and stores the result
// in copies, unless copies is nil.
func (r *Record) apply(ctx context.Context, now time.Time, changes []Change, others []*scriptCall, copies *Copies) ([]Applied, error) {
	if err := r.announceFailures(ctx, changes); err != nil {
		return nil, err
	}
	var some map[string]*redis.IntCmd
	out, err := r.write(ctx, now, changes, others, func(p redis.Pipeliner) { some = r.inboxesIn(ctx, p, changes) }, copies)
	if err != nil {
		return nil, err
	}
	return out, r.settleFailures(ctx, changes, out, some)
}

// write writes changes, the calls that go with them, and some of the indexes.
func (r *Record) write(
	ctx context.Context, now time.Time, changes []Change, others []*scriptCall, also func(redis.Pipeliner), copies *Copies,
) ([]Applied, error) {
	now = time.UnixMilli(now.UnixMilli()).UTC() // as it is stored
	plans := make([]plan, len(changes))
	calls := make([]*scriptCall, len(changes), len(changes)+len(others))
	polls := map[string][]redis.Z{}
	for i, ch := range changes {
		var err error
		if plans[i], err = planChange(ch, now); err != nil {
			return nil, err
		}
		calls[i] = r.applyCall(ch, plans[i], now)
		if slices.ContainsFunc(ch.Moves, func(m Move) bool { return m.To == tasks.StateAccepted }) {
			key := r.keys.follow(ch.Operation.Project)
			polls[key] = append(polls[key], redis.Z{Score: float64(ch.LookAt.UnixMilli()), Member: followMember(ch.Operation.ID, ch.Chunk)})
		}
	}
	also = withPolls(ctx, polls, also)
	var err error
	if calls = append(calls, others...); copies == nil {
		err = r.runScripts(ctx, calls, also)
	} else {
		var these Copies
		these, err = r.durably(ctx, calls, also)
		*copies = max(*copies, these) // the constants are in order, the worst last
	}
	if err != nil {
		return nil, fmt.Errorf("writing the record: %w", err)
	}
	named := newNameWrites()
	out := make([]Applied, len(changes))
	for i, ch := range changes {
		reply, err := calls[i].reply.Slice()
		if err != nil || len(reply) != 4 {
			return nil, fmt.Errorf("writing the record: unexpected reply %v: %w", reply, err)
		}
		if out[i], err = r.applied(ctx, now, ch, plans[i], reply, copies); err != nil {
			return nil, err
		}
		for n, m := range ch.Moves {
			named.addMove(ch, m, out[i].Desktops[n])
		}
	}
	if len(named.indexWrites) > 0 {
		if err := r.failed.Do(ctx, named); err != nil {
			return nil, fmt.Errorf("writing the record: %w", err)
		}
	}
	return out, nil
}

func withPolls(ctx context.Context, polls map[string][]redis.Z, also func(redis.Pipeliner)) func(redis.Pipeliner) {
	return func(p redis.Pipeliner) {
		for key, zs := range polls {
			p.ZAddArgs(ctx, key, redis.ZAddArgs{LT: true, Members: zs})
		}
		if also != nil {
			also(p)
		}
	}
}

// applied reads a reply. If the common status has changed since it was read, because
// some desktop of the chunk has moved alone, it moves the rest one by one.
func (r *Record) applied(ctx context.Context, now time.Time, ch Change, p plan, reply []any, copies *Copies) (Applied, error) {
	bits, _ := reply[0].(string)
	together, _ := reply[1].(int64)
	ended, _ := reply[2].(int64)
	brake, _ := reply[3].(int64)
	out := Applied{Ended: ended == 1, Brake: BrakeEvent(brake)}
	if together == 1 && len(p.together) == len(ch.Moves) {
		out.Desktops = p.next
		return out, nil
	}
	out.Desktops = make([]Row, len(ch.Moves))
	for n, i := range p.alone {
		if bits[n] == '1' {
			out.Desktops[i] = p.next[i]
		}
	}
	if together == 1 {
		for _, i := range p.together {
			out.Desktops[i] = p.next[i]
		}
		return out, nil
	}
	if len(p.together) == 0 || out.Brake == BrakeStopped && ch.Moves[p.together[0]].To == tasks.StateSending {
		return out, nil
	}
	rest := Change{Operation: ch.Operation, Chunk: ch.Chunk, By: ch.By, LookAt: ch.LookAt}
	for _, i := range p.together {
		m := ch.Moves[i]
		m.Desktop.followers = -1 // so that it is moved alone
		rest.Moves = append(rest.Moves, m)
	}
	again, err := r.write(ctx, now, []Change{rest}, nil, nil, copies)
	if err != nil {
		return Applied{}, err
	}
	for n, i := range p.together {
		out.Desktops[i] = again[0].Desktops[n]
	}
	out.Ended, out.Brake = out.Ended || again[0].Ended, max(out.Brake, again[0].Brake)
	return out, nil
}

// plan says which moves of a Change are written together, by changing the common
// status of the chunk, and which alone.
type plan struct {
	next            []Row  // per move: as stored after it
	alone, together []int  // moves
	common, status  string // the common status as read, and the new one
	followers       int    // how many desktops must share it when it is changed
}

func planChange(ch Change, now time.Time) (plan, error) {
	p := plan{next: make([]Row, len(ch.Moves))}
	sharing := 0                   // moves of desktops that share the common status
	byStatus := map[string][]int{} // those of them that may be written together
	skip := make([]bool, len(ch.Moves))
	status := ""
	for i, m := range ch.Moves {
		if !m.Desktop.State.CanMove(m.To) {
			return p, fmt.Errorf("%w: desktop %s of operation %s, from %s to %s",
				ErrIllegalMove, m.Desktop.ID, ch.Operation.ID, m.Desktop.State, m.To)
		}
		d := &p.next[i]
		*d = m.Desktop
		if m.Before != nil {
			d.pin(*m.Before)
		}
		d.State, d.Attempts, d.CallID, d.UpdatedAt = m.To, m.Attempts, m.CallID, now
		d.Note, d.NoteText = m.Note, m.Note.Text()
		if i == 0 || !sameStatus(d, &p.next[i-1]) {
			status = encodeStatus(d.Desktop)
		}
		d.common, d.followers = status, 0 // until it is known to be written alone
		if m.Desktop.common != "" {
			if p.common == "" {
				p.common = m.Desktop.common
			}
			if p.common != m.Desktop.common {
				skip[i] = true // one of the two readings is out of date
				continue
			}
			sharing++
			if failureArg(m, *d) == "" {
				byStatus[status] = append(byStatus[status], i)
			}
		}
	}
	for status, moves := range byStatus {
		first := ch.Moves[moves[0]].Desktop
		if sharing == first.followers && len(moves) > len(p.together) {
			p.together, p.status, p.followers = moves, status, len(moves)
		}
	}
	for _, i := range p.together {
		p.next[i].followers = p.followers
		skip[i] = true
	}
	for i := range ch.Moves {
		if !skip[i] {
			d := &p.next[i]
			d.stored, d.common = encodePosition(*d)+";"+d.common, ""
			p.alone = append(p.alone, i)
		}
	}
	return p, nil
}

func sameStatus(a, b *Row) bool {
	return a.State == b.State && a.Attempts == b.Attempts && a.CallID == b.CallID && a.Note == b.Note
}

func (r *Record) applyCall(ch Change, p plan, now time.Time) *scriptCall {
	op := ch.Operation.ID
	named := newNameWrites()
	for n, m := range ch.Moves {
		named.addMove(ch, m, p.next[n])
	}
	callID, call := "", ""
	if ch.Call != nil {
		callID, call = ch.Call.ID, encodeCall(*ch.Call)
	}
	args := make([]any, 0, 10+5*len(p.alone))
	args = append(args, now.UnixMilli(), ch.Chunk, callID, call, p.common, p.status, p.followers,
		trailTogether(ch, p), trailHead(ch), named.log(0)[op])
	for _, i := range p.alone {
		m := ch.Moves[i]
		args = append(args, m.Desktop.ID, m.Desktop.stored, p.next[i].stored, failureArg(m, p.next[i]), trailTag(m))
	}
	return &scriptCall{script: scriptApply, args: args, keys: []string{
		r.keys.op(op), r.keys.chunk(op, ch.Chunk), r.keys.open(op), r.keys.calls(op), r.keys.errors(op),
		r.keys.unproven(op), r.keys.trail(op, ch.Chunk), r.keys.logged(op),
	}}
}

func failureArg(m Move, after Row) string {
	switch {
	case m.To == tasks.StateAccepted, m.To == tasks.StateDetached, m.To == tasks.StateCancelled,
		m.To == tasks.StateExpanded, m.To == tasks.StateNoDesktop:
		if m.Desktop.Attempts > 0 || m.Desktop.Note != tasks.NoteNone {
			return "-"
		}
		return "" // no refusal so far, so there is nothing to remove
	case m.Failure != nil:
		f := *m.Failure
		f.Expect = after.Expected()
		return encodeFailure(f, m.To == tasks.StateFailed || m.To == tasks.StateHeld)
	}
	return ""
}
