package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/xid"

	"github.com/detachd/detachd/tasks"
)

// The fields of a review's hash: meta (JSON of reviewMeta), state, progress (JSON of
// reviewProgress), asked, holder and until as of a plan; and for each chunk n l<n> (who lost
// desktops: packed ReviewPart) and, once it is read, r<n> (packed []tasks.Returned).
type reviewMeta struct {
	Owner, Project string
	Projects       []string
	Since, At      time.Time
}

type reviewProgress struct {
	Known                    bool // all parts are stored
	Chunks, Desktops, People int
	Groups, Read, Readings   int
	CameBack, GivenBack      int
	Projects                 []tasks.ReviewedAccess
	Error                    string
	EndedAt                  time.Time
}

// AccessReview is a review and the person who requested it.
type AccessReview struct {
	tasks.AccessReview
	Owner string
	Scope []string // the projects that it is about

	chunks int
}

// ReviewPart is some of the people who lost desktops of one project.
type ReviewPart struct {
	Number  int `json:"-"`
	Project string
	People  []Lost
}

// reviewPart is the number of people in a part: as many as a reading may name.
const reviewPart = 100

// CreateReview creates the review of who was detached in the projects of scope, which are all
// that the owner sees if project is empty; nothing is read yet.
// before is called with its id before it exists; its error is returned.
func (r *Record) CreateReview(
	ctx context.Context, now time.Time, owner, project string, scope []string, since time.Time, before func(id string) error,
) (AccessReview, error) {
	meta := reviewMeta{owner, project, slices.Sorted(slices.Values(scope)), since.UTC(), now.UTC().Truncate(time.Millisecond)}
	id := xid.NewWithTime(meta.At).String()
	if err := before(id); err != nil {
		return AccessReview{}, err
	}
	key := r.keys.review(id)
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, "meta", mustJSON(meta), "state", tasks.PlanReading, "progress", mustJSON(reviewProgress{}))
		p.PExpire(ctx, key, planKept)
		return nil
	})
	if err != nil {
		return AccessReview{}, fmt.Errorf("creating the review of access: %w", err)
	}
	return reviewOf(id, tasks.PlanReading, meta, reviewProgress{}), nil
}

func reviewOf(id, state string, m reviewMeta, p reviewProgress) AccessReview {
	x := AccessReview{AccessReview: tasks.AccessReview{
		ID: id, Project: m.Project, Since: m.Since, State: state, CreatedAt: m.At, EndedAt: p.EndedAt, Complete: state == tasks.PlanDone,
		Desktops: p.Desktops, People: p.People, Groups: p.Groups, Read: p.Read, Readings: p.Readings, CameBack: p.CameBack,
		GivenBack: p.GivenBack, Projects: append([]tasks.ReviewedAccess{}, p.Projects...), Error: p.Error,
	}, Owner: m.Owner, Scope: m.Projects, chunks: p.Chunks}
	for i := range x.Projects {
		read := &x.Projects[i]
		read.Read = state == tasks.PlanDone && read.Error == ""
		x.Complete = x.Complete && read.Read
	}
	return x
}

// Review reads the progress of a review; ErrNoReview if there is none.
func (r *Record) Review(ctx context.Context, id string) (AccessReview, error) {
	fail := func(err error) (AccessReview, error) {
		return AccessReview{}, fmt.Errorf("reading the review of access %s: %w", id, err)
	}
	if strings.ContainsAny(id, "{}") {
		return fail(tasks.ErrNoReview)
	}
	var v struct {
		Meta     string `redis:"meta"`
		State    string `redis:"state"`
		Progress string `redis:"progress"`
	}
	if err := r.rdb.HMGet(ctx, r.keys.review(id), "meta", "state", "progress").Scan(&v); err != nil {
		return fail(err)
	}
	if v.Meta == "" || v.State == "" || v.Progress == "" {
		return fail(tasks.ErrNoReview)
	}
	var meta reviewMeta
	var progress reviewProgress
	if err := errors.Join(decodeJSON(v.Meta, &meta), decodeJSON(v.Progress, &progress)); err != nil {
		return fail(err)
	}
	return reviewOf(id, v.State, meta, progress), nil
}

// CameBack lists what a review that is done has found, by project and name. It returns at most
// size of the items; an empty next means that there are no more.
func (r *Record) CameBack(ctx context.Context, x AccessReview, size int, token string) (out []tasks.Returned, next string, err error) {
	fail := func(err error) ([]tasks.Returned, string, error) {
		return nil, "", fmt.Errorf("reading the review of access %s: %w", x.ID, err)
	}
	var chunk, skip int
	if token != "" {
		if n, err := fmt.Sscanf(token+"|", "%d.%d|", &chunk, &skip); n != 2 || err != nil || chunk < 0 || skip < 0 {
			return fail(tasks.ErrPageToken)
		}
	}
	for ; chunk < x.chunks; chunk += pageChunks {
		fields := make([]string, 0, pageChunks)
		for n := chunk; n < min(x.chunks, chunk+pageChunks); n++ {
			fields = append(fields, "r"+strconv.Itoa(n))
		}
		values, err := r.rdb.HMGet(ctx, r.keys.review(x.ID), append(fields, "state")...).Result()
		if err != nil {
			return fail(err)
		}
		if values[len(fields)] == nil {
			return fail(tasks.ErrNoReview) // expired meanwhile
		}
		for i := range fields {
			packed, read := values[i].(string)
			if !read {
				continue // its project could not be read
			}
			var rows []tasks.Returned
			if err := unpackJSON(packed, &rows); err != nil {
				return fail(err)
			}
			rows = rows[min(skip, len(rows)):]
			if room := size - len(out); len(rows) > room {
				return append(out, rows[:room]...), fmt.Sprintf("%d.%d", chunk+i, skip+room), nil
			}
			out, skip = append(out, rows...), 0
		}
	}
	return out, "", nil
}

// ReviewWork is a review that the caller reads. Its methods may be called at the same time.
type ReviewWork struct {
	AccessReview
	lease

	mu       sync.Mutex
	progress reviewProgress
}

// TakeReview is TakePlan for a review.
func (r *Record) TakeReview(ctx context.Context, x AccessReview, free bool) (*ReviewWork, error) {
	l, err := r.take(ctx, r.keys.review(x.ID), "the review of access "+x.ID, free, tasks.ErrNoReview)
	if err != nil || l.holder == "" {
		return nil, err
	}
	return &ReviewWork{AccessReview: x, lease: l}, nil
}

// Load reads from the record who was detached, unless another process has, and gives what is
// left to be read from the cloud, by project.
func (w *ReviewWork) Load(ctx context.Context) (left map[string][]ReviewPart, err error) {
	all, err := w.record.rdb.HGetAll(ctx, w.key).Result()
	if err == nil {
		err = decodeJSON(all["progress"], &w.progress)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", w.what, err)
	}
	left = map[string][]ReviewPart{}
	if !w.progress.Known {
		parts, err := w.find(ctx)
		for _, part := range parts {
			left[part.Project] = append(left[part.Project], part)
		}
		return left, err
	}
	for n := range w.progress.Chunks {
		if _, read := all["r"+strconv.Itoa(n)]; read {
			continue
		}
		part := ReviewPart{Number: n}
		if err := unpackJSON(all["l"+strconv.Itoa(n)], &part); err != nil {
			return nil, fmt.Errorf("reading %s: %w", w.what, err)
		}
		left[part.Project] = append(left[part.Project], part)
	}
	return left, nil
}

// find reads who was detached, and keeps it.
func (w *ReviewWork) find(ctx context.Context) (parts []ReviewPart, err error) {
	all, err := w.record.DetachedSince(ctx, w.Scope, w.Since)
	if err != nil {
		return nil, err
	}
	p := &w.progress
	*p = reviewProgress{}
	for _, project := range w.Scope {
		losses := all[project]
		p.Desktops += losses.Desktops
		p.Groups += len(losses.Groups)
		p.People += len(losses.People)
		p.Projects = append(p.Projects, tasks.ReviewedAccess{Project: project, People: len(losses.People)})
		parts = append(parts, losses.Parts(project, len(parts))...)
	}
	p.Chunks = len(parts)
	for some := range slices.Chunk(parts, 50) {
		var fields []any
		for _, part := range some {
			fields = append(fields, "l"+strconv.Itoa(part.Number), packJSON(part))
		}
		if _, err := w.lease.write(ctx, fields...); err != nil {
			return nil, err
		}
	}
	p.Known = true
	return parts, w.write(ctx)
}

// Add keeps what was read for a part.
func (w *ReviewWork) Add(ctx context.Context, part ReviewPart, rows []tasks.Returned) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress.Read += len(part.People)
	surprise := map[string]bool{}
	for _, row := range rows {
		surprise[row.User] = surprise[row.User] || row.How != tasks.CameByUndo
	}
	for _, is := range surprise {
		if is {
			w.progress.CameBack++
		} else {
			w.progress.GivenBack++
		}
	}
	return w.write(ctx, "r"+strconv.Itoa(part.Number), packJSON(rows))
}

// Reading counts a reading of the cloud. It is kept with what is kept next.
func (w *ReviewWork) Reading() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress.Readings++
}

// Unread notes why a project could not be read, or not whole.
func (w *ReviewWork) Unread(ctx context.Context, project, why string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.progress.Projects {
		if read := &w.progress.Projects[i]; read.Project == project && read.Error == "" {
			read.Error = why
		}
	}
	return w.write(ctx)
}

// End ends the review: done if why is empty, else failed, and why says the reason.
func (w *ReviewWork) End(ctx context.Context, now time.Time, why string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress.EndedAt, w.progress.Error = now.UTC().Truncate(time.Millisecond), why
	state := tasks.PlanDone
	if why != "" {
		state = tasks.PlanFailed
	}
	return w.write(ctx, "state", state)
}

// write writes fields with the progress.
func (w *ReviewWork) write(ctx context.Context, fields ...any) error {
	_, err := w.lease.write(ctx, append(fields, "progress", mustJSON(w.progress))...)
	return err
}
