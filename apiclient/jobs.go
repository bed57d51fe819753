package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/apiclient/desktopid"
)

// SubJob is the part of a job that concerns one desktop. All texts are hostile input.
type SubJob struct {
	DesktopID string
	Type      string // batchDetachDesktops, detachDesktops, …
	// Status is WAITING, RUNNING, SUCCESS or FAILED. FAIL becomes FAILED and COMPLETE
	// becomes SUCCESS; unknown values are passed on unchanged.
	Status string
	Code   string // error_code
	Reason string // fail_reason
}

const (
	subJobsPerPage  = 1000 // the most that the API allows
	maxSubJobsPages = 11   // its offset ends at 10000
)

// noSubJobs are the statuses after which SubJobs reads the job instead of the list.
var noSubJobs = []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}

// SubJobs lists the parts of a job with GET /v2/{project_id}/workspace-sub-jobs
// (ListItaSubJobs), page by page. If that list is empty or refused (403, 404, 405) it reads
// GET /v2/{project_id}/workspace-jobs/{job_id} (ShowJob). Parts without a desktop are
// skipped. An unknown job has no parts.
// API reference: https://support.huaweicloud.com/intl/en-us/api-workspace/ListItaSubJobs.html
func (c *Client) SubJobs(ctx context.Context, jobID string) ([]SubJob, error) {
	list := call{op: "ListItaSubJobs", method: http.MethodGet, path: "workspace-sub-jobs", harmless: true}
	if strings.Trim(jobID, ".") == "" || strings.ContainsAny(jobID, "/\\") {
		return nil, localError(list, fmt.Errorf("%q is not a job id", jobID)) // from the cloud, and part of a path
	}
	var out []SubJob
	for offset, pages := 0, 0; ; pages++ {
		if pages == maxSubJobsPages {
			return nil, listError(list, fmt.Errorf("the list does not end after %d pages", pages))
		}
		list.query = url.Values{"job_id": {jobID}, "limit": {strconv.Itoa(subJobsPerPage)}, "offset": {strconv.Itoa(offset)}}
		var page struct {
			Total *number        `json:"total_count"`
			Jobs  []subJobDetail `json:"jobs"`
		}
		if _, err := c.get(ctx, list, &page, nil); err != nil {
			if e, ok := errors.AsType[*Error](err); ok && slices.Contains(noSubJobs, e.Status) {
				return c.showJob(ctx, jobID)
			}
			return nil, err
		}
		out = append(out, subJobs(page.Jobs)...)
		offset += len(page.Jobs)
		total := page.Total.total()
		if len(page.Jobs) == 0 || total != nil && offset >= *total || total == nil && len(page.Jobs) < subJobsPerPage {
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
	_, err := c.get(ctx, show, &job, nil)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound {
		return nil, nil
	}
	return subJobs(job.SubJobs), err
}

// subJobDetail is JobDetailInfo. Older replies have the desktop_id outside of "entities".
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
		s.DesktopID = desktopid.Canonical(s.DesktopID)
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
