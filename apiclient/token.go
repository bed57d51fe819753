package apiclient

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// StaticToken returns an Authenticator with a given token (X-Auth-Token). It cannot renew
// the token: after it expires, after 24 hours at most, every call fails with AuthFault.
func StaticToken(token Secret) Authenticator { return &staticToken{&token} }

type staticToken struct{ token *Secret } // see Secret for the pointer

func (s *staticToken) Authenticate(req *http.Request, _ []byte) (func() bool, error) {
	if !s.token.inHeader() {
		return nil, &Error{
			Op: "StaticToken", Effect: EffectNone, AuthFault: true,
			Err: errors.New("the token is empty or not printable ASCII"),
		}
	}
	req.Header.Set(headerAuthToken, s.token.Reveal())
	return nil, nil
}

// Format keeps the token out of %+v.
func (s *staticToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("StaticToken")) }

const (
	headerAuthToken     = "X-Auth-Token"
	headerSecurityToken = "X-Security-Token"
	headerAuthorization = "Authorization"
)

// secretsOf lists the secrets of a request, which no error may contain. The access key is
// one of them because it is in the Authorization header.
func secretsOf(h http.Header) []string {
	authorization := h.Get(headerAuthorization)
	secrets := []string{h.Get(headerAuthToken), h.Get(headerSecurityToken), authorization}
	for part := range strings.FieldsFuncSeq(authorization, func(r rune) bool { return r == ' ' || r == ',' }) {
		for _, name := range []string{"Access=", "Signature="} {
			if value, ok := strings.CutPrefix(part, name); ok {
				secrets = append(secrets, value)
			}
		}
	}
	return secrets
}
