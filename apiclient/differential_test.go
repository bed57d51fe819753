package apiclient

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The old decoder of replies, with encoding/json. What the new one makes of a reply must be the same.
type (
	oldText   string
	oldNumber int
	oldGuard  bool
	oldTags   struct {
		list   []string
		unread bool
	}
	// oldList begins anew when a name is repeated, where encoding/json would mix both lists.
	oldList[T any] []T
)

func (l *oldList[T]) UnmarshalJSON(raw []byte) error {
	*l = nil
	return json.Unmarshal(raw, (*[]T)(l))
}

func (t *oldText) UnmarshalJSON(raw []byte) error {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil {
		*t = oldText(raw)
		return nil
	}
	*t = ""
	if s != nil {
		*t = oldText(*s)
	}
	return nil
}

func oldSpelled(raw []byte) string {
	var t oldText
	_ = t.UnmarshalJSON(raw)
	return string(t)
}

func (n *oldNumber) UnmarshalJSON(b []byte) error {
	*n = -1
	s := oldSpelled(b)
	if i, err := strconv.Atoi(s); err == nil && i >= 0 {
		*n = oldNumber(i)
	} else if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f <= math.MaxInt32 && f == math.Trunc(f) {
		*n = oldNumber(f)
	}
	return nil
}

func (n *oldNumber) or(fallback int) int {
	if n == nil || *n == -1 {
		return fallback
	}
	return int(*n)
}

func (g *oldGuard) UnmarshalJSON(b []byte) error {
	s := strings.ToLower(oldSpelled(b))
	*g = s != "" && s != "false" && s != "0"
	return nil
}

func (t *oldTags) UnmarshalJSON(b []byte) error {
	*t = oldTags{}
	var items []json.RawMessage
	if json.Unmarshal(b, &items) != nil {
		t.unread = oldSpelled(b) != ""
		return nil
	}
	t.unread = len(items) > maxTags
	for _, raw := range items[:min(len(items), maxTags)] {
		var tag struct {
			Key   oldText `json:"key"`
			Value oldText `json:"value"`
		}
		var plain string
		switch {
		case json.Unmarshal(raw, &plain) == nil && plain != "":
			t.list = append(t.list, clip(plain, 2*maxName+1))
		case oldDecode(raw, &tag) == nil && tag.Key != "":
			t.list = append(t.list, clip(string(tag.Key), maxName)+"="+clip(string(tag.Value), maxName))
		default:
			t.unread = true
		}
	}
	return nil
}

func oldDecode(body []byte, into any) error {
	body = bytes.TrimSpace(withoutMark(body))
	switch {
	case len(body) == 0:
		return errEmptyReply
	case body[0] != '{':
		return errNotObject
	}
	return json.Unmarshal(body, into)
}

type oldPage struct {
	Desktops oldList[oldDetail] `json:"desktops"`
	Total    *oldNumber         `json:"total_count"`
}

type oldDetail struct {
	ID           oldText    `json:"desktop_id"`
	ComputerName oldText    `json:"computer_name"`
	Type         oldText    `json:"desktop_type"`
	Status       oldText    `json:"status"`
	TaskStatus   oldText    `json:"task_status"`
	Process      *oldNumber `json:"process"`
	AttachState  oldText    `json:"attach_state"`
	LoginStatus  oldText    `json:"login_status"`
	Created      oldText    `json:"created"`
	UserName     oldText    `json:"user_name"`
	Users        oldList[struct {
		ID     oldText `json:"user_id"`
		Name   oldText `json:"user_name"`
		Domain oldText `json:"domain"`
		Group  oldText `json:"user_group"`
		Type   oldText `json:"type"`
	}] `json:"attach_user_infos"`
	Frozen      oldGuard `json:"is_freeze"`
	Maintenance oldGuard `json:"in_maintenance_mode"`
	Tags        oldTags  `json:"tags"`
}

// oldDesktops are the desktops of a list, and its total_count or -1.
func oldDesktops(body []byte) ([]Desktop, int, error) {
	var p oldPage
	if err := oldDecode(body, &p); err != nil {
		return nil, 0, err
	}
	total := p.Total.or(-1)
	var out []Desktop
	for _, d := range p.Desktops {
		if d.ID == "" {
			return nil, 0, errNamelessItem
		}
		one := Desktop{
			ID: string(d.ID), Process: d.Process.or(-1), ComputerName: clip(string(d.ComputerName), maxName),
			Type: clip(string(d.Type), maxName), Status: clip(string(d.Status), maxName),
			TaskStatus: clip(string(d.TaskStatus), maxName), AttachState: clip(string(d.AttachState), maxName),
			LoginStatus: clip(string(d.LoginStatus), maxName), Frozen: bool(d.Frozen), Maintenance: bool(d.Maintenance),
			Tags: d.Tags.list, TagsUnread: d.Tags.unread,
		}
		if at, err := time.Parse(time.RFC3339, string(d.Created)); err == nil {
			one.Created = at
		}
		for _, u := range d.Users {
			one.Users = append(one.Users, User{
				ID: clip(string(u.ID), maxName), Name: clip(string(u.Name), maxName), Domain: clip(string(u.Domain), maxName),
				Group: clip(string(u.Group), maxName), Type: clip(string(u.Type), maxName),
			})
		}
		if len(one.Users) == 0 && d.UserName != "" && d.AttachState == "ATTACHED" {
			one.Users = []User{{Name: clip(string(d.UserName), maxName)}}
		}
		out = append(out, one)
	}
	empty := p.Total != nil && total == 0
	switch {
	case p.Desktops == nil && !empty:
		return nil, 0, errNoList
	case len(out) == 0 && total > 0:
		return nil, 0, errListMissing
	}
	return out, total, nil
}

// Replies that the two decoders might read differently.
var oddReplies = []string{
	``, `{}`, `null`, `[]`, "\ufeff{}", " {} ", "{}{}", `{"desktops":null,"total_count":0}`, `{"desktops":null,"total_count":"0"}`,
	`{"desktops":[],"total_count":1e0}`, `{"desktops":[],"total_count":-0}`, `{"desktops":[],"total_count":0.5}`, `{"total_count":01}`,
	`{"desktops":[{}]}`, `{"desktops":[null]}`, `{"desktops":[[]]}`, `{"desktops":["d"]}`, `{"desktops":{}}`, `{"desktops":"d"}`, `{"desktops":7}`,
	`{"desktops":[{"desktop_id":1,"status":null,"process":"7","attach_user_infos":[{"user_name":{ "a" : 1 }},null]}]}`,
	`{"desktops":[{"desktop_id":"d","process":null,"attach_user_infos":{}}]}`, `{"desktops":[{"desktop_id":"d","attach_user_infos":[7]}]}`,
	`{"desktops":[{"desktop_id":"d","tags":[{"key":"k","value":"v"},"k=v",null,"",{"key":{}},7,[],{}]}]}`,
	`{"desktops":[{"desktop_id":"d","tags":{"k":"v"}},{"desktop_id":"e","tags":null},{"desktop_id":"f","tags":""}]}`,
	`{"Desktops":[{"DESKTOP_ID":"d","ſtatus":"ACTIVE","taſK_ſtatus":"x","desktop-id":"y","desktopid":"z"}],"total-count":9}`,
	`{"desktops":[{"desktop_id":"a","desktop_id":"b","is_freeze":true,"is_freeze":false,"tags":["x"],"tags":["y"]}]}`,
	`{"desktops":[{"desktop_id":"a","is_freeze":true}],"desktops":[{"desktop_id":"b"}]}`, `{"desktops":[{"desktop_id":"a"}],"DESKTOPS":null}`,
	`{"desktops":[{"desktop_id":"a","attach_user_infos":[{"user_id":"1","user_name":"u"}],"attach_user_infos":[{"user_name":"v"}]}]}`,
	"{\"desktops\":[{\"desktop_id\":\"\xff\xc3\",\"computer_name\":{\"\xff\":1}}]}", "{\"\xff\":1,\"desktops\":[{\"desktop_id\":\"d\"}]}",
	`{"desktops":[{"desktop_id":"\ud800","status":"\u0041CTIVE","attach_state":"ATTACHED","user_name":"ann"}]}`,
	`{"desktop\u0073":[{"desktop_id":"d","created":"2026-11-23T12:00:00Z","is_freeze":"False","in_maintenance_mode":{}}]}`,
	`{"desktops":[{"desktop_id":"d","status":"ACTIVE","attach_state":"UNATTACH","login_status":"DISCONNECTED","desktop_type":"DEDICATED"}]}`,
	`{"desktops":[{"desktop_id":"d","status":"SHUTOFF","attach_state":"DEATTACHED","login_status":"CONNECTED"}]}`,
	`{"desktops":[{"desktop_id":"d","login_status":"REGISTERED","attach_user_infos":[{"type":"USER"}]},{"desktop_id":"e","login_status":"UNREGISTER"}]}`,
	`{"desktops":[{"desktop_id":"d"},]}`, `{"desktops":[{"desktop_id":"d"}]`, "{\"desktops\":[{\"desktop_id\":\"a\tb\"}]}", `{"x":[1,{"y":tru}]}`,
	`{"failed_operation_list":[{"desktop_id":"d1","error_code":1},{"desktop_id":"d1"},null,{"desktop_id":"x"}],"job_id":null,"success_job_ids":["j",7]}`,
	`{"failed_operation_list":[{"desktop_id":"d1"}],"failed_operation_list":[{"error_msg":"m"}],"Job_ID":"j","error_code":""}`,
	`{"error_code":"WKS.1"}`, `{"error":{}}`, `{"failed_operation_list":{}}`, `{"success_job_ids":"j"}`, `{"success_job_ids":[null,{"a":1}]}`,
}

// A list of desktops, whatever its shape, is read as encoding/json reads it.
func FuzzDesktopsReadAsBefore(f *testing.F) {
	for _, seed := range oddReplies {
		f.Add([]byte(seed))
	}
	f.Add(pageOfDesktops(f, 3))
	f.Fuzz(func(t *testing.T, body []byte) {
		want, total, wantErr := oldDesktops(body)
		var p desktopPage
		err := decodeObject(body, &p)
		if err == nil {
			err = p.check(0)
		}
		require.Equal(t, wantErr == nil, err == nil, "%q: was %v, is %v", body, wantErr, err)
		if err == nil {
			require.Equal(t, total, p.Total.or(-1), "%q", body)
			require.Equal(t, want, append([]Desktop(nil), p.desktops(reply{})...), "%q", body)
		}
	})
}

// The same for the reply to a detach call.
func FuzzDetachReadsAsBefore(f *testing.F) {
	for _, seed := range oddReplies {
		f.Add([]byte(seed))
	}
	type old struct {
		Failed oldList[struct {
			DesktopID   oldText `json:"desktop_id"`
			DesktopName oldText `json:"desktop_name"`
			Code        oldText `json:"error_code"`
			Message     oldText `json:"error_msg"`
		}] `json:"failed_operation_list"`
		JobID         oldText          `json:"job_id"`
		SuccessJobIDs oldList[oldText] `json:"success_job_ids"`
		Code          oldText          `json:"error_code"`
		Error         oldText          `json:"error"`
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var was old
		var is detachReply
		wantErr, err := oldDecode(body, &was), decodeObject(body, &is)
		require.Equal(t, wantErr == nil, err == nil, "%q: was %v, is %v", body, wantErr, err)
		if err != nil {
			return
		}
		require.Equal(t, []string{string(was.JobID), string(was.Code), string(was.Error)},
			[]string{string(is.JobID), string(is.Code), string(is.Error)}, "%q", body)
		require.Len(t, is.Failed, len(was.Failed), "%q", body)
		for i, f := range was.Failed {
			g := is.Failed[i]
			require.Equal(t, []string{string(f.DesktopID), string(f.DesktopName), string(f.Code), string(f.Message)},
				[]string{string(g.DesktopID), string(g.DesktopName), string(g.Code), string(g.Message)}, "%q", body)
		}
		require.Len(t, is.SuccessJobIDs, len(was.SuccessJobIDs), "%q", body)
		for i, id := range was.SuccessJobIDs {
			require.Equal(t, string(id), string(is.SuccessJobIDs[i]), "%q", body)
		}
	})
}
