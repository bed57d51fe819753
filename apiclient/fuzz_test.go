package apiclient

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func FuzzDetachReply(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"failed_operation_list":null}`, `<html>`, "\xff",
		`{"failed_operation_list":[{"desktop_id":"d1","desktop_name":"n","error_code":"WKS.0001","error_msg":"m"},{"desktop_id":"d1"},{"desktop_id":"x"},null,{}]}`,
		`{"failed_operation_list":[{"desktop_id":1,"error_code":{},"error_msg":[]}],"job_id":1,"success_job_ids":["a",null,{}]}`,
		`{"error_code":"WKS.00010110"}`, `{"failed_operation_list":[{"desktop_id":"d1"`,
	} {
		f.Add([]byte(seed))
	}
	sent := []string{"d1", "d2", "21616aa6-061d-4b2f-bd83-b230d7a9a14c"}
	f.Fuzz(func(t *testing.T, body []byte) {
		result, err := decodeDetach(body, sent)
		if (result == nil) == (err == nil) {
			t.Fatalf("want either a result or an error: %v, %v", result, err)
		}
		if err != nil {
			return
		}
		if len(result.Failed) > len(sent) || len(result.Unasked) > MaxDesktopsPerCall {
			t.Fatalf("%d failed, %d unasked", len(result.Failed), len(result.Unasked))
		}
		seen := map[string]bool{}
		for _, failure := range result.Failed {
			if !slices.Contains(sent, failure.DesktopID) || seen[failure.DesktopID] {
				t.Fatalf("%q was not sent, or is there twice", failure.DesktopID)
			}
			seen[failure.DesktopID] = true
		}
		for _, failure := range slices.Concat(result.Failed, result.Unasked) {
			if slices.Contains(sent, failure.DesktopID) && !seen[failure.DesktopID] {
				t.Fatalf("%q was sent", failure.DesktopID)
			}
			bounded(t, failure.DesktopID, maxName)
			bounded(t, failure.DesktopName, maxName)
			bounded(t, failure.Code, maxName)
			bounded(t, failure.Message, maxText)
		}
		bounded(t, result.JobID, maxName)
	})
}

func FuzzErrorReply(f *testing.F) {
	f.Add(400, "application/json", "7", []byte(`{"error_code":"WKS.0001","error_msg":"a\u001b","request_id":"r"}`))
	f.Add(503, "text/html", "Fri, 02 Jan 2026 03:04:35 GMT", []byte("<html>the-token\xff"))
	f.Add(401, "", "-1", []byte(`{"error":{"code":401,"message":"the-token"}}`))
	f.Fuzz(func(t *testing.T, status int, kind, retry string, body []byte) {
		header := http.Header{"Content-Type": {kind}, "Retry-After": {retry}}
		e := newError(call{op: "Op"}, reply{status: status, header: header, body: body, left: true, secrets: []string{"the-token"}}, nil)
		if e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Fatal(e.RetryAfter)
		}
		bounded(t, e.Message, maxText)
		bounded(t, e.Detail, maxText)
		bounded(t, e.Code, maxName)
		if isRedirect(status) && !e.NotAPI || e.NotAPI && isObject(bytes.TrimSpace(body)) && status != 407 && !isRedirect(status) {
			t.Fatalf("%d %q: %v", status, body, e.NotAPI)
		}
		for _, r := range e.Error() {
			if r < ' ' || r == 0x7f || r == '\u202e' {
				t.Fatalf("%q", e.Error())
			}
		}
	})
}

// bounded allows for the mark of a cut.
func bounded(t *testing.T, s string, limit int) {
	t.Helper()
	if utf8.RuneCountInString(s) > limit+1 {
		t.Fatalf("%d characters", utf8.RuneCountInString(s))
	}
}

func FuzzDesktopList(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"desktops":null,"total_count":0}`, `{"desktops":[{"desktop_id":"d","process":"7","addresses":{}}],"total_count":1}`,
		`{"desktops":[{"desktop_id":1,"attach_user_infos":[{"user_name":{}},null]}]}`, `{"desktops":[{}]}`,
		`{"desktops":[{"desktop_id":"d","tags":[{"key":"k","value":"v"},"k=v",null,{"key":{}},7]}]}`,
		`{"desktops":[{"desktop_id":"d","tags":{"k":"v"},"attach_user_infos":[{"user_name":"u","domain":1}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var p desktopPage
		if decodeObject(body, &p) != nil || p.check(0) != nil {
			return
		}
		for _, d := range p.desktops(reply{}) {
			if d.ID == "" {
				t.Fatal("a desktop without an id")
			}
			for _, s := range []string{d.ComputerName, d.Type, d.Status, d.TaskStatus, d.AttachState} {
				bounded(t, s, maxName)
			}
			for _, u := range d.Users {
				bounded(t, u.Name+u.ID, 2*maxName)
				bounded(t, u.Domain, maxName)
			}
			if len(d.Tags) > maxTags {
				t.Fatalf("%d tags", len(d.Tags))
			}
			for _, tag := range d.Tags {
				if tag == "" {
					t.Fatal("a tag that says nothing")
				}
				bounded(t, tag, 2*maxName+2)
			}
		}
	})
}

func FuzzUserList(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"users":null,"total_count":0}`, `{"users":[{}]}`, `{"users":[null]}`,
		`{"users":[{"id":"u","user_name":"zoe","user_email":"z@x","domain":"d","total_desktops":"7"}],"total_count":1}`,
		`{"users":[{"id":1,"user_name":{},"total_desktops":-5},{"user_name":"a","total_desktops":1.5}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var p userPage
		if decodeObject(body, &p) != nil || p.check(0) != nil {
			return
		}
		people := p.people()
		if p.Total != nil && *p.Total > 0 && len(people) == 0 {
			t.Fatal("a list that says that it is not empty passes for empty")
		}
		for _, one := range people {
			if one.ID == "" && one.Name == "" || one.Desktops < -1 {
				t.Fatalf("%+v", one)
			}
			bounded(t, one.ID, maxName)
			bounded(t, one.Name, maxName)
			bounded(t, one.Email, maxName)
			bounded(t, one.Domain, maxName)
		}
	})
}

func FuzzUsageList(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"items":null,"count":0}`, `{"items":[{}]}`, `{"items":[null]}`, `{"items":[{"resource_id":"d","metric":null}],"count":"1"}`,
		`{"items":[{"resource_id":"d","latest_connect_username":{},"metric":[{"metric_name":"desktop_usage","metric_value":"7.5"}]}]}`,
		`{"items":[{"resource_id":1,"metric":[{"metric_name":"desktop_usage"},{"metric_name":"desktop_idle_duration","metric_value":"NaN"}]}]}`,
		`{"items":[{"resource_id":"d","metric":[{"metric_name":"desktop_usage","metric_value":0},{"metric_name":"desktop_usage","metric_value":9e99}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var p usageList
		if decodeObject(body, &p) != nil || p.check(0) != nil {
			return
		}
		usages := p.usages()
		if p.Count != nil && *p.Count > 0 && len(usages) == 0 {
			t.Fatal("a list that says that it is not empty passes for empty")
		}
		for _, u := range usages {
			if u.DesktopID == "" || u.Used < -1 || u.Idle < -1 {
				t.Fatalf("%+v", u)
			}
			if (u.Used >= 0 || u.Idle >= 0) && !bytes.ContainsAny(body, "0123456789") {
				t.Fatalf("%+v was not shown", u)
			}
			bounded(t, u.LastUser, maxName)
		}
	})
}

func FuzzSubJobs(f *testing.F) {
	f.Add([]byte(`[{"status":"FAIL","entities":{"desktop_id":"d"}},{"desktop_id":1},null,{"entities":[]}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var page struct {
			Jobs []subJobDetail `json:"jobs"`
		}
		if decodeObject(append(append([]byte(`{"jobs":`), body...), '}'), &page) != nil {
			return
		}
		for _, j := range subJobs(page.Jobs) {
			if j.DesktopID == "" || j.Status == "FAIL" || j.Status == "COMPLETE" {
				t.Fatalf("%+v", j)
			}
			bounded(t, j.Reason, maxText)
			bounded(t, j.Code, maxName)
		}
	})
}

// A text reads as encoding/json reads it.
func FuzzText(f *testing.F) {
	for _, seed := range []string{
		`""`, `"a b~"`, `"a\\u0041"`, `"\\""`, `"é"`, "\"\x7f\"", `null`, `1`, `{"a":"b"}`, `"\ud800"`, `"\ud83d\ude00"`, `"\ud800\ud83d\ude00"`,
		"\"\xff\xc3\"", `"ACTIVE"`, `"\u0000"`, `"\/"`, "\"\xed\xa0\x80\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = bytes.TrimSpace(raw)
		if !json.Valid(raw) {
			return
		}
		var got text
		require.NoError(t, got.UnmarshalJSON(raw))
		want := string(raw)
		var s *string
		if json.Unmarshal(raw, &s) == nil {
			want = ""
			if s != nil {
				want = *s
			}
		}
		require.Equal(t, want, string(got))
	})
}
