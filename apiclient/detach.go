package apiclient

import (
	"context"
	"errors"
	"net/http"
)

// MaxDesktopsPerCall is the most desktop ids that one call may name.
// Source: the list's x-maxLength in the published definition of DetachInstances.
const MaxDesktopsPerCall = 100

// DetachRequest is the body of POST /v2/{project_id}/desktops/detach.
type DetachRequest struct {
	DesktopIDs []string // 1 to MaxDesktopsPerCall, no duplicates
	// ShutoffAfterDetach is sent when not nil; the API documents no default.
	ShutoffAfterDetach *bool
}

// DetachResult is a 200. It says that the cloud took the request, not that any
// desktop is detached.
type DetachResult struct {
	Failed        []DesktopFailure // desktops of the request that were refused, each once
	Unasked       []DesktopFailure // the first MaxDesktopsPerCall entries of failed_operation_list naming ids that were never sent
	JobID         string           // filled for pool desktops only, as documented
	SuccessJobIDs []string         // since 2026-01
	RequestID     string
	Status        int
}

// DesktopFailure is an entry of failed_operation_list. All texts are hostile
// input, cut to the documented lengths (255 characters, the message 1000).
type DesktopFailure struct {
	DesktopID, DesktopName, Code, Message string
}

// Detach takes the users off the desktops of req: POST
// /v2/{project_id}/desktops/detach (DetachInstances), sent once. On a desktop
// of several users it takes all of them off; a single-user desktop may be shut
// down.
//
// A result may list any number of req's desktops as refused, even all. A 200
// that does not read as a result, or that carries an error for the whole request, is an *Error with EffectPossible.
//
// Source: API reference "Unbinding a User", 2025-07-14; success_job_ids from
// huaweicloud-sdk-go-v3 0.1.183.
func (c *Client) Detach(ctx context.Context, req DetachRequest) (*DetachResult, error) {
	detach := call{op: "DetachInstances", method: http.MethodPost, path: "desktops/detach"}
	if err := checkIDs(req.DesktopIDs); err != nil {
		return nil, localError(detach, err)
	}
	var err error
	if detach.body, err = encodeBody(detachBody(req)); err != nil {
		return nil, localError(detach, err)
	}
	r, err := c.do(ctx, detach)
	if err != nil {
		return nil, err
	}
	result, err := decodeDetach(r.body, req.DesktopIDs)
	if err != nil {
		return nil, newError(detach, r, err)
	}
	result.Status = r.status
	result.RequestID = clip(requestID(r.header, ""), maxName)
	return result, nil
}

type detachBody struct {
	DesktopIDs         []string `json:"desktop_ids"`
	ShutoffAfterDetach *bool    `json:"shutoff_after_detach,omitempty"`
}

type detachReply struct {
	Failed []struct {
		DesktopID   text `json:"desktop_id"`
		DesktopName text `json:"desktop_name"`
		Code        text `json:"error_code"`
		Message     text `json:"error_msg"`
	} `json:"failed_operation_list"`
	JobID         text   `json:"job_id"`
	SuccessJobIDs []text `json:"success_job_ids"`
	// The error table lists codes "with status code 200".
	Code  text `json:"error_code"`
	Error text `json:"error"`
}

var errRefusedIn200 = errors.New("a 200 that carries an error")

// decodeDetach sorts the failures of a 200 into those of sent and others. A
// second entry for a desktop is left out.
func decodeDetach(body []byte, sent []string) (*DetachResult, error) {
	var in detachReply
	if err := decodeObject(body, &in); err != nil {
		return nil, err
	}
	if in.Code != "" || in.Error != "" {
		return nil, errRefusedIn200
	}
	waiting := make(map[string]bool, len(sent))
	for _, id := range sent {
		waiting[id] = true
	}
	out := &DetachResult{JobID: clip(string(in.JobID), maxName)}
	for _, f := range in.Failed {
		id := string(f.DesktopID)
		failure := DesktopFailure{
			DesktopID:   id,
			DesktopName: clip(string(f.DesktopName), maxName),
			Code:        clip(string(f.Code), maxName),
			Message:     clip(string(f.Message), maxText),
		}
		first, asked := waiting[id]
		switch {
		case first:
			waiting[id] = false
			out.Failed = append(out.Failed, failure)
		case !asked && len(out.Unasked) < MaxDesktopsPerCall:
			failure.DesktopID = clip(id, maxName)
			out.Unasked = append(out.Unasked, failure)
		}
	}
	for _, id := range in.SuccessJobIDs {
		out.SuccessJobIDs = append(out.SuccessJobIDs, clip(string(id), maxName))
	}
	return out, nil
}
