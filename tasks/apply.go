package tasks

import (
	"context"
	"fmt"
	"sort"
	"strconv"
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

// scriptApply moves desktops of one chunk by compare-and-set.
//
//	KEYS  operation, chunk, open, calls, errors
//	ARGV  now ms, chunk number, call id or "", call JSON, then per move:
//	      desktop, value as read, new value, failure JSON or "" (leave) or "-" (remove)
//	Returns a string of 1 and 0 per move, and 1 if the operation's last open
//	      work was done by it
var scriptApply = redis.NewScript(`
local ids = {}
for i = 5, #ARGV, 4 do ids[#ids+1] = ARGV[i] end
local current = {}
if #ids > 0 then current = redis.call('HMGET', KEYS[2], unpack(ids)) end
local set, put, del, delta, left, done = {}, {}, {}, {}, 0, {}
local function open(s) return (s == 'Q' or s == 'S') and 1 or 0 end
for n = 1, #ids do
  local i = 5 + (n-1)*4
  if current[n] == ARGV[i+1] then
    done[n] = '1'
    set[#set+1] = ids[n]; set[#set+1] = ARGV[i+2]
    local from, to = ARGV[i+1]:sub(1,1), ARGV[i+2]:sub(1,1)
    if from ~= to then
      delta[from] = (delta[from] or 0) - 1
      delta[to] = (delta[to] or 0) + 1
      left = left + open(to) - open(from)
    end
    if ARGV[i+3] == '-' then del[#del+1] = ids[n]
    elseif ARGV[i+3] ~= '' then put[#put+1] = ids[n]; put[#put+1] = ARGV[i+3] end
  elseif current[n] == ARGV[i+2] then
    done[n] = '1' -- this very write, sent again because its reply was lost
  else
    done[n] = '0'
  end
end
if #set > 0 then redis.call('HSET', KEYS[2], unpack(set)) end
if #put > 0 then redis.call('HSET', KEYS[5], unpack(put)) end
if #del > 0 then redis.call('HDEL', KEYS[5], unpack(del)) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[4], ARGV[3], ARGV[4]) end
for s, d in pairs(delta) do
  if d ~= 0 then redis.call('HINCRBY', KEYS[1], 'n' .. s, d) end
end
local ended = 0
if left ~= 0 then
  local now = redis.call('HINCRBY', KEYS[3], ARGV[2], left)
  if now <= 0 then
    redis.call('HDEL', KEYS[3], ARGV[2])
    if redis.call('EXISTS', KEYS[3]) == 0 then
      redis.call('HSET', KEYS[1], 'ended', ARGV[1])
      ended = 1
    end
  elseif now == left then
    redis.call('HDEL', KEYS[1], 'ended')
  end
end
return {table.concat(done), ended}
`)

// Apply writes changes, of as many operations as there are, and gives claims
// back, in one round trip. An illegal move is an error and nothing is written.
func (r *Record) Apply(ctx context.Context, now time.Time, changes []Change, release ...Claim) ([]Applied, error) {
	return r.apply(ctx, now, changes, release, nil)
}

func (r *Record) apply(ctx context.Context, now time.Time, changes []Change, release []Claim, also func(redis.Pipeliner)) ([]Applied, error) {
	calls := make([]*scriptCall, len(changes), len(changes)+len(release))
	next := make([][]Desktop, len(changes))
	failed := map[failureGroup][]redis.Z{}
	for i, ch := range changes {
		op := ch.Operation.ID
		args := make([]any, 0, 4+4*len(ch.Moves))
		args = append(args, now.UnixMilli(), ch.Chunk)
		if ch.Call != nil {
			args = append(args, ch.Call.ID, encodeCall(*ch.Call))
		} else {
			args = append(args, "", "")
		}
		for _, m := range ch.Moves {
			if !m.Desktop.State.CanMove(m.To) {
				return nil, fmt.Errorf("desktop %s of operation %s: %s must not become %s", m.Desktop.ID, op, m.Desktop.State, m.To)
			}
			d := m.Desktop
			d.State, d.Attempts, d.CallID, d.Note, d.UpdatedAt = m.To, m.Attempts, m.CallID, m.Note, now
			d.value = encodeDesktop(d)
			d.UpdatedAt = time.UnixMilli(now.UnixMilli()).UTC()
			next[i] = append(next[i], d)
			args = append(args, d.ID, m.Desktop.value, d.value, failureArg(m))
			if m.To == Failed && m.Failure != nil {
				g := groupOf(ch.Operation.Project, *m.Failure)
				failed[g] = append(failed[g], redis.Z{Score: float64(m.Failure.At.UnixMilli()), Member: failureMember(op, d.ID)})
			}
		}
		calls[i] = &scriptCall{script: scriptApply, args: args, keys: []string{
			r.keys.op(op), r.keys.chunk(op, ch.Chunk), r.keys.open(op), r.keys.calls(op), r.keys.errors(op),
		}}
	}
	for _, c := range release {
		calls = append(calls, r.releaseCall(c))
	}
	err := r.runScripts(ctx, calls, func(p redis.Pipeliner) {
		r.indexFailures(ctx, p, failed)
		if also != nil {
			also(p)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("writing the record: %w", err)
	}
	out := make([]Applied, len(changes))
	for i, c := range calls[:len(changes)] {
		reply, err := c.reply.Slice()
		if err != nil || len(reply) != 2 {
			return nil, fmt.Errorf("writing the record: unexpected reply %v: %w", reply, err)
		}
		bits, _ := reply[0].(string)
		ended, _ := reply[1].(int64)
		out[i] = Applied{Desktops: next[i], Ended: ended == 1}
		for n := range next[i] {
			if bits[n] != '1' {
				next[i][n] = Desktop{}
			}
		}
	}
	return out, nil
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

// Finish closes those of the given operations whose last open work is done, and
// returns them: their failures are indexed once more, whole, which mends an
// index that a crash left short, and they leave the list of open operations.
// Harmless to repeat.
func (r *Record) Finish(ctx context.Context, ids []string) ([]Operation, error) {
	ops, err := r.operations(ctx, ids)
	if err != nil {
		return nil, err
	}
	var ended []Operation
	failed := map[failureGroup][]redis.Z{}
	for _, op := range ops {
		if !op.Done() {
			continue
		}
		ended = append(ended, op)
		if op.Counts.Failed > 0 {
			if err := r.collectFailures(ctx, op, failed); err != nil {
				return nil, err
			}
		}
	}
	if len(ended) == 0 {
		return nil, nil
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		r.indexFailures(ctx, p, failed)
		for _, op := range ended {
			p.ZAdd(ctx, r.keys.endedOps(), redis.Z{Score: float64(op.EndedAt.UnixMilli()), Member: op.ID})
			p.ZRem(ctx, r.keys.openOps(), op.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("finishing %d operations: %w", len(ended), err)
	}
	return ended, nil
}

func (r *Record) collectFailures(ctx context.Context, op Operation, into map[failureGroup][]redis.Z) error {
	all, err := r.rdb.HGetAll(ctx, r.keys.errors(op.ID)).Result()
	if err != nil {
		return fmt.Errorf("finishing operation %s: %w", op.ID, err)
	}
	for id, value := range all {
		f, final, err := decodeFailure(op.ID, op.Project, id, value)
		if err != nil {
			return err
		}
		if final {
			g := groupOf(op.Project, f)
			into[g] = append(into[g], redis.Z{Score: float64(f.At.UnixMilli()), Member: failureMember(op.ID, id)})
		}
	}
	return nil
}

// Cancel takes back what has not been sent: queued and held desktops become
// cancelled. tooLate counts those that were sent, or had ended, before.
func (r *Record) Cancel(ctx context.Context, op Operation, now time.Time) (cancelled, tooLate int, err error) {
	for n := range chunksOf(op.Total) {
		// What is being sent at this moment may come back to queued; a second
		// look catches what moved between reading and writing.
		for range 2 {
			c, err := r.Chunk(ctx, op.ID, n)
			if err != nil {
				return cancelled, tooLate, err
			}
			ch := Change{Operation: op, Chunk: n}
			for _, d := range c.Desktops {
				if d.State.CanMove(Cancelled) {
					ch.Moves = append(ch.Moves, Move{Desktop: d, To: Cancelled, Attempts: d.Attempts, CallID: d.CallID})
				}
			}
			if len(ch.Moves) == 0 {
				break
			}
			done, err := r.Apply(ctx, now, []Change{ch})
			if err != nil {
				return cancelled, tooLate, err
			}
			for _, d := range done[0].Desktops {
				if d.ID != "" {
					cancelled++
				}
			}
			if done[0].Ended {
				if _, err := r.Finish(ctx, []string{op.ID}); err != nil {
					return cancelled, tooLate, err
				}
			}
		}
	}
	after, err := r.Operation(ctx, op.ID)
	return cancelled, after.Total - after.Counts.Cancelled, err
}

func chunksOf(total int) int { return (total + ChunkSize - 1) / ChunkSize }

// Places gives the places in the request of desktops of one operation,
// ascending, for Call.Desktops.
func Places(ds []Desktop) []Range {
	places := make([]int, len(ds))
	for i, d := range ds {
		places[i] = d.Chunk*ChunkSize + d.Position
	}
	sort.Ints(places)
	return Ranges(places)
}

// failureMember is how a failed desktop is named in an index.
func failureMember(op, desktop string) string { return op + "/" + desktop }

func formatMS(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
