package fakecloud

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// jobTime is the format of times in the documentation's examples of jobs.
const jobTime = "2006-01-02 15:04:05"

// jobs are the jobs of one project, under its lock.
type jobs struct {
	byID  map[string]*job
	order []*job
}

// job is the detach of the POOLED desktops of one call, or the attach of all of one.
type job struct {
	id, kind string
	begin    time.Time
	subs     []subJob
}

// subJob is the part of one desktop. Its state depends on the time only.
type subJob struct {
	desktop Desktop // before the detach, or with its new users
	due     time.Time
	end     string // the desktop's attach state after due
	code    string // of a failure; empty: WKS.00211401
	reason  string
}

// add stores a job and returns its id, which is made from n.
func (j *jobs) add(work job, n uint64) string {
	if j.byID == nil {
		j.byID = map[string]*job{}
	}
	work.id = uuid(n, uint64(len(j.order)))
	j.byID[work.id] = &work
	j.order = append(j.order, &work)
	return work.id
}

func (s subJob) status(now time.Time) string {
	switch {
	case now.Before(s.due), s.end == Detaching, s.end == Attaching:
		return "RUNNING"
	case s.end == Detached || s.end == Attached || s.end == Unattached:
		return "SUCCESS"
	}
	return "FAILED"
}

// jobView is the reply to GET workspace-jobs/{job_id}.
type jobView struct {
	ID         string       `json:"id"`
	Type       string       `json:"job_type"`
	Begin      string       `json:"begin_time"`
	End        string       `json:"end_time"`
	Status     string       `json:"status"`
	ErrorCode  string       `json:"job_error_code"`
	FailReason string       `json:"fail_reason"`
	Total      int          `json:"sub_jobs_total"`
	SubJobs    []subJobView `json:"sub_jobs"`
}

// subJobView is JobDetailInfo.
type subJobView struct {
	ID         string            `json:"id"`
	Type       string            `json:"job_type"`
	Entities   map[string]string `json:"entities"`
	Begin      string            `json:"begin_time"`
	End        string            `json:"end_time"`
	Status     string            `json:"status"`
	ErrorCode  string            `json:"error_code"`
	FailReason string            `json:"fail_reason"`
	Host       *string           `json:"host"`
	ProjectID  string            `json:"project_id"`
	JobID      string            `json:"job_id"`
	Process    int               `json:"process"`
	AttachUser string            `json:"attach_user"`
}

// view returns the job as it is now. The documentation does not list the statuses of a job
// that has ended; SUCCESS and FAIL are known.
func (j *job) view(projectID string, now time.Time) jobView {
	v := jobView{ID: j.id, Type: j.kind, Begin: j.begin.UTC().Format(jobTime), Status: "SUCCESS", Total: len(j.subs)}
	for i := range j.subs {
		sub := j.subView(i, projectID, now)
		v.SubJobs = append(v.SubJobs, sub)
		switch {
		case sub.Status == "RUNNING":
			v.Status = "RUNNING"
		case sub.Status == "FAILED" && v.Status == "SUCCESS":
			v.Status, v.ErrorCode, v.FailReason = "FAIL", sub.ErrorCode, sub.FailReason
		}
		v.End = max(v.End, sub.End)
	}
	if v.Status == "RUNNING" {
		v.End, v.ErrorCode, v.FailReason = "", "", ""
	}
	return v
}

func (j *job) subView(i int, projectID string, now time.Time) subJobView {
	s := j.subs[i]
	d := s.desktop
	v := subJobView{
		ID: fmt.Sprintf("%s-%d", j.id, i+1), Type: j.kind, JobID: j.id, ProjectID: projectID,
		Begin: j.begin.UTC().Format(jobTime), Status: s.status(now),
		Entities:   map[string]string{"desktop_id": d.ID, "desktop_name": d.ComputerName, "user_name": d.firstUser()},
		AttachUser: d.firstUser(),
	}
	if v.Status != "RUNNING" {
		v.End, v.Process = s.due.UTC().Format(jobTime), 100
	}
	if v.Status == "FAILED" {
		v.ErrorCode, v.FailReason = cmp.Or(s.code, "WKS.00211401"), cmp.Or(s.reason, "The requested operation failed.")
	}
	return v
}

// showJob is GET workspace-jobs/{job_id}.
func (x *exchange) showJob() *reply {
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs.byID[x.pathID]
	if j == nil {
		return fail(http.StatusNotFound, "WKS.00211902", "The job "+x.pathID+" does not exist.")
	}
	return ok(j.view(p.id, now))
}

// listSubJobs is GET workspace-sub-jobs.
func (x *exchange) listSubJobs() *reply {
	query := x.r.URL.Query()
	jobID, kind, states := query.Get("job_id"), query.Get("job_type"), query["status"]
	if jobID == "" && kind == "" {
		return invalidParameter("job_id and job_type are both empty")
	}
	window, bad := pageOf(query, 1000, 10000)
	if bad != nil {
		return bad
	}
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	found := []subJobView{}
	for _, j := range p.jobs.order {
		if (jobID != "" && j.id != jobID) || (kind != "" && j.kind != kind) {
			continue
		}
		for i := range j.subs {
			if sub := j.subView(i, p.id, now); len(states) == 0 || slices.Contains(states, sub.Status) {
				found = append(found, sub)
			}
		}
	}
	return ok(map[string]any{"total_count": len(found), "jobs": cut(found, window)})
}
