package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// DismissRequest asks for desktops to leave the inbox without anything being done
// about them: somebody has looked, and nothing is to be done here.
type DismissRequest struct {
	// Filter says which, what is held included. Leave it empty where Desktops are named.
	Filter FailureFilter
	// Desktops names them, up to MaxDesktops. Those that are not in the inbox are
	// left out.
	Desktops []DesktopRef
	Projects []string // only of these; empty: of all
	By       string   // who dismisses them, up to 255 characters
	Reason   string   // required, up to 1,000 characters
}

func (q DismissRequest) matching() RedriveRequest {
	return RedriveRequest{Filter: q.Filter, Desktops: q.Desktops, Projects: q.Projects, RequestedBy: q.By, Reason: q.Reason}
}

// MatchDismiss counts what Dismiss would dismiss, by project, class and code, and
// writes nothing; it needs no reason. Errors: *ValidationError, ErrTooMany, Redis'.
func (r *Record) MatchDismiss(ctx context.Context, q DismissRequest) ([]FailureCount, error) {
	found, err := r.matchDismiss(ctx, q)
	return countsOf(found), err
}

func (r *Record) matchDismiss(ctx context.Context, q DismissRequest) ([]Failure, error) {
	found, err := r.matchFailures(ctx, q.matching())
	if err != nil {
		return nil, err
	}
	return r.inInbox(ctx, found)
}

// Dismiss takes desktops out of the inbox. Their rows, and the counts of their
// operations, stay as they are; the trail says who dismissed them, and why. They come
// back when they fail anew. It returns how many were dismissed, also with an error;
// repeating it dismisses the rest. Errors: *ValidationError, ErrTooMany, Redis'.
func (r *Record) Dismiss(ctx context.Context, q DismissRequest, now time.Time) (int, error) {
	if strings.TrimSpace(q.Reason) == "" {
		return 0, &ValidationError{Problems: []Problem{{Field: "reason", Message: "is missing: say why nothing is to be done"}}}
	}
	found, err := r.matchDismiss(ctx, q)
	if err != nil {
		return 0, err
	}
	// By operation, so that the trail of each is sealed once.
	slices.SortStableFunc(found, func(a, b Failure) int { return strings.Compare(a.OperationID, b.OperationID) })
	done, waiting := 0, []string{}
	for batch := range slices.Chunk(found, redriveBatch) {
		n, err := r.dismiss(ctx, batch, q, now)
		done += n
		if err != nil {
			return done, err
		}
		last := batch[len(batch)-1].OperationID
		for _, f := range batch {
			if len(waiting) == 0 || waiting[len(waiting)-1] != f.OperationID {
				waiting = append(waiting, f.OperationID)
			}
		}
		if len(waiting) > 1 { // more of the last may follow
			if _, err := r.Finish(ctx, waiting[:len(waiting)-1]); err != nil {
				return done, err
			}
			waiting = []string{last}
		}
	}
	_, err = r.Finish(ctx, waiting)
	return done, err
}

// scriptDismiss adds to a chunk's trail that rows were dismissed which are still as
// they were read.
//
//	KEYS  operation, chunk, trail
//	ARGV  now ms, what the entry says of all (a part of a JSON object), what a move says
//	      of failed ones and of held ones (JSON), then per desktop: desktop, value as
//	      read, common status as read, position
//	Returns a string of 1 and 0 per desktop
var scriptDismiss = redis.NewScript(`
local base = redis.call('HGET', KEYS[2], '') or ''
local common = base:match('^%d+|(.*)$') or ''
local done, places = {}, {F = {}, H = {}}
for i = 5, #ARGV, 4 do
  local value = redis.call('HGET', KEYS[2], ARGV[i])
  local own = value and value:match(';(.)')
  local state = own or common:sub(1,1)
  if value == ARGV[i+1] and (own or common == ARGV[i+2]) and places[state] then
    done[#done+1] = '1'
    table.insert(places[state], ARGV[i+3])
  else
    done[#done+1] = '0'
  end
end
local moves = {}
if #places.F > 0 then moves[#moves+1] = '[' .. ARGV[3] .. ',"' .. table.concat(places.F, ',') .. '"]' end
if #places.H > 0 then moves[#moves+1] = '[' .. ARGV[4] .. ',"' .. table.concat(places.H, ',') .. '"]' end
if #moves > 0 then
  redis.call('HDEL', KEYS[1], 'seal', 'sealing') -- they are about a shorter trail
  redis.call('RPUSH', KEYS[3], '{"t":' .. ARGV[1] .. ARGV[2] .. ',"m":[' .. table.concat(moves, ',') .. ']}')
end
return table.concat(done)
`)

// dismiss writes the trails first: a crash then leaves a desktop in the inbox that is
// dismissed once more, and never one out of it of which no trail tells.
func (r *Record) dismiss(ctx context.Context, found []Failure, q DismissRequest, now time.Time) (int, error) {
	matched := make(map[DesktopRef]time.Time, len(found))
	items := make([]RedriveItem, len(found))
	for i, f := range found {
		items[i].DesktopRef = DesktopRef{f.OperationID, f.DesktopID}
		matched[items[i].DesktopRef] = f.At
	}
	chunks, err := r.locate(ctx, items)
	if err != nil {
		return 0, err
	}
	tag := func(s State) string {
		return mustJSON(string(s) + string(s) + "|" + string(Dismissed) + "|" + q.Reason)
	}
	calls := make([]*scriptCall, 0, len(chunks))
	for i := range chunks {
		c := &chunks[i]
		c.Desktops = slices.DeleteFunc(c.Desktops, func(d Desktop) bool {
			return d.State != Failed && d.State != Held || d.Failure == nil || !d.Failure.At.Equal(matched[DesktopRef{d.OperationID, d.ID}])
		})
		if c.Operation.Done() {
			if err := r.list(ctx, c.Operation); err != nil {
				return 0, fmt.Errorf("dismissing: %w", err)
			}
		}
		op := c.Operation.ID
		args := []any{now.UnixMilli(), trailHead(Change{By: q.By}), tag(Failed), tag(Held)}
		for _, d := range c.Desktops {
			args = append(args, d.ID, d.stored, d.common, d.Position)
		}
		calls = append(calls, &scriptCall{script: scriptDismiss, args: args, keys: []string{r.keys.op(op), r.keys.chunk(op, c.Number), r.keys.trail(op, c.Number)}})
	}
	if len(calls) == 0 {
		return 0, nil
	}
	if err := r.runScripts(ctx, calls, nil); err != nil {
		return 0, fmt.Errorf("dismissing: %w", err)
	}
	writes := inboxWrites{}
	for i, c := range calls {
		bits, err := c.reply.Text()
		if err != nil {
			return 0, fmt.Errorf("dismissing: %w", err)
		}
		for n, d := range chunks[i].Desktops {
			if bits[n] == '1' {
				writes.add(chunks[i].Operation.Project, leave, d.ID, inboxEntry{Operation: d.OperationID, At: d.Failure.At.UnixMilli()})
			}
		}
	}
	left, err := r.writeInbox(ctx, writes, nil)
	n := 0
	for _, bits := range left {
		n += strings.Count(bits, "1")
	}
	return n, err
}
