package apiclient

import (
	"context"
	"fmt"
	"net/http"
)

// MaxAttachPerCall is the maximum number of desktops in one Attach.
// Source: AttachInstances.
const MaxAttachPerCall = 50

// Attachment gives one desktop to users.
type Attachment struct {
	DesktopID string
	Shared    bool   // a multi-user desktop; others have exactly one user
	Users     []User // 1 to MaxUsersPerDesktop; Name and Group are required
}

// Attach gives 1 to MaxAttachPerCall desktops without duplicates to users, with one POST
// /v2/{project_id}/desktops/attach (AttachInstances). It always sends is_clear_data false,
// because the default deletes the user's data. The cloud deletes it all the same if the
// desktop had another user before: name only the user who had it last.
//
// The cloud works on it as a job (DetachResult.JobID), whose parts say what failed. Result
// and errors are otherwise those of Detach.
// Source: AttachInstances of huaweicloud-sdk-go-v3 0.1.207;
// https://support.huaweicloud.com/intl/en-us/api-workspace/AttachInstances.html
func (c *Client) Attach(ctx context.Context, desktops []Attachment) (*DetachResult, error) {
	attach := call{op: "AttachInstances", method: http.MethodPost, path: "desktops/attach"}
	ids := make([]string, len(desktops))
	var body attachBody
	for i, d := range desktops {
		ids[i] = d.DesktopID
		if err := d.check(); err != nil {
			return nil, localError(attach, err)
		}
		body.Desktops = append(body.Desktops, d.item())
	}
	err := checkIDs(ids)
	if err == nil && len(ids) > MaxAttachPerCall {
		err = fmt.Errorf("%d desktops: want 1 to %d", len(ids), MaxAttachPerCall)
	}
	if err != nil {
		return nil, localError(attach, err)
	}
	if attach.body, err = encodeBody(body); err != nil {
		return nil, localError(attach, err)
	}
	return c.sendDetach(ctx, attach, ids)
}

func (a Attachment) check() error {
	most := 1
	if a.Shared {
		most = MaxUsersPerDesktop
	}
	if n := len(a.Users); n == 0 || n > most {
		return fmt.Errorf("desktop %q would get %d users: want 1 to %d", a.DesktopID, n, most)
	}
	for _, u := range a.Users {
		if u.Name == "" || u.Group == "" {
			return fmt.Errorf("a user of desktop %q has no name or no user group", a.DesktopID)
		}
	}
	return nil
}

func (a Attachment) item() attachItem {
	if !a.Shared {
		u := a.Users[0]
		return attachItem{DesktopID: a.DesktopID, UserID: u.ID, UserName: u.Name, UserGroup: u.Group}
	}
	item := attachItem{DesktopID: a.DesktopID}
	for _, u := range a.Users {
		item.Users = append(item.Users, userInfo(u))
	}
	return item
}

type attachBody struct {
	Desktops []attachItem `json:"desktops"`
}

// attachItem has no computer_name, which renames the desktop, and no user_email, to which
// the cloud would write.
type attachItem struct {
	DesktopID string     `json:"desktop_id"`
	UserName  string     `json:"user_name,omitempty"`
	UserID    string     `json:"user_id,omitempty"`
	UserGroup string     `json:"user_group,omitempty"`
	ClearData bool       `json:"is_clear_data"` // always false
	Users     []userInfo `json:"attach_user_infos,omitempty"`
}
