package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// SubJob is one desktop's part of a job. The texts are hostile input.
type SubJob struct {
	DesktopID string
	Type      string // batchDetachDesktops, detachDesktops, …
	// Status is WAITING, RUNNING, SUCCESS or FAILED. FAIL is given as FAILED and
	// COMPLETE as SUCCESS; values that are not known are passed on.
	Status string
	Code   string // error_code
	Reason string // fail_reason
}

const (
	subJobsPerPage  = 1000 // the most that the API allows
	maxSubJobsPages = 11   // its offset ends at 10000
)

// SubJobs reads a job's parts: GET /v2/{project_id}/workspace-sub-jobs
// (ListItaSubJobs), page by page, and where that is empty or not to be had (403,
// 404, 405) GET /v2/{project_id}/workspace-jobs/{job_id} (ShowJob). Parts that
// name no desktop are left out. A job that is not known has none.
func (c *Client) SubJobs(ctx context.Context, jobID string) ([]SubJob, error) {
	list := call{op: "ListItaSubJobs", method: http.MethodGet, path: "workspace-sub-jobs", harmless: true}
	if strings.Trim(jobID, ".") == "" || strings.ContainsAny(jobID, "/\\") {
		return nil, localError(list, fmt.Errorf("%q is no job id", jobID)) // it goes into a path, and the cloud wrote it
	}
	var out []SubJob
	for offset, pages := 0, 0; ; pages++ {
		if pages == maxSubJobsPages {
			return nil, listError(list, fmt.Errorf("the list does not end after %d pages", pages))
		}
		list.query = url.Values{"job_id": {jobID}, "limit": {strconv.Itoa(subJobsPerPage)}, "offset": {strconv.Itoa(offset)}}
		var page struct {
			Total *int           `json:"total_count"`
			Jobs  []subJobDetail `json:"jobs"`
		}
		err := c.get(ctx, list, &page)
		var e *Error
		switch {
		case errors.As(err, &e) && (e.Status == http.StatusForbidden || e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed):
			return c.showJob(ctx, jobID)
		case err != nil:
			return nil, err
		}
		out = append(out, subJobs(page.Jobs)...)
		offset += len(page.Jobs)
		if len(page.Jobs) == 0 || page.Total != nil && offset >= *page.Total || page.Total == nil && len(page.Jobs) < subJobsPerPage {
			break
		}
	}
	if len(out) == 0 {
		return c.showJob(ctx, jobID)
	}
	return out, nil
}

func (c *Client) showJob(ctx context.Context, jobID string) ([]SubJob, error) {
	show := call{op: "ShowJob", method: http.MethodGet, path: "workspace-jobs/" + url.PathEscape(jobID), harmless: true}
	var job struct {
		SubJobs []subJobDetail `json:"sub_jobs"`
	}
	err := c.get(ctx, show, &job)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound {
		return nil, nil
	}
	return subJobs(job.SubJobs), err
}

// get makes a request that only reads and decodes its reply.
func (c *Client) get(ctx context.Context, read call, into any) error {
	r, err := c.do(ctx, read)
	if err != nil {
		return err
	}
	if err := decodeObject(r.body, into); err != nil {
		return newError(read, r, err)
	}
	return nil
}

// subJobDetail is JobDetailInfo. Older replies have what "entities" holds beside
// it.
type subJobDetail struct {
	Type     text `json:"job_type"`
	Status   text `json:"status"`
	Code     text `json:"error_code"`
	Reason   text `json:"fail_reason"`
	Desktop  text `json:"desktop_id"`
	Entities struct {
		Desktop text `json:"desktop_id"`
	} `json:"entities"`
}

func subJobs(list []subJobDetail) []SubJob {
	var out []SubJob
	for _, j := range list {
		s := SubJob{
			DesktopID: string(j.Entities.Desktop), Type: clip(string(j.Type), maxName), Status: strings.ToUpper(clip(string(j.Status), maxName)),
			Code: clip(string(j.Code), maxName), Reason: clip(string(j.Reason), maxText),
		}
		if s.DesktopID == "" {
			s.DesktopID = string(j.Desktop)
		}
		switch s.Status {
		case "FAIL":
			s.Status = "FAILED"
		case "COMPLETE":
			s.Status = "SUCCESS"
		}
		if s.DesktopID != "" {
			out = append(out, s)
		}
	}
	return out
}
