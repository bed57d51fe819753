package report

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/detachd/detachd/tasks"
)

// ErrDiffers says that a report and the record say different things: one of the
// two was altered.
var ErrDiffers = errors.New("the report is not what the record says")

// ErrMovedOn says that the operation was worked on since the report was made,
// so that a report in this format cannot be held against the record any more.
var ErrMovedOn = errors.New("the record has gone on since the report was made")

func differs(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDiffers, fmt.Errorf(format, args...))
}

// Compare holds a report that Verify has passed against the record. Without an
// error and with newer 0 the record gives the very same report. With newer more
// than 0, which a JSON report only can have, so many entries were added to the
// trail since, and all that the report has of it is in the record unchanged.
//
// The error is ErrDiffers, ErrRecordAltered where the record contradicts itself,
// ErrMovedOn, or tasks.ErrNotFound where the operation is not in the record (any
// more).
func Compare(ctx context.Context, r *tasks.Record, res Result) (newer int, err error) {
	op, err := r.Operation(ctx, res.Operation)
	if err != nil {
		return 0, err
	}
	now, err := read(ctx, r, op, res.chains)
	if err != nil {
		return 0, err
	}
	switch {
	case now.head == res.Head:
		return 0, same(ctx, r, res)
	case op.Done() && op.Seal == res.Head:
		return 0, altered("the trail of operation %s was sealed with the head %s, which the report has too; now its head is %s",
			op.ID, op.Seal, now.head)
	case res.Format == JSON && now.wrong != nil:
		return 0, now.wrong
	case res.Format == JSON:
		return now.newer, nil
	case !res.Final || !op.Done() || now.lastMS >= res.Made.UnixMilli():
		return 0, fmt.Errorf("operation %s: %w", op.ID, ErrMovedOn)
	}
	return 0, differs("the head of its trail is %s, in the record it is %s", res.Head, now.head)
}

// trails is what the trails of an operation are in the record.
type trails struct {
	head   string
	lastMS int64 // time of the latest entry
	newer  int   // entries that the report does not have
	wrong  error // how the report's chains are not the beginnings of these
}

func read(ctx context.Context, r *tasks.Record, op tasks.Operation, ends []chainEnd) (trails, error) {
	var out trails
	accepted, err := r.Accepted(ctx, op.ID)
	if err != nil {
		return out, err
	}
	var chains []tasks.Chain
	for first := 0; first < op.Chunks(); first += batch {
		es, err := r.Evidence(ctx, op, first, min(first+batch, op.Chunks()))
		if err != nil {
			return out, err
		}
		for _, e := range es {
			chains = append(chains, e.Chain)
			for _, entry := range e.Trail {
				out.lastMS = max(out.lastMS, entry.At.UnixMilli())
			}
			out.newer += len(e.Raw)
			if e.Chunk >= len(ends) {
				continue
			}
			end := ends[e.Chunk]
			out.newer -= end.entries
			chain := tasks.StartChain(accepted, e.Chunk, e.Desktops)
			for _, raw := range e.Raw[:min(end.entries, len(e.Raw))] {
				chain = chain.Add(raw)
			}
			if out.wrong == nil && (end.entries > len(e.Raw) || chain != end.chain) {
				out.wrong = differs("chunk %d has another trail, other rows or another request in the record", e.Chunk)
			}
		}
	}
	if out.wrong == nil && len(ends) > len(chains) {
		out.wrong = differs("it has %d chunks, the record has %d", len(ends), len(chains))
	}
	out.head = tasks.Head(chains)
	return out, nil
}

// same writes the report again and compares the sums.
func same(ctx context.Context, r *tasks.Record, res Result) error {
	sum := sumButLast{hash: sha256.New(), last: len(res.Format.lastLine(res.Sum))}
	if err := Write(ctx, &sum, r, res.Operation, res.Format, res.Made); err != nil {
		return err
	}
	if hex.EncodeToString(sum.hash.Sum(nil)) != res.Sum {
		return differs("the head of the trail is the same in both, but the record gives another report (or another version of detachd does)")
	}
	return nil
}

// sumButLast sums all that is written but for the last bytes.
type sumButLast struct {
	hash hash.Hash
	last int
	kept []byte
}

func (s *sumButLast) Write(p []byte) (int, error) {
	s.kept = append(s.kept, p...)
	if n := len(s.kept) - s.last; n > 0 {
		s.hash.Write(s.kept[:n])
		s.kept = append(s.kept[:0], s.kept[n:]...)
	}
	return len(p), nil
}
