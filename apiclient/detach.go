package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
	return c.sendDetach(ctx, detach, req.DesktopIDs)
}

// nobodysDesktop is an id that no desktop has.
const nobodysDesktop = "00000000-0000-0000-0000-000000000000"

// ProbeDetach finds out whether the credentials may detach, without detaching
// anything: it asks for the detach of the nil UUID, which no desktop has. A cloud
// that says of it that it does not exist has checked the right before, and the
// answer is nil: a 200, with or without that desktop refused in it, or an error of
// the service (400, 404, 409, 422) with a WKS code. Everything else is the *Error
// that came: a missing right is a 403. That the cloud checks the right first is
// what its kind commonly do; it was not tried against the real one.
func (c *Client) ProbeDetach(ctx context.Context) error {
	_, err := c.Detach(ctx, DetachRequest{DesktopIDs: []string{nobodysDesktop}})
	if e, ok := errors.AsType[*Error](err); ok && strings.HasPrefix(e.Code, "WKS.") {
		switch e.Status {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
			return nil
		}
	}
	return err
}

// MaxUsersPerDesktop is the most users that DetachUsers may name for one
// desktop. Source: BatchDetachInstances.
const MaxUsersPerDesktop = 500

// UserDetach names users, or groups, whose access to one desktop is to end.
type UserDetach struct {
	DesktopID string
	Users     []User // 1 to MaxUsersPerDesktop, as in Desktop.Users; Name is required
}

// DetachUsers takes the named users off desktops and leaves the others on them:
// POST /v2/{project_id}/desktops/batch-detach (BatchDetachInstances), sent once,
// 1 to MaxDesktopsPerCall desktops without duplicates. Result and errors are as
// those of Detach. It cannot shut desktops down. Source: BatchDetachInstances of
// huaweicloud-sdk-go-v3 0.1.184.
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
			item.Users = append(item.Users, batchDetachUser(u))
		}
		// A desktop that names nobody could be taken to mean everybody.
		if n := len(d.Users); n == 0 || n > MaxUsersPerDesktop {
			return nil, localError(detach, fmt.Errorf("desktop %q names %d users: 1 to %d may be named", d.DesktopID, n, MaxUsersPerDesktop))
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
	DesktopID string            `json:"desktop_id"`
	All       bool              `json:"is_detach_all_users"`
	Users     []batchDetachUser `json:"detach_user_infos"`
}

type batchDetachUser struct {
	ID     string `json:"user_id,omitempty"`
	Name   string `json:"user_name"`
	Domain string `json:"domain,omitempty"`
	Group  string `json:"user_group,omitempty"`
	Type   string `json:"type,omitempty"`
}

// sendDetach makes either detach call; ids are its desktops.
func (c *Client) sendDetach(ctx context.Context, detach call, ids []string) (*DetachResult, error) {
	r, err := c.do(ctx, detach)
	if err != nil {
		return nil, err
	}
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
