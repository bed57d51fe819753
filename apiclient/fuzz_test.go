package apiclient

import (
	"net/http"
	"slices"
	"testing"
	"unicode/utf8"
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
