package fakecloud

import (
	"net/http"
	"strings"
	"time"
)

// Values of Request.Auth: how a request was authenticated.
const (
	AuthNone      = ""
	AuthToken     = "token"
	AuthSignature = "signature"
)

// authKind returns the kind of credentials in the request, valid or not.
func authKind(r *http.Request) string {
	switch {
	case strings.HasPrefix(r.Header.Get("Authorization"), algorithm+" "):
		return AuthSignature
	case r.Header.Get("X-Auth-Token") != "":
		return AuthToken
	}
	return AuthNone
}

// authenticate returns the reply to a request without valid credentials; nil: they are valid.
func (x *exchange) authenticate() *reply {
	if x.cfg.open() {
		return nil
	}
	switch authKind(x.r) {
	case AuthSignature:
		if err := x.checkSignature(); err != nil {
			return unauthorized(err.Error())
		}
		return nil
	case AuthToken:
		return x.checkToken(x.r.Header.Get("X-Auth-Token"), x.cfg.Clock())
	}
	return unauthorized("Unauthorized")
}

func unauthorized(why string) *reply {
	return fail(http.StatusUnauthorized, "APIGW.0301", "Incorrect IAM authentication information: "+why)
}

// checkToken returns the reply to a request whose token is not valid for its project.
func (x *exchange) checkToken(value string, now time.Time) *reply {
	c := x.Cloud
	if c.cfg.Token != "" && value == c.cfg.Token {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, issued := c.tokens[value]
	switch {
	case !issued:
		return unauthorized("decrypt token fail")
	case !now.Before(t.expires):
		return fail(http.StatusUnauthorized, "APIGW.0307", "")
	case !t.validFor(x.projectID):
		return fail(http.StatusForbidden, "APIGW.0302", "")
	}
	return nil
}
