package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// MatchDismiss counts the desktops that Dismiss would dismiss, by project, class and
// code. It writes nothing and needs no reason. Errors: *ValidationError, Redis'.
func (r *Record) MatchDismiss(ctx context.Context, q tasks.DismissRequest) ([]tasks.FailureCount, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if len(q.Desktops) > 0 {
		found, err := r.named(ctx, q)
		return countsOf(found), err
	}
	var out []tasks.FailureCount
	for _, f := range filtersOf(q, time.Time{}) {
		counts, err := r.FailureCounts(ctx, f)
		if err != nil {
			return nil, err
		}
		out = append(out, counts...)
	}
	return out, nil
}

// filtersOf returns the filter for each project, without failures after now unless it is zero.
func filtersOf(q tasks.DismissRequest, now time.Time) (out []tasks.FailureFilter) {
	f := q.Filter
	if !now.IsZero() && (f.To.IsZero() || f.To.After(now)) {
		f.To = now.Add(time.Millisecond)
	}
	return perProject(f, q.Projects)
}

// perProject returns the filter for each of the projects to which a key is bound; none: all.
func perProject(f tasks.FailureFilter, projects []string) (out []tasks.FailureFilter) {
	for _, f.Project = range projectsOf(f.Project, projects) {
		out = append(out, f)
	}
	return out
}

// projectsOf are the projects that a filter is about if the key is bound to some: the empty
// one is all.
func projectsOf(project string, bound []string) []string {
	switch {
	case len(bound) == 0 || slices.Contains(bound, project):
		return []string{project}
	case project == "":
		return bound
	}
	return nil
}

// named reads the named desktops that are in the inbox.
func (r *Record) named(ctx context.Context, q tasks.DismissRequest) ([]tasks.Failure, error) {
	found, err := r.failuresNamed(ctx, q.Desktops)
	if err != nil {
		return nil, err
	}
	return r.inInbox(ctx, slices.DeleteFunc(found, func(f tasks.Failure) bool {
		return len(q.Projects) > 0 && !slices.Contains(q.Projects, f.Project)
	}))
}

// Dismiss removes desktops from the inbox until they fail again. Their rows and the
// counts of their operations do not change; the trail says who dismissed them, and why.
// It returns how many were dismissed, also with an error; repeating it dismisses the
// rest. Errors: *ValidationError, Redis'. before is called with a valid request, before
// anything is written; its error is returned.
func (r *Record) Dismiss(ctx context.Context, q tasks.DismissRequest, now time.Time, before ...func() error) (int, error) {
	err := q.Validate()
	if err == nil && strings.TrimSpace(q.Reason) == "" {
		err = &tasks.ValidationError{Problems: []tasks.Problem{{Field: "reason", Message: "is missing: say why nothing needs to be done"}}}
	}
	if err != nil {
		return 0, err
	}
	if err := r.asSeen(ctx, q); err != nil {
		return 0, err
	}
	for _, f := range before {
		if err := f(); err != nil {
			return 0, err
		}
	}
	d := dismissal{DismissRequest: q, now: now, touched: map[string]bool{}}
	if len(q.Desktops) > 0 {
		found, err := r.named(ctx, q)
		if err == nil {
			err = r.dismiss(ctx, &d, found)
		}
		if err != nil {
			return d.done, err
		}
	} else {
		for _, f := range filtersOf(q, now) {
			if err := r.dismissAll(ctx, &d, f); err != nil {
				return d.done, err
			}
		}
	}
	// Their trails are longer now. A sweep seals those that are not sealed here.
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(d.touched)), 100) {
		if _, err := r.Finish(ctx, ids); err != nil {
			return d.done, err
		}
	}
	return d.done, nil
}

// asSeen refuses a request if the number of matches has changed since a person saw it,
// because the inbox hides what is dismissed.
func (r *Record) asSeen(ctx context.Context, q tasks.DismissRequest) error {
	if q.Matched == 0 {
		return nil
	}
	counts, err := r.MatchDismiss(ctx, q)
	if err != nil {
		return err
	}
	n := 0
	for _, c := range counts {
		n += c.Count
	}
	if n == q.Matched {
		return nil
	}
	return &tasks.ValidationError{Problems: []tasks.Problem{{
		Field: "matched", Message: fmt.Sprintf("is %d, but %d match now: nothing was dismissed; read the inbox again", q.Matched, n),
	}}}
}

// dismissal is a Dismiss in progress.
type dismissal struct {
	tasks.DismissRequest
	now     time.Time
	done    int
	touched map[string]bool // operations
}

func (r *Record) dismissAll(ctx context.Context, d *dismissal, f tasks.FailureFilter) error {
	for token := ""; ; {
		page, next, err := r.Failures(ctx, f, pageReads, token)
		if err != nil {
			return err
		}
		if err := r.dismiss(ctx, d, page); err != nil || next == "" {
			return err
		}
		token = next
	}
}

func (r *Record) dismiss(ctx context.Context, d *dismissal, found []tasks.Failure) error {
	for batch := range slices.Chunk(found, redriveBatch) {
		if err := r.dismissBatch(ctx, d, batch); err != nil {
			return err
		}
	}
	return nil
}

var scriptDismiss = script("dismiss")

// dismissBatch writes the trails first. A crash can then leave a dismissed desktop in the
// inbox, to be dismissed again, but cannot remove one without a trace in the trail.
func (r *Record) dismissBatch(ctx context.Context, d *dismissal, found []tasks.Failure) error {
	fail := func(err error) error { return fmt.Errorf("dismissing: %w", err) }
	matched := make(map[tasks.DesktopRef]time.Time, len(found))
	items := make([]tasks.RedriveItem, len(found))
	for i, f := range found {
		items[i].DesktopRef = tasks.DesktopRef{OperationID: f.OperationID, DesktopID: f.DesktopID}
		matched[items[i].DesktopRef] = f.At
	}
	chunks, err := r.locate(ctx, items)
	if err != nil || len(chunks) == 0 {
		return err
	}
	calls := make([]*scriptCall, len(chunks))
	for i, c := range chunks {
		chunks[i].Desktops = slices.DeleteFunc(c.Desktops, func(x Row) bool {
			at := matched[tasks.DesktopRef{OperationID: x.OperationID, DesktopID: x.ID}]
			return x.State != tasks.StateFailed && x.State != tasks.StateHeld || x.Failure == nil || !x.Failure.At.Equal(at)
		})
		if c.Operation.Done() {
			err := r.list(ctx, c.Operation, d.now)
			if errors.Is(err, tasks.ErrNotFound) {
				chunks[i].Desktops = nil
			} else if err != nil {
				return fail(err)
			}
		}
		d.touched[c.Operation.ID] = true
		calls[i] = r.dismissCall(d, chunks[i])
	}
	if err := r.runScripts(ctx, calls, nil); err != nil {
		return fail(err)
	}
	writes := inboxWrites{}
	for i, c := range calls {
		bits, err := c.reply.Text()
		if err != nil {
			return fail(err)
		}
		for n, x := range chunks[i].Desktops {
			if bits[n] == '1' {
				writes.add(chunks[i].Operation.Project, leave, x.ID, inboxEntry{Operation: x.OperationID, At: x.Failure.At.UnixMilli()})
			}
		}
	}
	left, err := r.writeInbox(ctx, writes, nil)
	for _, bits := range left {
		d.done += strings.Count(bits, "1")
	}
	return err
}

func (r *Record) dismissCall(d *dismissal, c Chunk) *scriptCall {
	op := c.Operation.ID
	tag := func(s tasks.State) string {
		return trail.Move{From: byte(s), To: byte(s), Note: noteLetter(tasks.NoteDismissed), Detail: d.Reason}.Tag()
	}
	args := []any{d.now.UnixMilli(), trail.Entry{By: d.By}.Common(), tag(tasks.StateFailed), tag(tasks.StateHeld)}
	for _, x := range c.Desktops {
		args = append(args, x.ID, x.stored, x.common, x.Position)
	}
	keys := []string{r.keys.op(op), r.keys.chunk(op, c.Number), r.keys.trail(op, c.Number)}
	return &scriptCall{script: scriptDismiss, args: args, keys: keys}
}
