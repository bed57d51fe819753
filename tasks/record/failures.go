package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// failureGroup is one list of the inbox. There is a sorted set for each project, class
// and code, so that a filter reads only matching groups.
type failureGroup struct {
	project string
	class   tasks.Class
	code    string
}

const groupSep = "|"

func groupOf(project string, f tasks.Failure) failureGroup {
	return failureGroup{project, f.Class, f.Code}
}

func (g failureGroup) String() string {
	return g.project + groupSep + string(g.class) + groupSep + g.code
}

// failureMember is the name of a failed desktop in a group.
func failureMember(op, desktop string) string { return op + "/" + desktop }

func formatMS(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func parseGroup(s string) (failureGroup, bool) {
	// The code comes last because it is text of the cloud and may contain the separator.
	f := strings.SplitN(s, groupSep, 3)
	if len(f) != 3 {
		return failureGroup{}, false
	}
	return failureGroup{f[0], tasks.Class(f[1]), f[2]}, true
}

func (g failureGroup) matches(f tasks.FailureFilter) bool {
	return (f.Project == "" || f.Project == g.project) &&
		(f.Class == "" || f.Class == g.class) && (f.Code == "" || f.Code == g.code)
}

// matchesFailure ignores Source, which a failure does not have.
func matchesFailure(f tasks.FailureFilter, x tasks.Failure) bool {
	return groupOf(x.Project, x).matches(f) && (f.Operation == "" || f.Operation == x.OperationID) && namesUser(f, x) &&
		(f.From.IsZero() || !x.At.Before(f.From)) && (f.To.IsZero() || x.At.Before(f.To))
}

func namesUser(f tasks.FailureFilter, x tasks.Failure) bool {
	if f.User == "" {
		return true
	}
	name := foldName(f.User)
	row, isUser := tasks.UserOf(x.DesktopID)
	return isUser && foldName(row) == name || slices.ContainsFunc(x.Expect, func(s string) bool { return foldName(s) == name })
}

// Failures lists the inbox, each desktop once for the same users, the latest failure
// first; with Operation or User by operation, the latest first, in the order of the
// request. It does not list a failed row that was dismissed, or whose desktop another
// operation has since detached, or has since failed for; Desktops lists all rows.
//
// size limits the page (default 100). A page takes a bounded time: if few failures match
// it is short, or empty. An empty next marks the last page.
func (r *Record) Failures(
	ctx context.Context, f tasks.FailureFilter, size int, token string,
) (out []tasks.Failure, next string, err error) {
	if size <= 0 {
		size = 100
	}
	switch {
	case f.Operation != "":
		return r.failuresOf(ctx, f, size, token)
	case f.User != "":
		return r.failuresOfUser(ctx, f, size, token)
	}
	last, err := parsePlace(token)
	if err != nil {
		return nil, "", err
	}
	w, err := r.walkFailures(ctx, f, last, size)
	if err != nil {
		return nil, "", err
	}
	for seen, read := 0, 0; seen < max(size, pageEntries); {
		batch, err := w.next(ctx, max(size, pageReads))
		if err != nil {
			return nil, "", err
		}
		if len(batch) == 0 {
			return out, "", nil
		}
		seen += len(batch)
		for part := range slices.Chunk(batch, size) {
			if read >= max(size, pageReads) {
				return out, last.token(), nil
			}
			read += len(part)
			found, err := r.failureDetails(ctx, part)
			if err != nil {
				return nil, "", err
			}
			for i, x := range found {
				last = part[i].place
				if x == nil || !matchesFailure(f, *x) {
					continue // retried, or expired, since it was indexed
				}
				if out = append(out, *x); len(out) == size {
					return out, last.token(), nil
				}
			}
		}
		last = batch[len(batch)-1].place
	}
	return out, last.token(), nil
}

// failuresOf reads the failures of one operation, from its rows.
func (r *Record) failuresOf(ctx context.Context, f tasks.FailureFilter, size int, token string) ([]tasks.Failure, string, error) {
	op, err := r.Operation(ctx, f.Operation)
	if errors.Is(err, tasks.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil || f.Project != "" && f.Project != op.Project || f.Source != "" && f.Source != op.RequestedBy {
		return nil, "", err
	}
	failed := []tasks.State{tasks.StateFailed, tasks.StateHeld}
	rows, next, err := r.Desktops(ctx, op, tasks.DesktopFilter{States: failed, Code: f.Code}, size, token)
	if err != nil {
		return nil, "", err
	}
	var out []tasks.Failure
	for _, d := range rows {
		if d.Failure != nil && matchesFailure(f, *d.Failure) {
			out = append(out, *d.Failure)
		}
	}
	out, err = r.inInbox(ctx, out)
	return out, next, err
}

// failureRef is an entry of a group: its time, and operation/desktop.
type failureRef struct {
	place
	group failureGroup
}

// failureWalk goes through the entries of some groups, the latest first.
type failureWalk struct {
	r      *Record
	filter tasks.FailureFilter
	groups []*groupWalk
}

type groupWalk struct {
	group failureGroup
	last  place
	n     int     // how many to read next
	ahead []place // read, but not returned yet
	ended bool    // everything was read
}

func (r *Record) walkFailures(ctx context.Context, f tasks.FailureFilter, last place, size int) (*failureWalk, error) {
	groups, err := r.matchingGroups(ctx, f)
	if err != nil {
		return nil, err
	}
	w := &failureWalk{r: r, filter: f}
	for _, g := range groups {
		w.groups = append(w.groups, &groupWalk{group: g, last: last.before(f.To), n: max(16, 2*size/len(groups))})
	}
	return w, nil
}

// next returns up to n entries; none at the end.
func (w *failureWalk) next(ctx context.Context, n int) ([]failureRef, error) {
	var out []failureRef
	for len(out) < n {
		if err := w.fill(ctx); err != nil {
			return nil, fmt.Errorf("reading failures: %w", err)
		}
		var first *groupWalk
		for _, g := range w.groups {
			if len(g.ahead) > 0 && (first == nil || comparePlaces(g.ahead[0], first.ahead[0]) < 0) {
				first = g
			}
		}
		if first == nil {
			break
		}
		out = append(out, failureRef{first.ahead[0], first.group})
		first.ahead = first.ahead[1:]
	}
	return out, nil
}

// fill reads more of every group that has nothing ahead, in one round trip.
func (w *failureWalk) fill(ctx context.Context) error {
	var of []*groupWalk
	for _, g := range w.groups {
		if len(g.ahead) == 0 && !g.ended {
			of = append(of, g)
		}
	}
	if len(of) == 0 {
		return nil
	}
	read := w.read
	if w.filter.Source != "" {
		read = w.readBy
	}
	if err := read(ctx, of); err != nil {
		return err
	}
	for _, g := range of {
		if len(g.ahead) > 0 {
			g.last = g.ahead[len(g.ahead)-1]
		}
		g.n = min(2*g.n, pageReads)
	}
	return nil
}

func (w *failureWalk) read(ctx context.Context, of []*groupWalk) error {
	calls := make([]*scriptCall, len(of))
	for i, g := range of {
		calls[i] = w.r.afterCall(w.r.keys.failures(g.group), g.last, g.n)
	}
	if err := w.r.runScripts(ctx, calls, nil); err != nil {
		return err
	}
	for i, g := range of {
		var err error
		if g.ahead, g.ended, err = placesOf(calls[i], g.n, earliest(w.filter.From)); err != nil {
			return err
		}
	}
	return nil
}

// matchingGroups returns the groups of a filter; if it names a requester, they can be read by requester.
func (r *Record) matchingGroups(ctx context.Context, f tasks.FailureFilter) ([]failureGroup, error) {
	names, err := r.rdb.SMembers(ctx, r.keys.failureGroups()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading failures: %w", err)
	}
	var out []failureGroup
	for _, name := range names {
		if g, ok := parseGroup(name); ok && g.matches(f) {
			out = append(out, g)
		}
	}
	if f.Source != "" {
		return out, r.completeBy(ctx, out)
	}
	return out, nil
}

// failureDetails reads each entry's failure; nil if it is no longer in that group.
func (r *Record) failureDetails(ctx context.Context, refs []failureRef) ([]*tasks.Failure, error) {
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
	out := make([]*tasks.Failure, len(refs))
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

// FailureCounts counts what Failures lists with the same filter, by project, class and
// code, the largest count first. With Operation or User it reads the failures; without
// them it counts index entries, which may include one that was just retried.
func (r *Record) FailureCounts(ctx context.Context, f tasks.FailureFilter) ([]tasks.FailureCount, error) {
	counts := map[failureGroup]int{}
	var err error
	switch {
	case f.Operation != "" || f.User != "":
		err = r.countListed(ctx, f, counts)
	default:
		err = r.countIndex(ctx, f, counts)
	}
	if err != nil {
		return nil, err
	}
	return sortedCounts(counts), nil
}

func sortedCounts(counts map[failureGroup]int) []tasks.FailureCount {
	var out []tasks.FailureCount
	for g, n := range counts {
		if n > 0 {
			out = append(out, tasks.FailureCount{Project: g.project, Class: g.class, Code: g.code, Count: n})
		}
	}
	slices.SortFunc(out, func(a, b tasks.FailureCount) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Project, b.Project),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Class, b.Class))
	})
	return out
}

func (r *Record) countListed(ctx context.Context, f tasks.FailureFilter, counts map[failureGroup]int) error {
	for token := ""; ; {
		page, next, err := r.Failures(ctx, f, pageReads, token)
		if err != nil {
			return err
		}
		for _, x := range page {
			counts[groupOf(x.Project, x)]++
		}
		if next == "" {
			return nil
		}
		token = next
	}
}

// scoresOf is the range of scores in the failure groups that the filter asks for.
func scoresOf(f tasks.FailureFilter) (low, high string) {
	low, high = "-inf", "+inf"
	if !f.From.IsZero() {
		low = strconv.FormatInt(ceilMS(f.From), 10)
	}
	if !f.To.IsZero() {
		high = "(" + strconv.FormatInt(ceilMS(f.To), 10)
	}
	return low, high
}

func (r *Record) countIndex(ctx context.Context, f tasks.FailureFilter, counts map[failureGroup]int) error {
	groups, err := r.matchingGroups(ctx, f)
	if err != nil {
		return err
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, g := range groups {
			if f.Source != "" {
				low, high := rangeBy(f)
				p.ZLexCount(ctx, r.keys.failuresBy(g), low, high)
			} else {
				low, high := scoresOf(f)
				p.ZCount(ctx, r.keys.failures(g), low, high)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("counting failures: %w", err)
	}
	for i, cmd := range cmds {
		counts[groups[i]] = int(cmd.(*redis.IntCmd).Val())
	}
	return nil
}
