package fakecloud_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// Requests signed by the official SDK (v0.1.207), at the time newClock starts.
const (
	ak         = "AKEXAMPLE0000000TEST"
	sk         = "SKexample0000000000000000000000000000000"
	signedDate = "X-Sdk-Date: 20260102T030405Z"
	signedFor  = "X-Project-Id: " + proj
	signedBody = `{"desktop_ids":["21616aa6-061d-4b2f-bd83-b230d7a9a14c","e7a27bad-323f-4ec8-9afe-e53d00171ba9"],"shutoff_after_detach":true}`

	authPrefix    = "Authorization: SDK-HMAC-SHA256 Access=" + ak + ", SignedHeaders=x-project-id;x-sdk-date"
	postSignature = authPrefix + ", Signature=b09dc4898e333751e5043b8e56f2481d4b5250fb81ab3f72c332d2af3faec590"
	getSignature  = authPrefix + ", Signature=05967da3b3c561dcc5d9323799155e246aefc37b9ac4b9ee117f62847fc4903d"
	getPath       = "/v2/" + proj + "/desktops/detail?computer_name=PC%2001%2Fa%2Bb&limit=100&offset=0&status=&tag=dept%3D%E7%A0%94%E5%8F%91&user_names=adam&user_names=zoe"
	postPath      = "/v2/" + proj + "/desktops/detach"

	securityToken  = "X-Security-Token: ggpjbi1ub3J0aC00TESTSECURITYTOKEN=="
	tokenSignature = "Authorization: SDK-HMAC-SHA256 Access=" + ak + ", SignedHeaders=x-project-id;x-sdk-date;x-security-token, Signature=e1b8eca39e01ef5b8138bcee2b11f46aaeba91992d4bdb8eee1e38b922e38baf"
)

func TestSignedRequests(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, AccessKeys: map[string]string{ak: sk}, AutoCreate: true})
	require.Equal(t, 200, c.send("GET", getPath, "", signedDate, signedFor, getSignature).status)
	require.Equal(t, 200, c.send("POST", postPath, signedBody, signedDate, signedFor, postSignature).status)
	log := c.Requests()[1]
	require.Equal(t, fakecloud.AuthSignature, log.Auth)
	require.Equal(t, proj, log.Header.Get("X-Project-Id"))
	require.NotContains(t, log.Header, "Authorization")
	require.True(t, log.Effect)
}

func TestWrongSignatures(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, AccessKeys: map[string]string{ak: sk, "other": sk}, AutoCreate: true})
	for name, header := range map[string][]string{
		"none":           {signedDate, signedFor},
		"other date":     {"X-Sdk-Date: 20260102T030406Z", signedFor, postSignature},
		"no date":        {signedFor, postSignature},
		"other header":   {signedDate, "X-Project-Id: x", postSignature},
		"header missing": {signedDate, postSignature},
		"of a GET":       {signedDate, signedFor, getSignature},
		"unknown key":    {signedDate, signedFor, "Authorization: SDK-HMAC-SHA256 Access=who, SignedHeaders=x-sdk-date, Signature=00"},
		"not complete":   {signedDate, signedFor, "Authorization: SDK-HMAC-SHA256 Access=" + ak},
		"other scheme":   {signedDate, signedFor, "Authorization: Basic YTpi"},
	} {
		got := c.send("POST", postPath, signedBody, header...)
		require.Equal(t, 401, got.status, name)
		require.Contains(t, got.body, `"error_code":"APIGW.0301"`, name)
	}
	require.Equal(t, 401, c.send("POST", postPath, signedBody+"\n", signedDate, signedFor, postSignature).status, "other body")
	require.Empty(t, c.DetachedTimes(proj, "21616aa6-061d-4b2f-bd83-b230d7a9a14c"))
}

func TestClockSkew(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, AccessKeys: map[string]string{ak: sk}, AutoCreate: true})
	for _, tc := range []struct {
		step time.Duration
		want int
	}{{15 * time.Minute, 200}, {time.Second, 401}, {-30*time.Minute - time.Second, 200}, {-time.Second, 401}} {
		clk.advance(tc.step)
		require.Equal(t, tc.want, c.send("GET", getPath, "", signedDate, signedFor, getSignature).status)
	}
}

func TestSecurityToken(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, AutoCreate: true, AccessKeys: map[string]string{ak: sk},
		AccessKeyTokens: map[string]string{ak: "ggpjbi1ub3J0aC00TESTSECURITYTOKEN=="}})
	require.Equal(t, 200, c.send("POST", postPath, signedBody, signedDate, signedFor, securityToken, tokenSignature).status)
	require.Equal(t, 200, c.send("POST", postPath, signedBody, signedDate, signedFor, securityToken, postSignature).status, "sent, not signed")
	require.Equal(t, 401, c.send("POST", postPath, signedBody, signedDate, signedFor, postSignature).status, "not sent")
	require.Equal(t, 401, c.send("POST", postPath, signedBody, signedDate, signedFor, "X-Security-Token: x", postSignature).status)
}
