package apiclient_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

// The vectors were made with the official SDK's signer.
func TestSignatureIsThatOfTheSDK(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/sign_vectors.json")
	require.NoError(t, err)
	var file struct {
		Vectors []struct {
			Name, AK, SK, Method, Body, Authorization string
			WireURL                                   string            `json:"wire_url"`
			Headers                                   map[string]string `json:"request_headers_before_signing"`
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.Len(t, file.Vectors, 5)
	for _, v := range file.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			req := request(t, v.Method, v.WireURL, v.Body)
			if kind := v.Headers["Content-Type"]; kind != "" {
				req.Header.Set("Content-Type", kind)
			}
			sign(t, req, v.Body, v.Headers["X-Sdk-Date"], apiclient.AKSKConfig{
				AccessKey: apiclient.Secret(v.AK), SecretKey: apiclient.Secret(v.SK),
				SecurityToken: apiclient.Secret(v.Headers["X-Security-Token"]), ProjectID: v.Headers["X-Project-Id"],
			})
			require.Equal(t, v.Authorization, req.Header.Get("Authorization"))
			for name, value := range v.Headers {
				require.Equal(t, value, req.Header.Get(name))
			}
		})
	}
}

// These two are unit tests of the SDK itself.
func TestSignatureOfTheSDKsOwnTests(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ method, url, body, signature string }{
		{"GET", "https://example.huaweicloud.com/path?limit=1", "", "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624"},
		{"POST", "https://example.huaweicloud.com/path?key=value", `{"Name":"test","Id":1}` + "\n", "cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59"},
	} {
		req := request(t, v.method, v.url, v.body)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("With_Underscore", "never signed")
		req.Header.Set("Authorization", "of an earlier try")
		sign(t, req, v.body, "20060102T150405Z", apiclient.AKSKConfig{AccessKey: "AccessKey", SecretKey: "SecretKey"})
		require.Equal(t, "SDK-HMAC-SHA256 Access=AccessKey, SignedHeaders=x-sdk-date, Signature="+v.signature,
			req.Header.Get("Authorization"))
	}
}

func request(t *testing.T, method, address, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	require.NoError(t, err)
	return req
}

func sign(t *testing.T, req *http.Request, body, date string, cfg apiclient.AKSKConfig) {
	t.Helper()
	at, err := time.Parse("20060102T150405Z", date)
	require.NoError(t, err)
	// The clock's zone must not matter.
	cfg.Now = func() time.Time { return at.In(time.FixedZone("x", 8*3600)) }
	a, err := apiclient.NewAKSK(cfg)
	require.NoError(t, err)
	refresh, err := a.Authenticate(req, []byte(body))
	require.NoError(t, err)
	require.Nil(t, refresh)
}

func TestNewAKSKNamesTheBadField(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]apiclient.AKSKConfig{
		"AccessKey":     {SecretKey: "s"},
		"SecretKey":     {AccessKey: "a"},
		"SecurityToken": {AccessKey: "a", SecretKey: "s", SecurityToken: "x\n"},
		"ProjectID":     {AccessKey: "a", SecretKey: "s", ProjectID: "x\n"},
	} {
		_, err := apiclient.NewAKSK(cfg)
		require.ErrorContains(t, err, name)
	}
}

func TestClientSignsWhatItSends(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cfg := apiclient.AKSKConfig{
		AccessKey: "access", SecretKey: "secret", SecurityToken: "sts", ProjectID: project, Now: func() time.Time { return at },
	}
	a, err := apiclient.NewAKSK(cfg)
	require.NoError(t, err)
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, body := r.Header.Get("Authorization"), bodyOf(r)
		if !strings.Contains(got, "SignedHeaders=user-agent;x-language;x-project-id;x-sdk-date;x-security-token,") {
			t.Error(got)
		}
		// By net/http, after signing; and what proxies may set anew.
		for _, added := range []string{"Accept-Encoding", "Content-Length", "Traceparent", "Tracestate"} {
			r.Header.Del(added)
		}
		sign(t, r, body, "20260102T030405Z", cfg)
		if r.Header.Get("Authorization") != got || r.Header.Get("X-Project-Id") != project {
			t.Error("what came is not what was signed")
		}
		answer(200, `{"desktops":[],"total_count":0}`)(w, r)
	})
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Auth = a })
	_, err = detachOne(t, c)
	require.NoError(t, err)
	traced := apiclient.WithTrace(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "rojo=1")
	_, err = c.Desktops(traced, []string{"b/+é", "a&b=c", "%41"})
	require.NoError(t, err)
}
