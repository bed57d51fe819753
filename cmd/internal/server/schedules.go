package server

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

const (
	shownTicks = 10  // of a schedule
	mostTicks  = 100 // that can be asked for
)

// listSchedules is GET /v1/schedules: those of the configuration and those in Redis, by name,
// each with its last run and its next tick. failing=true: only those whose last run failed.
func (s *server) listSchedules(r *request) error {
	q := r.query("project", "failing", "page_size", "page_token")
	size, project, after := q.size(), q.text("project"), q.text("page_token")
	read := s.record.AllSchedules
	if q.flag("failing") {
		read = s.record.FailingSchedules
	}
	if err := q.err(); err != nil {
		return err
	}
	all, err := read(r.Context())
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(x tasks.Schedule) bool { return !r.key.Sees(x.Project) || project != "" && x.Project != project })
	total := len(all)
	first := slices.IndexFunc(all, func(x tasks.Schedule) bool { return x.Name > after })
	if first < 0 {
		first = len(all)
	}
	all = all[first:]
	next := ""
	if len(all) > size {
		all, next = all[:size], all[size-1].Name
	}
	views, err := s.record.ScheduleViews(r.Context(), all, s.Now(), 1)
	for i := range views {
		views[i].Runs = views[i].Runs[:min(1, len(views[i].Runs))]
	}
	return answerCounted(r, views, next, total, err)
}

// schedule reads the schedule of the path. Those of projects that the key cannot see are not
// found.
func (s *server) schedule(r *request) (tasks.Schedule, error) {
	name, err := url.PathUnescape(r.vars["schedule"])
	if err != nil {
		return tasks.Schedule{}, tasks.ErrNoSchedule
	}
	x, err := s.record.Schedule(r.Context(), name)
	if err == nil && !r.maySee(x.Project) {
		return tasks.Schedule{}, tasks.ErrNoSchedule
	}
	return x, err
}

// view is a schedule with its state as it is now.
func (s *server) view(r *request, x tasks.Schedule, next int) (tasks.ScheduleView, error) {
	views, err := s.record.ScheduleViews(r.Context(), []tasks.Schedule{x}, s.Now(), next)
	if err != nil {
		return tasks.ScheduleView{}, err
	}
	return views[0], nil
}

func (s *server) answerSchedule(r *request, status int, x tasks.Schedule) error {
	view, err := s.view(r, x, shownTicks)
	if err != nil {
		return err
	}
	return r.answer(status, view)
}

// getSchedule is GET /v1/schedules/{schedule}.
func (s *server) getSchedule(r *request) error {
	x, err := s.schedule(r)
	if err != nil {
		return err
	}
	return s.answerSchedule(r, http.StatusOK, x)
}

// listTicks is GET /v1/schedules/{schedule}/next.
func (s *server) listTicks(r *request) error {
	q := r.query("count")
	count := q.whole("count", shownTicks)
	if count < 1 || count > mostTicks {
		q.bad("count", "%d is not 1 to %d", count, mostTicks)
	}
	if err := q.err(); err != nil {
		return err
	}
	x, err := s.schedule(r)
	if err != nil {
		return err
	}
	view, err := s.view(r, x, count)
	return answerPage(r, view.Next, "", err)
}

// previewTicks is POST /v1/schedules:preview: the ticks of an expression.
func (s *server) previewTicks(r *request) error {
	var in api.TicksRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	if in.Count == 0 {
		in.Count = shownTicks
	}
	if in.Count < 1 || in.Count > mostTicks {
		return fault("/count", "is not 1 to %d", mostTicks)
	}
	if wrong := record.CheckTicks(in.Cron, in.Zone); len(wrong) > 0 {
		return &tasks.ValidationError{Problems: wrong}
	}
	ticks, err := record.NewTicks(tasks.Schedule{Name: "preview", Cron: in.Cron, Zone: in.Zone, Start: in.Start, End: in.End})
	if err != nil {
		return err
	}
	return answerPage(r, ticks.Following(s.Now(), in.Count), "", nil)
}

// addSchedule is POST /v1/schedules.
func (s *server) addSchedule(r *request) error {
	var in api.ScheduleRequest
	if err := r.decode(&in, false); err != nil {
		return err
	}
	x := in.Schedule()
	x.By, x.Owner, x.At = r.key.Name, r.key.Owner, s.Now().UTC()
	if x.Project != "" && !r.maySee(x.Project) { // as in createOperation
		return wrongProject(x.Project)
	}
	if err := s.Store.CheckSchedule(x); err != nil {
		return err
	}
	list := tasks.Request{Project: x.Project, Desktops: x.Source.Desktops, Users: x.Source.Users, Computers: x.Source.Computers}
	if err := s.Store.Producer.Protected(r.Context(), list); err != nil {
		return err
	}
	ticks, err := record.NewTicks(x)
	if err != nil {
		return err
	}
	next := ticks.Following(s.Now(), shownTicks)
	if len(next) == 0 { // somebody believes that it takes access
		return fault("/end", "leaves no time at which it would run: correct cron, start or end")
	}
	if in.ValidateOnly {
		return r.answer(http.StatusOK, tasks.ScheduleView{Schedule: x.WithDefaults(), Next: next})
	}
	act := s.act(r, tasks.AuditScheduleAdded, x.Project, x.Name, x.Note)
	act.Event.Detail = x.Text()
	if err := act.Do(func() error { return s.record.AddSchedule(r.Context(), x) }); err != nil {
		return err
	}
	r.w.Header().Set("Location", "/v1/schedules/"+x.Name)
	return s.answerSchedule(r, http.StatusCreated, x.WithDefaults())
}

// removeSchedule is POST /v1/schedules/{schedule}:remove.
func (s *server) removeSchedule(r *request) error {
	in, err := r.decision()
	if err != nil {
		return err
	}
	x, err := s.schedule(r)
	if err == nil && x.Configured {
		err = tasks.ErrScheduleConfigured
	}
	if err != nil {
		return err
	}
	act := s.act(r, tasks.AuditScheduleRemoved, x.Project, x.Name, in.Reason)
	act.Event.Detail = x.Text()
	if err := act.Do(func() error { return s.record.RemoveSchedule(r.Context(), x.Name) }); err != nil {
		return err
	}
	return r.answer(http.StatusOK, x)
}

// pauseSchedule is POST /v1/schedules/{schedule}:pause.
func (s *server) pauseSchedule(r *request) error {
	in, err := r.decision()
	if err != nil {
		return err
	}
	return s.decideSchedule(r, tasks.AuditSchedulePaused, in.Reason, func(name string) error {
		return s.record.PauseSchedule(r.Context(), name, tasks.SchedulePause{By: r.key.Name, At: s.Now().UTC(), Note: in.Reason})
	})
}

// resumeSchedule is POST /v1/schedules/{schedule}:resume.
func (s *server) resumeSchedule(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	return s.decideSchedule(r, tasks.AuditScheduleResumed, reason, func(name string) error {
		_, err := s.record.ResumeSchedule(r.Context(), name)
		return err
	})
}

// skipTick is POST /v1/schedules/{schedule}:skip.
func (s *server) skipTick(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	return s.decideSchedule(r, tasks.AuditScheduleSkipped, reason, func(name string) error {
		_, err := s.record.SkipTick(r.Context(), name, s.Now(), r.key.Name, reason)
		return err
	})
}

// unskipTick is POST /v1/schedules/{schedule}:unskip.
func (s *server) unskipTick(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	return s.decideSchedule(r, tasks.AuditScheduleUnskipped, reason, func(name string) error {
		return s.record.UnskipTick(r.Context(), name)
	})
}

// decideSchedule carries out what a person decides about the schedule of the path, also about
// one of the configuration, and answers with it.
func (s *server) decideSchedule(r *request, action tasks.AuditAction, reason string, do func(name string) error) error {
	x, err := s.schedule(r)
	if err != nil {
		return err
	}
	if err := s.act(r, action, x.Project, x.Name, reason).Do(func() error { return do(x.Name) }); err != nil {
		return err
	}
	return s.answerSchedule(r, http.StatusOK, x)
}

// runSchedule is POST /v1/schedules/{schedule}:run. A worker begins the run.
func (s *server) runSchedule(r *request) error {
	reason, err := r.reason()
	if err != nil {
		return err
	}
	key, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	x, err := s.schedule(r)
	if err != nil {
		return err
	}
	ask := record.ScheduleAsk{Schedule: x.Name, By: r.key.Name, Note: reason, At: s.Now().UTC()}
	var id string
	err = s.act(r, tasks.AuditScheduleRun, x.Project, x.Name, reason).Do(func() error {
		id, err = s.record.AskRun(r.Context(), ask, key)
		return err
	})
	if err != nil {
		return err
	}
	r.w.Header().Set("Location", "/v1/schedules/"+x.Name)
	return r.answer(http.StatusAccepted, api.AskedRun{Schedule: x.Name, Run: id})
}
