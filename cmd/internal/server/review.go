package server

import (
	"context"
	"encoding/csv"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// createReview is POST /v1/access-reviews: who of the people that were detached since a time
// has a desktop again. As with plans, 202 means that it is still read. It requires the role of
// plans, which reveal the same.
func (s *server) createReview(r *request) error {
	var in api.AccessReviewRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	kept, since := s.record.Keeps(s.Now()), in.Since.Before(s.Now())
	switch {
	case since.IsZero():
		return fault("/since", "is missing: say since when people were detached")
	case since.After(s.Now()):
		return fault("/since", "is in the future: say since when people were detached")
	case since.Before(kept):
		return fault("/since", "is before %s: who was detached earlier is not in the record any more", kept.UTC().Format(time.RFC3339))
	case in.Project != "" && !r.maySee(in.Project): // as in createOperation
		return wrongProject(in.Project)
	case in.Project != "" && !slices.Contains(s.Store.Projects, in.Project):
		return fault("/project", "is not a configured project")
	}
	projects := []string{in.Project}
	if in.Project == "" {
		projects = s.projectsOf(r)
	}
	act := s.act(r, tasks.AuditPersonalData, projectsText(projects), "", "")
	act.Event.Detail = "who was detached since " + since.UTC().Format(time.RFC3339) + " and has a desktop again"
	x, err := s.record.CreateReview(r.Context(), s.Now(), planOwner(r.key), in.Project, projects, since, act.begins)
	if err := act.End(err); err != nil {
		return err
	}
	read, err := s.continueReview(r.Context(), x)
	if err != nil {
		return err
	}
	s.await(r, read)
	if x, err = s.record.Review(r.Context(), x.ID); err != nil {
		return err
	}
	r.w.Header().Set("Location", "/v1/access-reviews/"+x.ID)
	status := http.StatusAccepted
	if x.State == tasks.PlanDone {
		status = http.StatusOK
	}
	return r.answer(status, x.AccessReview)
}

// review reads the review of the path. Only the key that created it finds it, and only while it
// sees all of its projects.
func (s *server) review(r *request) (record.AccessReview, error) {
	x, err := s.record.Review(r.Context(), r.vars["id"])
	if err == nil && (x.Owner != planOwner(r.key) || !r.key.SeesAll(x.Scope)) {
		r.hidden, err = true, tasks.ErrNoReview
	}
	return x, err
}

// getReview is GET /v1/access-reviews/{id}. Asking continues the reading.
func (s *server) getReview(r *request) error {
	x, err := s.review(r)
	if err != nil {
		return err
	}
	if _, err := s.continueReview(r.Context(), x); err != nil {
		return err
	}
	return r.answer(http.StatusOK, x.AccessReview)
}

// continueReview is continuePlan for a review.
func (s *server) continueReview(ctx context.Context, x record.AccessReview) (read <-chan struct{}, err error) {
	r := reading{owner: x.Owner, free: x.State == tasks.PlanReading, large: true, what: "review of access " + x.ID}
	return s.readOn(r, func(free bool) (func(context.Context) error, error) {
		work, err := s.record.TakeReview(ctx, x, free)
		if err != nil || work == nil {
			return nil, err
		}
		return func(ctx context.Context) error { return s.Store.ReadReview(ctx, work, s.Log) }, nil
	})
}

// listCameBack is GET /v1/access-reviews/{id}/items: who has a desktop again. One that is not
// done has no list: an empty one would say that nobody has.
func (s *server) listCameBack(r *request) error {
	q := r.query("format", "page_size", "page_token")
	format, size := q.text("format"), q.size()
	if format != "" && format != "json" && format != "csv" {
		q.bad("format", "%.60q is neither json nor csv", format)
	}
	if err := q.err(); err != nil {
		return err
	}
	x, err := s.review(r)
	if err != nil {
		return err
	}
	switch {
	case x.State == tasks.PlanReading:
		return problem(http.StatusConflict, "review_not_done", "the review is still being read: ask again when it is done")
	case x.State == tasks.PlanFailed:
		return problem(http.StatusConflict, "review_failed", "the review has no items: %s", x.Error)
	case format == "csv":
		return s.downloadCameBack(r, x)
	}
	items, next, err := s.cameBack(r.Context(), r, x, size, q.text("page_token"))
	return answerPage(r, items, next, err)
}

// cameBack reads a page of items, each with the last operation that named its desktop.
func (s *server) cameBack(
	ctx context.Context, r *request, x record.AccessReview, size int, token string,
) ([]tasks.Returned, string, error) {
	items, next, err := s.record.CameBack(ctx, x, size, token)
	if err != nil {
		return nil, "", err
	}
	var ids []string
	for _, row := range items {
		if row.DesktopID != "" {
			ids = append(ids, row.DesktopID)
		}
	}
	last, err := s.record.LastOperations(ctx, ids)
	for i := range items {
		if op, named := last[items[i].DesktopID]; named && r.maySee(op.Project) {
			items[i].LastOperationID = op.ID
		}
	}
	return items, next, err
}

// cameBackColumns are the columns of the CSV. Lines are "came_back", and "not_read" for each
// project that could not be read whole.
var cameBackColumns = []string{
	"line", "project", "user", "user_id", "how", "other_user", "desktop_id", "computer_name", "attach_state", "users",
	"detached_at", "detached_desktop_id", "detached_operation_id", "undo_id", "last_operation_id", "why",
}

// downloadCameBack answers with all items, as a file.
func (s *server) downloadCameBack(r *request, x record.AccessReview) error {
	act := s.act(r, tasks.AuditPersonalData, projectsText(x.Scope), x.ID, "")
	act.Event.Detail = "review of access as csv"
	return s.download(r, act, x.ID+".csv", "text/csv; charset=utf-8", func(ctx context.Context, w io.Writer) error {
		rows := csv.NewWriter(w)
		_ = rows.Write(cameBackColumns) // Error has it
		for _, p := range x.Projects {
			if !p.Read {
				line := make([]string, len(cameBackColumns))
				line[0], line[1], line[len(line)-1] = "not_read", p.Project, p.Error
				_ = rows.Write(harmless.Row(line))
			}
		}
		for token, more := "", true; more; more = token != "" {
			var items []tasks.Returned
			var err error
			if items, token, err = s.cameBack(ctx, r, x, largestPage, token); err != nil {
				return err
			}
			for _, row := range items {
				_ = rows.Write(harmless.Row(cameBackCells(row)))
			}
			if rows.Flush(); rows.Error() != nil {
				return rows.Error()
			}
		}
		return nil
	})
}

func cameBackCells(row tasks.Returned) []string {
	names := make([]string, len(row.Users))
	for i, u := range row.Users {
		names[i] = u.Name
	}
	return []string{
		"came_back", row.Project, row.User, row.UserID, row.How, strconv.FormatBool(row.OtherUser), row.DesktopID, row.ComputerName,
		row.AttachState, strings.Join(names, ", "), row.DetachedAt.UTC().Format(time.RFC3339), row.DetachedDesktopID, row.DetachedOperationID,
		row.UndoID, row.LastOperationID, row.Why,
	}
}
