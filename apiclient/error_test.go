package apiclient_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
)

const none, possible = apiclient.EffectNone, apiclient.EffectPossible

func TestEveryStatus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		code   string
		effect apiclient.Effect
	}{
		{400, "WKS.0001", none}, {400, "WKS.0407", none}, {401, "WKS.00211302", none}, {401, "APIGW.0307", none},
		{403, "WKS.00010099", none}, {404, "WKS.00211902", none}, {405, "WKS.00000405", none}, {408, "", none},
		{409, "WKS.00010032", none}, {413, "APIGW.0201", none}, {414, "APIGW.0201", none}, {429, "APIGW.0308", none},
		{494, "APIGW.0201", none},
		{500, "WKS.0005", possible}, {500, "APIGW.0201", possible}, {500, "APIGW.0613", possible},
		{502, "APIGW.0201", possible}, {503, "", possible}, {503, "APIGW.0201", possible},
		{503, "APIGW.0613", none}, {503, "WKS.00050902", none}, {504, "APIGW.0201", possible},
		{201, "", possible}, {202, "", possible}, {206, "", possible},
		{300, "", none}, {301, "", none}, {302, "", none}, {304, "", none}, {307, "", none}, {308, "", none},
	} {
		t.Run(fmt.Sprint(test.status, test.code), func(t *testing.T) {
			t.Parallel()
			body := fmt.Sprintf(`{"error_code":%q,"error_msg":"why"}`, test.code)
			if test.status == 304 {
				body = ""
			}
			requests := 0
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				answer(test.status, body, "Location", "/elsewhere", "X-Request-Id", "r1")(w, r)
			})
			_, err := detachOne(t, client(t, srv.URL))
			e := fault(t, err)
			require.Equal(t, 1, requests, "nothing is repeated and no redirect followed")
			require.Equal(t, test.status, e.Status)
			require.Equal(t, test.code, e.Code)
			require.Equal(t, test.effect, e.Effect)
			require.Equal(t, test.status == 401, e.AuthFault)
			require.Equal(t, "r1", e.RequestID)
		})
	}
}

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body, contentType string
		want              apiclient.Error
	}{
		"service": {
			`{"error_code":"WKS.0001","error_msg":"m","error_detail":"d","encoded_authorization_message":"opaque"}`, "application/json",
			apiclient.Error{Code: "WKS.0001", Message: "m", Detail: "d", AuthzInfo: "opaque"},
		},
		"gateway": {
			`{"error_msg":"m","error_code":"APIGW.0301","request_id":"r2"}`, "application/json",
			apiclient.Error{Code: "APIGW.0301", Message: "m", RequestID: "r2"},
		},
		"IAM old": {
			`{"error":{"code":403,"message":"m","title":"Forbidden"}}`, "application/json", apiclient.Error{Message: "m"},
		},
		"IAM title":  {`{"error":{"code":403,"title":"Forbidden"}}`, "application/json", apiclient.Error{Message: "Forbidden"}},
		"IAM new":    {`{"error_code":"IAM.0011","error_msg":"m"}`, "application/json", apiclient.Error{Code: "IAM.0011", Message: "m"}},
		"odd types":  {`{"error_code":11,"error_msg":["m"],"error":"x"}`, "application/json", apiclient.Error{Code: "11", Message: `["m"]`}},
		"empty":      {``, "text/plain", apiclient.Error{Message: "empty reply, text/plain"}},
		"null":       {`null`, "application/json", apiclient.Error{Message: "the reply is not from the API: application/json, 4 bytes: null", NotAPI: true}},
		"other JSON": {`{"a":1}`, "application/json", apiclient.Error{Message: `the reply is not from the API: application/json, 7 bytes: {"a":1}`}},
		"truncated":  {`{"error_code":"WK`, "application/json", apiclient.Error{Message: `the reply is not from the API: application/json, 17 bytes: {"error_code":"WK`, NotAPI: true}},
		"binary":     {"\x00\x01a\x1b[31mb", "a/b", apiclient.Error{Message: "the reply is not from the API: a/b, 9 bytes: a [31mb", NotAPI: true}},
		"HTML of WAF": {
			"<html>\n<head>" + strings.Repeat("x", 500), "text/html",
			apiclient.Error{Message: "the reply is not from the API: text/html, 513 bytes: <html> <head>" + strings.Repeat("x", 107) + "…", NotAPI: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, answer(403, test.body, "Content-Type", test.contentType))
			_, err := detachOne(t, client(t, srv.URL))
			test.want.Op, test.want.Status, test.want.Effect = "DetachInstances", 403, none
			test.want.Host = strings.TrimPrefix(srv.URL, "http://")
			require.Equal(t, &test.want, fault(t, err))
		})
	}
}

func TestSummaryDoesNotCutThroughACredential(t *testing.T) {
	t.Parallel()
	srv := serve(t, answer(500, strings.Repeat("x", 112)+knownToken))
	_, err := detachOne(t, client(t, srv.URL, func(c *apiclient.Config) { c.Auth = apiclient.StaticToken(knownToken) }))
	require.Contains(t, fault(t, err).Message, "xxx<secret>")
}

func TestRequestIDPrefersTheHeader(t *testing.T) {
	t.Parallel()
	body := `{"error_code":"x","request_id":"body"}`
	_, err := detachOne(t, client(t, serve(t, answer(400, body, "X-Request-Id", "header", "X-Iam-Trace-Id", "iam")).URL))
	require.Equal(t, "header", fault(t, err).RequestID)
	_, err = detachOne(t, client(t, serve(t, answer(400, body, "X-Iam-Trace-Id", "iam")).URL))
	require.Equal(t, "body", fault(t, err).RequestID)
	_, err = detachOne(t, client(t, serve(t, answer(400, `{}`, "X-Iam-Trace-Id", "iam")).URL))
	require.Equal(t, "iam", fault(t, err).RequestID)
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const date = "Fri, 02 Jan 2026 03:04:05 GMT"
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"17":                            17 * time.Second,
		" 17 ":                          17 * time.Second,
		"-5":                            0,
		"3601":                          time.Hour,
		"99999999999999999999999":       time.Hour,
		"-99999999999999999999999":      0,
		"soon":                          0,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
		"Sat, 03 Jan 2026 03:04:05 GMT": time.Hour,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, answer(429, `{"error_code":"APIGW.0308"}`, "Retry-After", value, "Date", date))
			_, err := detachOne(t, client(t, srv.URL))
			require.Equal(t, want, fault(t, err).RetryAfter)
		})
	}
}

func TestErrorTextIsFitForATerminal(t *testing.T) {
	t.Parallel()
	body := `{"error_code":"WKS.0001","error_msg":"a\u001b[31mb\n\u202ec` + strings.Repeat("é", 2000) + `","error_detail":"d\u0007"}`
	_, err := detachOne(t, client(t, serve(t, answer(500, body, "X-Request-Id", "r1")).URL))
	text := err.Error()
	require.True(t, strings.HasPrefix(text, `DetachInstances: HTTP 500: WKS.0001: a\x1b[31mb\n\u202ecé`), text)
	require.True(t, strings.HasSuffix(text, `é…: d\a; it may have been executed (request r1)`), text)
	require.Less(t, len([]rune(text)), 1200)
}

// A refusal names the desktops that caused it in one of its texts, or none at all.
func TestCulprits(t *testing.T) {
	t.Parallel()
	const documented = "Operation conflict. The desktop current instance status is [powering-off] and deny operation [DETACH_DESKTOP], resource id [d2]."
	for name, test := range map[string]struct {
		err  apiclient.Error
		want []string
	}{
		"as documented":      {apiclient.Error{Message: documented}, []string{"d2"}},
		"in the detail":      {apiclient.Error{Message: "Operation conflict.", Detail: "Resource IDs [d1, d3] are busy"}, []string{"d1", "d3"}},
		"About first":        {apiclient.Error{About: "d9", Message: documented, Detail: "resource id [d4]"}, []string{"d9", "d2", "d4"}},
		"no desktop":         {apiclient.Error{Message: "The parameter is invalid."}, nil},
		"empty or cut":       {apiclient.Error{Message: "resource id []", Detail: "resource id [d1"}, nil},
		"cut, then a detail": {apiclient.Error{Message: "resource id [d1", Detail: "d2]"}, nil},
	} {
		require.Equal(t, test.want, test.err.Culprits(), name)
	}
	cloud, c := fake(t, fakecloud.Config{})
	cloud.Add(project, fakecloud.Desktop{ID: "d1"}, fakecloud.Desktop{ID: "d2"})
	cloud.Fail(fakecloud.Conflict("d2", true))
	_, err := c.Detach(t.Context(), apiclient.DetachRequest{DesktopIDs: []string{"d1", "d2"}})
	require.Equal(t, []string{"d2"}, fault(t, err).Culprits())
}
