package fakecloud_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

var ann = fakecloud.IAMUser{Name: "ann", Password: "secret", Domain: "acme"}

func tokenBody(u fakecloud.IAMUser, scope string) string {
	return fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"password":%q,"domain":{"name":%q}}}},"scope":%s}}`,
		u.Name, u.Password, u.Domain, scope)
}

func TestTokenIsIssuedAndAccepted(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, Users: []fakecloud.IAMUser{ann}, AutoCreate: true})

	got := c.send("POST", "/v3/auth/tokens?nocatalog=true", tokenBody(ann, `{"project":{"id":"`+proj+`"}}`))

	require.Equal(t, 201, got.status, got.body)
	token := got.header.Get("X-Subject-Token")
	require.Greater(t, len(token), 2000)
	var body map[string]map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &body))
	require.Equal(t, "2026-01-03T03:04:05.000000Z", body["token"]["expires_at"])
	require.Equal(t, "2026-01-02T03:04:05.000000Z", body["token"]["issued_at"])
	require.NotContains(t, body["token"], "catalog")
	require.Contains(t, c.send("POST", "/v3/auth/tokens", tokenBody(ann, `{}`)).body, `"catalog":[]`)

	ask := func(project, token string) answer {
		return c.send("GET", "/v2/"+project+"/desktops/d", "", "X-Auth-Token: "+token)
	}
	require.Equal(t, 200, ask(proj, token).status)
	require.Equal(t, 403, ask("other", token).status)
	wrong := ask(proj, "made up")
	require.Equal(t, 401, wrong.status)
	require.Contains(t, wrong.body, `"error_code":"APIGW.0301","request_id":"`+wrong.header.Get("X-Request-Id")+`"`)
	require.Equal(t, 401, c.get("/desktops/d").status, "no token at all")

	clk.advance(24 * time.Hour)
	late := ask(proj, token)
	require.Equal(t, 401, late.status)
	require.Contains(t, late.body, `"error_code":"APIGW.0307"`)
}

func TestScopeOfTokens(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Users: []fakecloud.IAMUser{ann}, AutoCreate: true})
	for scope, want := range map[string]int{
		`{"project":{"name":"ap-southeast-3"}}`: 200,
		`{"project":{"id":"other"}}`:            403,
		`{}`:                                    403,
		`{"domain":{"name":"acme"}}`:            403,
	} {
		token := c.send("POST", "/v3/auth/tokens", tokenBody(ann, scope)).header.Get("X-Subject-Token")
		got := c.send("GET", "/v2/"+proj+"/desktops/d", "", "X-Auth-Token: "+token)
		require.Equal(t, want, got.status, scope)
	}
}

func TestExpireTokens(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Users: []fakecloud.IAMUser{ann}, AutoCreate: true})
	scope := `{"project":{"name":"x"}}`
	old := c.send("POST", "/v3/auth/tokens", tokenBody(ann, scope)).header.Get("X-Subject-Token")
	c.ExpireTokens()
	fresh := c.send("POST", "/v3/auth/tokens", tokenBody(ann, scope)).header.Get("X-Subject-Token")
	require.Contains(t, c.send("GET", "/v2/"+proj+"/desktops/d", "", "X-Auth-Token: "+old).body, "APIGW.0307")
	require.Equal(t, 200, c.send("GET", "/v2/"+proj+"/desktops/d", "", "X-Auth-Token: "+fresh).status)
}

func TestTokenRefused(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Users: []fakecloud.IAMUser{ann}})
	for _, u := range []fakecloud.IAMUser{{"ann", "wrong", "acme"}, {"ann", "secret", "other"}, {"bob", "secret", "acme"}} {
		got := c.send("POST", "/v3/auth/tokens", tokenBody(u, `{}`))
		require.Equal(t, 401, got.status)
		require.JSONEq(t, `{"error":{"code":401,"message":"The username or password is wrong.","title":"Unauthorized"}}`, got.body)
		require.Empty(t, got.header.Get("X-Subject-Token"))
	}
	for _, body := range []string{``, `{`, `{}`, `{"auth":{"identity":{"methods":["totp"]}}}`} {
		got := c.send("POST", "/v3/auth/tokens", body)
		require.Equal(t, 400, got.status)
		require.JSONEq(t, `{"error":{"code":400,"message":"The request body is invalid","title":"Bad Request"}}`, got.body)
	}
	require.Empty(t, c.Requests()[0].Body, "passwords are not logged")
	require.Equal(t, 7, c.CallsOf(fakecloud.OpToken, ""))
}

func TestStaticToken(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{Token: "static", AutoCreate: true})
	got := c.send("GET", "/v2/"+proj+"/desktops/d", "", "X-Auth-Token: static")
	require.Equal(t, 200, got.status)
	require.Equal(t, fakecloud.AuthToken, c.Requests()[0].Auth)
	require.Equal(t, 401, c.send("GET", "/v2/"+proj+"/desktops/d", "", "X-Auth-Token: other").status)
	require.Equal(t, 401, c.send("POST", "/v3/auth/tokens", tokenBody(ann, `{}`)).status, "nobody may ask for one")
}
