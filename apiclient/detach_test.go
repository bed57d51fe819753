package apiclient_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

func TestDetachSends(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for name, test := range map[string]struct {
		request apiclient.DetachRequest
		body    string
	}{
		"ids only":     {apiclient.DetachRequest{DesktopIDs: []string{"d1", "d2"}}, `{"desktop_ids":["d1","d2"]}`},
		"shut off":     {apiclient.DetachRequest{DesktopIDs: []string{"d1"}, ShutoffAfterDetach: &yes}, `{"desktop_ids":["d1"],"shutoff_after_detach":true}`},
		"keep running": {apiclient.DetachRequest{DesktopIDs: []string{"d1"}, ShutoffAfterDetach: &no}, `{"desktop_ids":["d1"],"shutoff_after_detach":false}`},
		"no escaping":  {apiclient.DetachRequest{DesktopIDs: []string{"<&>"}}, `{"desktop_ids":["<&>"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			var body string
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got, body = r.Clone(t.Context()), bodyOf(r)
				answer(200, `{}`)(w, r)
			})
			_, err := client(t, srv.URL).Detach(t.Context(), test.request)
			require.NoError(t, err)
			require.Equal(t, "POST "+apiPath+"/desktops/detach", got.Method+" "+got.RequestURI)
			require.Equal(t, test.body, body)
			require.EqualValues(t, len(test.body), got.ContentLength)
			for header, want := range map[string]string{
				"Content-Type": "application/json", "X-Language": "en-us", "User-Agent": "detachd",
				"X-Auth-Token": "static-token", "Idempotency-Key": "",
			} {
				require.Equal(t, want, got.Header.Get(header), header)
			}
		})
	}
}

func TestDetachRefusesToSend(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }).URL)
	for name, ids := range map[string][]string{
		"none":      nil,
		"too many":  strings.Split(strings.Repeat("x,", 101)+"x", ","),
		"empty":     {"a", ""},
		"duplicate": {"a", "b", "a"},
		"too long":  {strings.Repeat("a", 256)},
	} {
		_, err := c.Detach(t.Context(), apiclient.DetachRequest{DesktopIDs: ids})
		e := fault(t, err)
		require.Equal(t, apiclient.EffectNone, e.Effect, name)
		require.Equal(t, "DetachInstances", e.Op)
		require.Error(t, e.Err)
		_, err = c.Desktops(t.Context(), ids)
		require.Equal(t, "ListDesktopsDetail", fault(t, err).Op, name)
	}
}

func TestDetachReads(t *testing.T) {
	t.Parallel()
	type failures = []apiclient.DesktopFailure
	for name, test := range map[string]struct {
		body string
		want apiclient.DetachResult
	}{
		"nothing":        {`{}`, apiclient.DetachResult{}},
		"null list":      {`{"failed_operation_list":null,"job_id":null,"success_job_ids":null}`, apiclient.DetachResult{}},
		"empty list":     {` {"failed_operation_list":[]} `, apiclient.DetachResult{}},
		"unknown fields": {`{"new":{"a":[1]},"error_code":""}`, apiclient.DetachResult{}},
		"jobs": {
			`{"job_id":"j0","success_job_ids":["j1","j2"]}`,
			apiclient.DetachResult{JobID: "j0", SuccessJobIDs: []string{"j1", "j2"}},
		},
		"one refused": {
			`{"failed_operation_list":[{"desktop_id":"d2","desktop_name":"PC","error_code":"WKS.00010032","error_msg":"Operation conflict."}]}`,
			apiclient.DetachResult{Failed: failures{{DesktopID: "d2", DesktopName: "PC", Code: "WKS.00010032", Message: "Operation conflict."}}},
		},
		"first of two entries": {
			`{"failed_operation_list":[{"desktop_id":"d2","error_code":"A"},{"desktop_id":"d1"},{"desktop_id":"d2","error_code":"B"}]}`,
			apiclient.DetachResult{Failed: failures{{DesktopID: "d2", Code: "A"}, {DesktopID: "d1"}}},
		},
		"not asked for": {
			`{"failed_operation_list":[{"desktop_id":"D1"},{"desktop_id":"d1"},{"error_msg":"x"},null]}`,
			apiclient.DetachResult{Failed: failures{{DesktopID: "d1"}}, Unasked: failures{{DesktopID: "D1"}, {Message: "x"}, {}}},
		},
		"odd types where it does not matter": {
			`{"failed_operation_list":[{"desktop_id":"d1","error_code":5,"error_msg":{"a":1}}],"job_id":7,"success_job_ids":[1]}`,
			apiclient.DetachResult{Failed: failures{{DesktopID: "d1", Code: "5", Message: `{"a":1}`}}, JobID: "7", SuccessJobIDs: []string{"1"}},
		},
		"overlong texts": {
			`{"failed_operation_list":[{"desktop_id":"d1","error_msg":"` + strings.Repeat("é", 1001) + `"}]}`,
			apiclient.DetachResult{Failed: failures{{DesktopID: "d1", Message: strings.Repeat("é", 1000) + "…"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, answer(200, test.body, "X-Request-Id", "r1"))
			got, err := client(t, srv.URL).Detach(t.Context(), apiclient.DetachRequest{DesktopIDs: []string{"d1", "d2"}})
			require.NoError(t, err)
			test.want.Status, test.want.RequestID = 200, "r1"
			require.Equal(t, &test.want, got)
		})
	}
}

func TestDetachUnreadable200HasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"empty":             answer(200, ``),
		"blank":             answer(200, " \n"),
		"truncated":         answer(200, `{"failed_operation_list":[{"desktop_id":"d1"`),
		"trailing text":     answer(200, `{} {}`),
		"not JSON":          answer(200, `OK`),
		"HTML":              answer(200, `<html>blocked</html>`, "Content-Type", "text/html"),
		"null":              answer(200, `null`),
		"array":             answer(200, `[]`),
		"string":            answer(200, `"ok"`),
		"list is object":    answer(200, `{"failed_operation_list":{}}`),
		"list of strings":   answer(200, `{"failed_operation_list":["d1"]}`),
		"error in a 200":    answer(200, `{"error_code":"WKS.00010110","error_msg":"no"}`),
		"too large":         answer(200, `{"job_id":"`+strings.Repeat("x", 4<<20)+`"}`),
		"too large padding": answer(200, `{}`+strings.Repeat(" ", 4<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := detachOne(t, client(t, serve(t, handler).URL))
			e := fault(t, err)
			require.Equal(t, 200, e.Status)
			require.Equal(t, apiclient.EffectPossible, e.Effect)
			require.False(t, e.AuthFault)
			require.Error(t, e.Err)
			require.LessOrEqual(t, len(e.Error()), 5000)
		})
	}
}

func TestUnaskedIsBounded(t *testing.T) {
	t.Parallel()
	body := `{"failed_operation_list":[` + strings.Repeat(`{"desktop_id":"x"},`, 150) + `{"desktop_id":"d1"}]}`
	got, err := detachOne(t, client(t, serve(t, answer(200, body)).URL))
	require.NoError(t, err)
	require.Len(t, got.Unasked, apiclient.MaxDesktopsPerCall)
	require.Len(t, got.Failed, 1)
}

func TestReplyJustBelowTheLimitIsRead(t *testing.T) {
	t.Parallel()
	_, err := detachOne(t, client(t, serve(t, answer(200, `{}`+strings.Repeat(" ", 4<<20-2))).URL))
	require.NoError(t, err)
}

func TestOneRuleForIDs(t *testing.T) {
	t.Parallel()
	srv := serve(t, answer(200, `{"desktops":[],"total_count":0}`))
	c := client(t, srv.URL)
	_, err := c.Desktops(t.Context(), []string{strings.Repeat("é", 255)})
	require.NoError(t, err, "characters, not bytes")
	for want, id := range map[string]string{"longer than 255 characters": strings.Repeat("é", 256), "white space": "a b", "number that a spreadsheet made": "7.0E+13", "is empty": ""} {
		_, err := c.Desktops(t.Context(), []string{id})
		require.ErrorContains(t, err, want)
	}
}
