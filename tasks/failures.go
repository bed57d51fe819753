package tasks

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// failureGroup is what failures are indexed by: one sorted set for each
// project, class and code, so that every filter reads only what it wants.
type failureGroup struct{ project, class, code string }

const groupSep = "|"

func groupOf(project string, f Failure) failureGroup {
	return failureGroup{project, f.Class, f.Code}
}

func (g failureGroup) String() string { return g.project + groupSep + g.class + groupSep + g.code }

// failureMember is how a failed desktop is named in a group.
func failureMember(op, desktop string) string { return op + "/" + desktop }

func formatMS(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func parseGroup(s string) (failureGroup, bool) {
	// The code comes last because it is the cloud's text and may hold anything.
	f := strings.SplitN(s, groupSep, 3)
	if len(f) != 3 {
		return failureGroup{}, false
	}
	return failureGroup{f[0], f[1], f[2]}, true
}

func (r *Record) indexFailures(ctx context.Context, p redis.Pipeliner, failed map[failureGroup][]redis.Z) {
	for g, zs := range failed {
		for batch := range slices.Chunk(zs, 1000) {
			p.ZAdd(ctx, r.keys.failures(g), batch...)
		}
		p.SAdd(ctx, r.keys.failureGroups(), g.String())
	}
}

// FailureFilter says which failures are wanted; empty fields want all.
type FailureFilter struct {
	Project   string    `json:"project,omitempty"`
	Class     string    `json:"class,omitempty"`
	Code      string    `json:"code,omitempty"`
	Operation string    `json:"operation,omitempty"`
	User      string    `json:"user,omitempty"`   // an expected user, or the leaver that the row names
	Source    string    `json:"source,omitempty"` // who asked for the operation
	From      time.Time `json:"from,omitzero"`    // of the failure
	To        time.Time `json:"to,omitzero"`      // not included
}

func (f FailureFilter) group(g failureGroup) bool {
	return (f.Project == "" || f.Project == g.project) &&
		(f.Class == "" || f.Class == g.class) && (f.Code == "" || f.Code == g.code)
}

func (f FailureFilter) match(x Failure) bool {
	return f.group(groupOf(x.Project, x)) && (f.Operation == "" || f.Operation == x.OperationID) &&
		(f.From.IsZero() || !x.At.Before(f.From)) && (f.To.IsZero() || x.At.Before(f.To))
}

// ErrPageToken is for a page token that this program did not give out.
var ErrPageToken = errors.New("the page token is not one that was given out")

// Failures lists desktops that ended failed and were not taken up again, the
// latest first. size is the most that are returned (default 100). An empty next
// means that there are no more.
func (r *Record) Failures(ctx context.Context, f FailureFilter, size int, token string) (out []Failure, next string, err error) {
	if size <= 0 {
		size = 100
	}
	groups, err := r.matchingGroups(ctx, f)
	if err != nil {
		return nil, "", err
	}
	last, err := parseFailureToken(token)
	if err != nil {
		return nil, "", err
	}
	for len(out) < size {
		batch, err := r.failuresAfter(ctx, groups, f, last, size)
		if err != nil {
			return nil, "", err
		}
		if len(batch) == 0 {
			return out, "", nil
		}
		found, err := r.failureDetails(ctx, batch)
		if err != nil {
			return nil, "", err
		}
		for i, x := range found {
			last = batch[i]
			if x == nil || !f.match(*x) {
				continue // taken up again, or expired, since it was indexed
			}
			if out = append(out, *x); len(out) == size {
				break
			}
		}
	}
	return out, last.token(), nil
}

// failureRef is an entry of the index: when, and operation/desktop.
type failureRef struct {
	at     int64
	member string
	group  failureGroup
}

// compareRefs orders the latest first, and by member within a millisecond.
func compareRefs(a, b failureRef) int {
	return cmp.Or(-cmp.Compare(a.at, b.at), -cmp.Compare(a.member, b.member))
}

func (x failureRef) token() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(x.at, 10) + " " + x.member))
}

func parseFailureToken(token string) (failureRef, error) {
	if token == "" {
		return failureRef{at: 1 << 53, member: "\xff"}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	at, member, ok := strings.Cut(string(b), " ")
	ms, err2 := strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil || !ok {
		return failureRef{}, ErrPageToken
	}
	return failureRef{at: ms, member: member}, nil
}

func (r *Record) matchingGroups(ctx context.Context, f FailureFilter) ([]failureGroup, error) {
	names, err := r.rdb.SMembers(ctx, r.keys.failureGroups()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading failures: %w", err)
	}
	var out []failureGroup
	for _, name := range names {
		if g, ok := parseGroup(name); ok && f.group(g) {
			out = append(out, g)
		}
	}
	return out, nil
}

// failuresAfter gives the next n entries after last over all groups.
func (r *Record) failuresAfter(ctx context.Context, groups []failureGroup, f FailureFilter, last failureRef, n int) ([]failureRef, error) {
	low, high := "-inf", strconv.FormatInt(last.at, 10)
	if !f.From.IsZero() {
		low = formatMS(f.From)
	}
	if !f.To.IsZero() && f.To.UnixMilli() <= last.at {
		high = "(" + formatMS(f.To)
	}
	var refs []failureRef
	for _, g := range groups {
		// Entries of the last page's millisecond come again; skip them by
		// member. A bulk may have thousands within one millisecond.
		for offset := int64(0); ; {
			zs, err := r.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
				Key: r.keys.failures(g), Start: high, Stop: low, ByScore: true, Rev: true, Offset: offset, Count: int64(n),
			}).Result()
			if err != nil {
				return nil, fmt.Errorf("reading failures: %w", err)
			}
			found := 0
			for _, z := range zs {
				x := failureRef{int64(z.Score), z.Member.(string), g}
				if compareRefs(last, x) < 0 {
					refs = append(refs, x)
					found++
				}
			}
			if found > 0 || len(zs) < n {
				break
			}
			offset += int64(n)
		}
	}
	slices.SortFunc(refs, compareRefs)
	return refs[:min(n, len(refs))], nil
}

// failureDetails reads each entry's failure; nil where it is no longer one.
func (r *Record) failureDetails(ctx context.Context, refs []failureRef) ([]*Failure, error) {
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, x := range refs {
			op, desktop, _ := strings.Cut(x.member, "/")
			p.HGet(ctx, r.keys.errors(op), desktop)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading failures: %w", err)
	}
	out := make([]*Failure, len(refs))
	for i, cmd := range cmds {
		value, err := cmd.(*redis.StringCmd).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading failures: %w", err)
		}
		op, desktop, _ := strings.Cut(refs[i].member, "/")
		f, final, err := decodeFailure(op, refs[i].group.project, desktop, value)
		if err != nil {
			return nil, err
		}
		if final && groupOf(f.Project, f) == refs[i].group {
			out[i] = &f
		}
	}
	return out, nil
}

// FailureCount is the number of failures of one project, class and code.
type FailureCount struct {
	Project string `json:"project"`
	Class   string `json:"class"`
	Code    string `json:"code"`
	Count   int    `json:"count"`
}

// FailureCounts counts failures by project, class and code, the most first.
func (r *Record) FailureCounts(ctx context.Context, f FailureFilter) ([]FailureCount, error) {
	groups, err := r.matchingGroups(ctx, f)
	if err != nil {
		return nil, err
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, g := range groups {
			p.ZCard(ctx, r.keys.failures(g))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting failures: %w", err)
	}
	var out []FailureCount
	for i, cmd := range cmds {
		if n := int(cmd.(*redis.IntCmd).Val()); n > 0 {
			out = append(out, FailureCount{groups[i].project, groups[i].class, groups[i].code, n})
		}
	}
	slices.SortFunc(out, func(a, b FailureCount) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Project, b.Project), cmp.Compare(a.Code, b.Code))
	})
	return out, nil
}
