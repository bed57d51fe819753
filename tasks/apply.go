package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Move takes one desktop from the state in which it was read to another. It
// applies only if the desktop is still stored exactly as it was read, so a late
// or repeated write changes nothing.
type Move struct {
	Desktop  Desktop // as read from the record, or as returned by Apply
	To       State
	Attempts int
	CallID   string
	Note     Note
	Failure  *Failure // replaces what is kept of the last refusal; nil leaves it, unless To is Accepted, Detached or Cancelled
}

// ErrIllegalMove says that there is no such arrow in a desktop's life; the program has a
// mistake.
var ErrIllegalMove = errors.New("a desktop must not be moved so")

// Change is the moves of one chunk's desktops, and the call they belong to.
type Change struct {
	Operation Operation
	Chunk     int
	Call      *Call // written with the moves; nil when there was none
	Moves     []Move
}

// Applied is what became of a Change.
type Applied struct {
	Desktops []Desktop // per move: as stored now if it applied, else the zero Desktop
	Ended    bool      // this change was the operation's last open work
}

// scriptApply moves desktops of one chunk by compare-and-set: some one by one,
// and then, if wanted, all that still share the common status.
//
//	KEYS  operation, chunk, open, calls, errors
//	ARGV  now ms, chunk number, call id or "", call JSON,
//	      common status as read or "", new common status or "" (leave),
//	      how many must share it then, then per desktop moved alone:
//	      desktop, value as read, new value, failure JSON or "" (leave) or "-" (remove)
//	Returns a string of 1 and 0 per desktop moved alone, 1 if the common status
//	      is now as wanted, and 1 if the operation's last open work was done
var scriptApply = redis.NewScript(`
local base = redis.call('HGET', KEYS[2], '') or ''
local count, common = base:match('^(%d+)|(.*)$')
if not common then return {string.rep('0', (#ARGV-7)/4), 0, 0} end -- the operation is gone
count = tonumber(count)
local ids, current = {}, {}
for i = 8, #ARGV, 4 do ids[#ids+1] = ARGV[i] end
if #ids > 0 then current = redis.call('HMGET', KEYS[2], unpack(ids)) end
local set, put, del, delta, left, done = {}, {}, {}, {}, 0, {}
local function open(s) return (s == 'Q' or s == 'S') and 1 or 0 end
local function move(from, to, n)
  if from ~= to then
    delta[from] = (delta[from] or 0) - n
    delta[to] = (delta[to] or 0) + n
    left = left + n * (open(to) - open(from))
  end
end
for n = 1, #ids do
  local i = 8 + (n-1)*4
  local was = ARGV[i+1]:match(';(.)')
  if current[n] == ARGV[i+1] and (was or common == ARGV[5]) then
    done[n] = '1'
    set[#set+1] = ids[n]; set[#set+1] = ARGV[i+2]
    if not was then count = count - 1 end
    move(was or common:sub(1,1), ARGV[i+2]:match(';(.)'), 1)
    if ARGV[i+3] == '-' then del[#del+1] = ids[n]
    elseif ARGV[i+3] ~= '' then put[#put+1] = ids[n]; put[#put+1] = ARGV[i+3] end
  elseif current[n] == ARGV[i+2] then
    done[n] = '1' -- this very write, sent again because its reply was lost
  else
    done[n] = '0'
  end
end
local together = 0
if ARGV[6] ~= '' and count == tonumber(ARGV[7]) then
  if common == ARGV[5] then
    move(common:sub(1,1), ARGV[6]:sub(1,1), count)
    common = ARGV[6]
  end
  if common == ARGV[6] then together = 1 end
end
local now = count .. '|' .. common
if now ~= base then set[#set+1] = ''; set[#set+1] = now end
if #set > 0 then redis.call('HSET', KEYS[2], unpack(set)) end
if #put > 0 then redis.call('HSET', KEYS[5], unpack(put)) end
if #del > 0 then redis.call('HDEL', KEYS[5], unpack(del)) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[4], ARGV[3], ARGV[4]) end
for s, d in pairs(delta) do
  if d ~= 0 then redis.call('HINCRBY', KEYS[1], 'n' .. s, d) end
end
local ended = 0
if left ~= 0 then
  local rest = redis.call('HINCRBY', KEYS[3], ARGV[2], left)
  if rest <= 0 then
    redis.call('HDEL', KEYS[3], ARGV[2])
    if redis.call('EXISTS', KEYS[3]) == 0 then
      redis.call('HSET', KEYS[1], 'ended', ARGV[1])
      ended = 1
    end
  elseif rest == left then
    redis.call('HDEL', KEYS[1], 'ended')
  end
end
return {table.concat(done), together, ended}
`)

// Apply writes changes, of as many operations as there are, and gives claims
// back, in one round trip. An illegal move is an error and nothing is written.
func (r *Record) Apply(ctx context.Context, now time.Time, changes []Change, release ...Claim) ([]Applied, error) {
	calls := make([]*scriptCall, len(release))
	for i, c := range release {
		calls[i] = r.releaseCall(c)
	}
	return r.apply(ctx, now, changes, calls, nil)
}

// ApplyClaiming writes changes and takes a claim, as Claim does, in one round
// trip. With a *PausedError the changes are written all the same, and applied
// is valid; the caller takes back what it may not go on with.
func (r *Record) ApplyClaiming(ctx context.Context, now time.Time, changes []Change, c Claim, lease time.Duration) (applied []Applied, got []bool, err error) {
	claim := r.claimCall(c, lease)
	if applied, err = r.apply(ctx, now, changes, []*scriptCall{claim}, nil); err != nil {
		return nil, nil, err
	}
	got, err = claimed(c, claim.reply)
	return applied, got, err
}

func (r *Record) apply(ctx context.Context, now time.Time, changes []Change, others []*scriptCall, also func(redis.Pipeliner)) ([]Applied, error) {
	now = time.UnixMilli(now.UnixMilli()).UTC() // as it is stored
	plans := make([]plan, len(changes))
	calls := make([]*scriptCall, len(changes), len(changes)+len(others))
	failed := map[failureGroup][]redis.Z{}
	for i, ch := range changes {
		var err error
		if plans[i], err = planChange(ch, now); err != nil {
			return nil, err
		}
		calls[i] = r.applyCall(ch, plans[i], now)
		for _, m := range ch.Moves {
			if m.To == Failed && m.Failure != nil {
				g := groupOf(ch.Operation.Project, *m.Failure)
				failed[g] = append(failed[g], redis.Z{Score: float64(m.Failure.At.UnixMilli()), Member: failureMember(ch.Operation.ID, m.Desktop.ID)})
			}
		}
	}
	err := r.runScripts(ctx, append(calls, others...), func(p redis.Pipeliner) {
		r.indexFailures(ctx, p, failed)
		if also != nil {
			also(p)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("writing the record: %w", err)
	}
	out := make([]Applied, len(changes))
	for i, ch := range changes {
		reply, err := calls[i].reply.Slice()
		if err != nil || len(reply) != 3 {
			return nil, fmt.Errorf("writing the record: unexpected reply %v: %w", reply, err)
		}
		if out[i], err = r.applied(ctx, now, ch, plans[i], reply); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// applied reads a reply. Where the common status was not as read, because some
// desktop of the chunk went its own way since, the rest is moved one by one.
func (r *Record) applied(ctx context.Context, now time.Time, ch Change, p plan, reply []any) (Applied, error) {
	bits, _ := reply[0].(string)
	together, _ := reply[1].(int64)
	ended, _ := reply[2].(int64)
	out := Applied{Desktops: make([]Desktop, len(ch.Moves)), Ended: ended == 1}
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
	if len(p.together) == 0 {
		return out, nil
	}
	rest := Change{Operation: ch.Operation, Chunk: ch.Chunk}
	for _, i := range p.together {
		m := ch.Moves[i]
		m.Desktop.followers = -1 // not together
		rest.Moves = append(rest.Moves, m)
	}
	again, err := r.apply(ctx, now, []Change{rest}, nil, nil)
	if err != nil {
		return Applied{}, err
	}
	for n, i := range p.together {
		out.Desktops[i] = again[0].Desktops[n]
	}
	out.Ended = out.Ended || again[0].Ended
	return out, nil
}

// plan is how a Change is written: which of its moves go together, by changing
// the common status of the chunk, and which alone.
type plan struct {
	next            []Desktop // per move: as stored after it
	alone, together []int     // moves
	common, status  string    // the common status as read, and the new one
	followers       int       // who must share it when it is changed
}

func planChange(ch Change, now time.Time) (plan, error) {
	p := plan{next: make([]Desktop, len(ch.Moves))}
	sharing := 0                   // moves of desktops that share the common status
	byStatus := map[string][]int{} // of those, the ones that may go together
	skip := make([]bool, len(ch.Moves))
	status := ""
	for i, m := range ch.Moves {
		if !m.Desktop.State.CanMove(m.To) {
			return p, fmt.Errorf("%w: desktop %s of operation %s, from %s to %s", ErrIllegalMove, m.Desktop.ID, ch.Operation.ID, m.Desktop.State, m.To)
		}
		d := &p.next[i]
		*d = m.Desktop
		d.State, d.Attempts, d.CallID, d.Note, d.UpdatedAt = m.To, m.Attempts, m.CallID, m.Note, now
		if i == 0 || !sameStatus(d, &p.next[i-1]) {
			status = encodeStatus(*d)
		}
		d.common, d.followers = status, 0 // until it is known to go alone
		if m.Desktop.common != "" {
			if p.common == "" {
				p.common = m.Desktop.common
			}
			if p.common != m.Desktop.common {
				skip[i] = true // one of the two readings is out of date
				continue
			}
			sharing++
			if failureArg(m) == "" {
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

func sameStatus(a, b *Desktop) bool {
	return a.State == b.State && a.Attempts == b.Attempts && a.CallID == b.CallID && a.Note == b.Note
}

func (r *Record) applyCall(ch Change, p plan, now time.Time) *scriptCall {
	op := ch.Operation.ID
	args := make([]any, 0, 7+4*len(p.alone))
	args = append(args, now.UnixMilli(), ch.Chunk)
	if ch.Call != nil {
		args = append(args, ch.Call.ID, encodeCall(*ch.Call))
	} else {
		args = append(args, "", "")
	}
	args = append(args, p.common, p.status, p.followers)
	for _, i := range p.alone {
		m := ch.Moves[i]
		args = append(args, m.Desktop.ID, m.Desktop.stored, p.next[i].stored, failureArg(m))
	}
	return &scriptCall{script: scriptApply, args: args, keys: []string{
		r.keys.op(op), r.keys.chunk(op, ch.Chunk), r.keys.open(op), r.keys.calls(op), r.keys.errors(op),
	}}
}

func failureArg(m Move) string {
	switch {
	case m.To == Accepted, m.To == Detached, m.To == Cancelled:
		if m.Desktop.Attempts > 0 || m.Desktop.Note != NoNote {
			return "-"
		}
		return "" // nothing was refused so far, so there is nothing to remove
	case m.Failure != nil:
		return encodeFailure(*m.Failure, m.To == Failed)
	}
	return ""
}
