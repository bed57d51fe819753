package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/detachd/detachd/apiclient/desktopid"
)

// MaxDesktopsPerCall is the maximum number of desktop ids in one call.
// Source: the list's x-maxLength in the published definition of DetachInstances.
const MaxDesktopsPerCall = 100

// DetachRequest is the body of POST /v2/{project_id}/desktops/detach.
type DetachRequest struct {
	DesktopIDs []string // 1 to MaxDesktopsPerCall, no duplicates
	// ShutoffAfterDetach is sent when not nil; the API documents no default.
	ShutoffAfterDetach *bool
}

// DetachResult is a 200. It means that the cloud accepted the request, not that any
// desktop is detached.
type DetachResult struct {
	Failed        []DesktopFailure // refused desktops of the request, each once
	Unasked       []DesktopFailure // failures of ids that were not sent; at most MaxDesktopsPerCall
	JobID         string           // documented for pool desktops only; else empty
	SuccessJobIDs []string         // since 2026-01; at most MaxDesktopsPerCall
	RequestID     string
	Status        int // HTTP status
}

// DesktopFailure is an entry of failed_operation_list. All texts are hostile input, cut
// to the documented lengths: 255 characters, Message 1000.
type DesktopFailure struct {
	DesktopID, DesktopName, Code, Message string
}

// Detach removes all users from the desktops of req with one POST
// /v2/{project_id}/desktops/detach (DetachInstances). The cloud may shut a single-user
// desktop down.
//
// The result may list any or all desktops of req as refused. A 200 that cannot be decoded,
// or that has an error for the whole request, is an *Error with EffectPossible.
//
// API reference: "Unbinding a User", 2025-07-14,
// https://support.huaweicloud.com/intl/en-us/api-workspace/DetachInstances.html;
// success_job_ids is from huaweicloud-sdk-go-v3 0.1.183.
func (c *Client) Detach(ctx context.Context, req DetachRequest) (*DetachResult, error) {
	detach := call{op: "DetachInstances", method: http.MethodPost, path: "desktops/detach"}
	if err := checkIDs(req.DesktopIDs); err != nil {
		return nil, localError(detach, err)
	}
	var err error
	if detach.body, err = encodeBody(detachBody(req)); err != nil {
		return nil, localError(detach, err)
	}
	return c.sendDetach(ctx, detach, req.DesktopIDs)
}

// nilUUID is an id that no desktop has.
const nilUUID = "00000000-0000-0000-0000-000000000000"

// ProbeDetach checks the permission to detach without detaching anything: it tries to
// detach the nil UUID, which no desktop has. It returns nil if the service processed the
// call, which is after the permission check: a 200 or a 400, 404, 409 or 422 with a WKS
// code. Any other *Error is returned; a missing permission is a 403. That the cloud checks
// permissions first is common practice, but was not tried against the real one.
func (c *Client) ProbeDetach(ctx context.Context) error {
	_, err := c.Detach(ctx, DetachRequest{DesktopIDs: []string{nilUUID}})
	if e, ok := errors.AsType[*Error](err); ok && strings.HasPrefix(e.Code, "WKS.") {
		switch e.Status {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
			return nil
		}
	}
	return err
}

// MaxUsersPerDesktop is the maximum number of users of one desktop in DetachUsers.
// Source: BatchDetachInstances.
const MaxUsersPerDesktop = 500

// UserDetach names users or groups to remove from one desktop.
type UserDetach struct {
	DesktopID string
	Users     []User // 1 to MaxUsersPerDesktop, as in Desktop.Users; Name is required
}

// DetachUsers removes only the named users from 1 to MaxDesktopsPerCall desktops without
// duplicates, with one POST /v2/{project_id}/desktops/batch-detach (BatchDetachInstances).
// It cannot shut desktops down. Result and errors are those of Detach.
// Source: BatchDetachInstances of huaweicloud-sdk-go-v3 0.1.184;
// https://support.huaweicloud.com/intl/en-us/api-workspace/BatchDetachInstances.html
func (c *Client) DetachUsers(ctx context.Context, desktops []UserDetach) (*DetachResult, error) {
	detach := call{op: "BatchDetachInstances", method: http.MethodPost, path: "desktops/batch-detach"}
	ids := make([]string, len(desktops))
	var body batchDetachBody
	for i, d := range desktops {
		ids[i] = d.DesktopID
		item := batchDetachItem{DesktopID: d.DesktopID}
		for _, u := range d.Users {
			if u.Name == "" {
				return nil, localError(detach, fmt.Errorf("a user of desktop %q has no name", d.DesktopID))
			}
			item.Users = append(item.Users, userInfo(u))
		}
		// The API could treat an empty list of users as all users.
		if n := len(d.Users); n == 0 || n > MaxUsersPerDesktop {
			return nil, localError(detach, fmt.Errorf("desktop %q names %d users: want 1 to %d", d.DesktopID, n, MaxUsersPerDesktop))
		}
		body.Desktops = append(body.Desktops, item)
	}
	if err := checkIDs(ids); err != nil {
		return nil, localError(detach, err)
	}
	var err error
	if detach.body, err = encodeBody(body); err != nil {
		return nil, localError(detach, err)
	}
	return c.sendDetach(ctx, detach, ids)
}

type batchDetachBody struct {
	Desktops []batchDetachItem `json:"desktops"`
}

type batchDetachItem struct {
	DesktopID string     `json:"desktop_id"`
	All       bool       `json:"is_detach_all_users"`
	Users     []userInfo `json:"detach_user_infos"`
}

type userInfo struct {
	ID     string `json:"user_id,omitempty"`
	Name   string `json:"user_name"`
	Domain string `json:"domain,omitempty"`
	Group  string `json:"user_group,omitempty"`
	Type   string `json:"type,omitempty"`
}

// sendDetach makes either detach call; ids are the desktops in it.
func (c *Client) sendDetach(ctx context.Context, detach call, ids []string) (*DetachResult, error) {
	r, err := c.do(ctx, detach)
	if err != nil {
		return nil, err
	}
	defer r.done()
	result, err := decodeDetach(r.body, ids)
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

var errRefusedIn200 = errors.New("a 200 that contains an error")

// decodeDetach separates the failures of ids in sent from others. A second entry for a
// desktop is skipped.
func decodeDetach(body []byte, sent []string) (*DetachResult, error) {
	var in detachReply
	if err := decodeObject(body, &in); err != nil {
		return nil, err
	}
	if in.Code != "" || in.Error != "" {
		return nil, errRefusedIn200
	}
	waiting := make(map[string]string, len(sent)) // as they were sent; "": it has its entry
	for _, id := range sent {
		waiting[desktopid.Canonical(id)] = id
	}
	out := &DetachResult{JobID: clip(string(in.JobID), maxName)}
	for _, f := range in.Failed {
		id := desktopid.Canonical(string(f.DesktopID))
		failure := DesktopFailure{
			DesktopName: clip(string(f.DesktopName), maxName),
			Code:        clip(string(f.Code), maxName),
			Message:     clip(string(f.Message), maxText),
		}
		sentAs, asked := waiting[id]
		switch {
		case sentAs != "":
			waiting[id] = ""
			failure.DesktopID = sentAs
			out.Failed = append(out.Failed, failure)
		case !asked && len(out.Unasked) < MaxDesktopsPerCall:
			failure.DesktopID = clip(string(f.DesktopID), maxName)
			out.Unasked = append(out.Unasked, failure)
		}
	}
	for _, id := range in.SuccessJobIDs[:min(len(in.SuccessJobIDs), MaxDesktopsPerCall)] {
		out.SuccessJobIDs = append(out.SuccessJobIDs, clip(string(id), maxName))
	}
	return out, nil
}
