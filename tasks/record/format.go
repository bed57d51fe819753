package record

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// The record has a format. It grows when a program without the change would misread what is
// written with it; a new key or field that such a program ignores does not count. A format is read
// for one release before a release writes it, so that one can always go back by a release.
//
// Format 2: the names of expected users are packed, see packExpect, and the index of desktops has no
// users and computers to be looked up, see findRows.
const (
	formatWritten = 2
	formatRead    = 2 // the newest
)

// formatMember is the member of a sorted set, because its score is raised in one step.
const formatMember = "format"

// FormatError says that a newer program has written the record.
type FormatError struct{ Format int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("the record in Redis has format %d, and this program reads formats up to %d; nothing was changed", e.Format, formatRead)
}

// EnterFormat notes the format that this program writes. Call it before the first write of a
// process that stays. If a newer program has noted one that this one does not read, it changes
// nothing and returns a FormatError.
func (r *Record) EnterFormat(ctx context.Context) error {
	err := r.rdb.ZAddArgs(ctx, r.keys.format(), redis.ZAddArgs{
		GT: true, Members: []redis.Z{{Score: formatWritten, Member: formatMember}},
	}).Err()
	if err != nil {
		return fmt.Errorf("noting the format of the record: %w", err)
	}
	_, err = r.Format(ctx)
	return err
}

// Format returns the newest format that a program has written; 0 if no program noted one. It is a
// FormatError if this program does not read it.
func (r *Record) Format(ctx context.Context) (int, error) {
	score, err := r.rdb.ZScore(ctx, r.keys.format(), formatMember).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("reading the format of the record: %w", err)
	case score > formatRead:
		return int(score), &FormatError{int(score)}
	}
	return int(score), nil
}
