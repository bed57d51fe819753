package fakecloud

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// iamTime is IAM's format of times.
const iamTime = "2006-01-02T15:04:05.000000Z"

// token is an issued token.
type token struct {
	expires time.Time
	project scopeProject
}

// scopeProject is the project in a request for a token: by id, or by the name of its region,
// which this package cannot map to an id.
type scopeProject struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// validFor reports whether the token is valid for a project.
func (t token) validFor(projectID string) bool {
	return t.project.ID == projectID || (t.project.ID == "" && t.project.Name != "")
}

// tokenRequest is the body of POST /v3/auth/tokens.
type tokenRequest struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password struct {
				User struct {
					Name     string `json:"name"`
					Password string `json:"password"`
					Domain   struct {
						Name string `json:"name"`
					} `json:"domain"`
				} `json:"user"`
			} `json:"password"`
		} `json:"identity"`
		Scope struct {
			Project scopeProject `json:"project"`
		} `json:"scope"`
	} `json:"auth"`
}

// issueToken is POST /v3/auth/tokens.
func (x *exchange) issueToken() (rep *reply, effect bool) {
	var body tokenRequest
	if json.Unmarshal(x.body, &body) != nil || !slices.Equal(body.Auth.Identity.Methods, []string{"password"}) {
		return iamError(http.StatusBadRequest, "The request body is invalid"), false
	}
	asked := body.Auth.Identity.Password.User
	user := IAMUser{Name: asked.Name, Password: asked.Password, Domain: asked.Domain.Name}
	if !x.cfg.open() && !slices.Contains(x.cfg.Users, user) {
		return iamError(http.StatusUnauthorized, "The username or password is wrong."), false
	}
	now := x.cfg.Clock().UTC()
	t := token{expires: now.Add(x.cfg.TokenLifetime), project: body.Auth.Scope.Project}
	// As long as many real tokens, so that clients do not depend on short ones.
	value := "MII" + strings.Repeat("F", 2000) + x.requestID
	x.Cloud.mu.Lock()
	x.tokens[value] = t
	x.Cloud.mu.Unlock()
	rep = &reply{status: http.StatusCreated, body: marshal(t.body(user, now, x.r.URL.Query().Get("nocatalog") != ""))}
	rep.set("X-Subject-Token", value)
	return rep, true
}

// body returns IAM's description of the token.
func (t token) body(user IAMUser, now time.Time, nocatalog bool) any {
	domain := map[string]string{"id": "domain-of-" + user.Name, "name": user.Domain}
	desc := map[string]any{
		"expires_at": t.expires.Format(iamTime),
		"issued_at":  now.Format(iamTime),
		"methods":    []string{"password"},
		"project":    map[string]any{"id": t.project.ID, "name": t.project.Name, "domain": domain},
		"roles":      []any{},
		"user": map[string]any{
			"id": "id-" + user.Name, "name": user.Name, "domain": domain, "password_expires_at": "",
		},
	}
	if !nocatalog {
		desc["catalog"] = []any{}
	}
	return map[string]any{"token": desc}
}

// iamError returns an error in IAM's format. message defaults to the text of the status.
func iamError(status int, message string) *reply {
	if message == "" {
		message = http.StatusText(status)
	}
	return &reply{status: status, body: marshal(map[string]any{"error": map[string]any{
		"code": status, "message": message, "title": http.StatusText(status),
	}})}
}

// ExpireTokens expires all tokens issued so far: requests with them get 401 APIGW.0307.
func (c *Cloud) ExpireTokens() {
	now := c.cfg.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for value, t := range c.tokens {
		t.expires = now
		c.tokens[value] = t
	}
}
