package record

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// auditBatch is the largest number of entries that are appended at once.
const auditBatch = 200

// auditLog is what a process knows of the audit log. Only the writer uses it.
type auditLog struct {
	last   string // member of the last entry; it may be out of date
	lastMS int64  // its score
}

// AppendAudit appends an event to the audit log and returns it with its number and its
// hashes. It waits for replicas as an accepted operation does. After an error the entry may
// be in the log. Entries that are appended while others are being written share one round trip.
func (r *Record) AppendAudit(ctx context.Context, e tasks.AuditEvent) (tasks.AuditEvent, error) {
	e.ID = xid.New().String() // so that no two processes can write the same entry
	e, err := asDecoded(e)
	if err == nil {
		err = r.audited.Do(ctx, &e)
	}
	if err != nil {
		return tasks.AuditEvent{}, fmt.Errorf("writing the audit log: %w", err)
	}
	return e, nil
}

// asDecoded is an event as it will be read: JSON replaces invalid UTF-8.
func asDecoded(e tasks.AuditEvent) (out tasks.AuditEvent, err error) {
	err = decodeJSON(mustJSON(e), &out)
	return out, err
}

var scriptAppendAudit = script("append_audit")

// appendAudit appends a batch: compare with the last entry, and set. When another process has
// appended meanwhile, it chains the batch to that entry and tries again.
func (r *Record) appendAudit(ctx context.Context, batch []*tasks.AuditEvent) error {
	l := &r.audit
	fail := func(err error) error {
		l.last, l.lastMS = "", 0
		return err
	}
	for range 1000 { // each conflict means that others have appended
		args, err := l.chain(batch)
		if err != nil {
			return fail(err)
		}
		low := batch[0].At.Add(-r.retention).UnixMilli()
		call := &scriptCall{script: scriptAppendAudit, keys: []string{r.keys.audit()}, args: append([]any{l.last, low}, args...)}
		if _, err := r.durably(ctx, []*scriptCall{call}, nil); err != nil {
			return fail(err)
		}
		there, err := call.reply.StringSlice()
		switch {
		case err != nil:
			return fail(err)
		case len(there) == 0 && len(args) > 0:
			l.lastMS, l.last = args[len(args)-2].(int64), args[len(args)-1].(string)
			return nil
		}
		l.last, l.lastMS = "", 0
		if len(there) == 2 {
			score, err := strconv.ParseFloat(there[1], 64)
			if err != nil {
				return fail(err)
			}
			l.last, l.lastMS = there[0], int64(score)
		}
	}
	return fail(errors.New("other processes wrote all the time"))
}

// chain numbers and chains the events of a batch after the last entry, and returns the scores
// and members to add. The score is the time, but never less than that of the entry before, so
// that the order by score is that of the numbers, whatever the clocks of processes say.
func (l *auditLog) chain(batch []*tasks.AuditEvent) ([]any, error) {
	var last tasks.AuditEvent
	if l.last != "" {
		// Only what every version has: a later one may have written the entry.
		seq, hash, _, _, err := splitAudit(l.last)
		if err != nil {
			return nil, err
		}
		last.Seq, last.Hash = seq, hash
	}
	ms, args := l.lastMS, make([]any, 0, 2*len(batch))
	for _, e := range batch {
		e.Seq, e.At, e.Previous, e.Hash = last.Seq+1, e.At.UTC().Truncate(time.Millisecond), "", ""
		stored := storedAudit(*e)
		e.Previous, e.Hash = last.Hash, trail.LogHash(last.Hash, stored)
		ms = max(ms, e.At.UnixMilli())
		args = append(args, ms, auditPlace(e.Seq)+" "+e.Hash+" "+e.Previous+" "+stored)
		last = *e
	}
	return args, nil
}

// auditPlace begins the member of an entry. Members of one millisecond sort by it.
func auditPlace(seq int64) string { return fmt.Sprintf("%0*d", auditPlaceSize, seq) }

const auditPlaceSize = 16

// splitAudit splits a member: the number, the hash, that of the entry before, and the JSON.
func splitAudit(member string) (seq int64, hash, previous, stored string, err error) {
	parts := strings.SplitN(member, " ", 4)
	if len(parts) == 4 {
		seq, err = strconv.ParseInt(parts[0], 10, 64)
	}
	if len(parts) != 4 || err != nil {
		return 0, "", "", "", fmt.Errorf("the audit log has an entry that begins with %.40q: restore it from a backup", member)
	}
	return seq, parts[1], parts[2], parts[3], nil
}

// decodeAudit reads a member. An entry that was altered so that it cannot be read, or reads
// like another, has no hash then: a list must show all others, and verify must find it.
func decodeAudit(member string) tasks.AuditEvent {
	seq, hash, previous, stored, err := splitAudit(member)
	e := tasks.AuditEvent{}
	if err == nil {
		err = decodeJSON(stored, &e)
	}
	if err != nil {
		return tasks.AuditEvent{Seq: seq, Previous: previous, Detail: "this entry cannot be read"}
	}
	if e.Seq == seq && storedAudit(e) == stored {
		e.Hash, e.Previous = hash, previous
	}
	return e
}

// storedAudit is an entry as stored: its JSON without the hashes.
func storedAudit(e tasks.AuditEvent) string {
	e.Previous, e.Hash = "", ""
	return mustJSON(e)
}

// AuditEntry is an entry for trail.LogCheck.
func AuditEntry(e tasks.AuditEvent) trail.LogEntry {
	return trail.LogEntry{Seq: e.Seq, Stored: storedAudit(e), Previous: e.Previous, Hash: e.Hash}
}

// AuditLog lists entries of the audit log, the latest first, at most size of them. An empty
// next means that there are no more; a page may be short, or empty, before that.
func (r *Record) AuditLog(
	ctx context.Context, f tasks.AuditFilter, size int, token string,
) (out []tasks.AuditEvent, next string, err error) {
	fail := func(err error) ([]tasks.AuditEvent, string, error) {
		return nil, "", fmt.Errorf("reading the audit log: %w", err)
	}
	last, err := parsePlace(token)
	if err != nil {
		return fail(err)
	}
	last = last.before(f.To)
	for read := 0; read < pageEntries; {
		places, ended, err := r.after(ctx, r.keys.audit(), last, min(pageReads, max(size, 100)), earliest(f.From))
		if err != nil {
			return fail(err)
		}
		read += len(places)
		for i, p := range places {
			e := decodeAudit(p.member)
			last = place{at: p.at, member: p.member[:min(len(p.member), auditPlaceSize)]}
			if f.Matches(e) {
				out = append(out, e)
			}
			if len(out) == size && (i+1 < len(places) || !ended) {
				return out, last.token(), nil
			}
		}
		if ended {
			return out, "", nil
		}
	}
	return out, last.token(), nil
}

// expireAudit removes the entries of the audit log whose retention is over, but not the last,
// to which the next one is chained.
func (r *Record) expireAudit(ctx context.Context, now time.Time) error {
	if _, err := r.runScript(ctx, scriptAppendAudit, []string{r.keys.audit()}, "", now.Add(-r.retention).UnixMilli()); err != nil {
		return fmt.Errorf("expiring the audit log: %w", err)
	}
	return nil
}

// Guards reads the guards and limits that a part of the house last started with, by name;
// nil if it never did.
func (r *Record) Guards(ctx context.Context, part string) (map[string]string, error) {
	out, err := r.rdb.HGetAll(ctx, r.keys.guards(part)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the guards of the last start: %w", err)
	}
	return out, nil
}

// SetGuards replaces what Guards reads.
func (r *Record) SetGuards(ctx context.Context, part string, guards map[string]string) error {
	values := make([]string, 0, 2*len(guards))
	for name, value := range guards {
		values = append(values, name, value)
	}
	pipe := r.rdb.TxPipeline()
	pipe.Del(ctx, r.keys.guards(part))
	pipe.HSet(ctx, r.keys.guards(part), values)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("recording the guards of this start: %w", err)
	}
	return nil
}
