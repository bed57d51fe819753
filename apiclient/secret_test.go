package apiclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

const (
	knownToken    = "known-auth-token"
	knownAK       = "KNOWNACCESSKEY"
	knownSK       = "known-secret-key"
	knownSTS      = "known-security-token"
	knownPassword = `known-"pass<word>`
	knownSubject  = "known-subject-token"
)

// leaks names the known secret that stands in s, in clear, quoted or in hex.
func leaks(s string) string {
	for _, secret := range []string{knownToken, knownAK, knownSK, knownSTS, knownPassword, knownSubject} {
		for _, form := range []string{secret, strings.Trim(quoted(secret), `"`), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)} {
			if strings.Contains(s, form) {
				return secret
			}
		}
	}
	return ""
}

// printed is v in every way that a careless line may print it.
func printed(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "%s", "%q", "%d", "% x", "%10s"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	b.WriteString(quoted(v))
	return b.String()
}

// quoted is v as JSON, without the escapes that could hide a secret; empty when
// there is no such thing.
func quoted(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return strings.TrimSpace(b.String())
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	secret := apiclient.Secret(knownSK)
	require.Equal(t, knownSK, secret.Reveal())
	require.Equal(t, "<secret>", fmt.Sprint(secret))
	require.Empty(t, fmt.Sprint(apiclient.Secret("")))

	aksk, err := apiclient.NewAKSK(apiclient.AKSKConfig{AccessKey: knownAK, SecretKey: knownSK, SecurityToken: knownSTS})
	require.NoError(t, err)
	passwordCfg := apiclient.PasswordConfig{Region: "cn-north-4", User: "u", Password: knownPassword, Domain: "d"}
	password, err := apiclient.NewPasswordToken(passwordCfg)
	require.NoError(t, err)
	static := apiclient.StaticToken(knownToken)
	cfg := apiclient.Config{ProjectID: project, Endpoint: "https://h", Auth: aksk, Transport: silent{}}
	c, err := apiclient.New(cfg)
	require.NoError(t, err)
	type holder struct{ auth apiclient.Authenticator }
	for name, v := range map[string]any{
		"secret": secret, "pointer": &secret, "slice": []apiclient.Secret{secret}, "map": map[string]apiclient.Secret{"k": secret},
		"aksk": aksk, "password": password, "static": static, "client": c, "config": cfg, "password config": passwordCfg,
		"aksk config": apiclient.AKSKConfig{AccessKey: knownAK, SecretKey: knownSK, SecurityToken: knownSTS},
		"held":        []any{holder{aksk}, &holder{password}, holder{static}},
		"env":         apiclient.EnvCredentials{AccessKey: knownAK, SecretKey: knownSK, Password: knownPassword, Token: knownToken},
	} {
		require.Empty(t, leaks(printed(t, v)), name)
	}
}

// TestNoErrorCarriesACredential lets servers quote all they were sent.
func TestNoErrorCarriesACredential(t *testing.T) {
	t.Parallel()
	quote := func(w http.ResponseWriter, r *http.Request, status int, shape string) {
		var sent strings.Builder
		for _, header := range []string{"X-Auth-Token", "X-Security-Token", "Authorization"} {
			sent.WriteString(r.Header.Get(header) + " ")
		}
		if strings.HasSuffix(r.URL.Path, "/v3/auth/tokens") {
			w.Header().Set("X-Subject-Token", knownSubject+"é") // not usable
			sent.WriteString(knownPassword + knownSubject + "é" + bodyOf(r))
		}
		w.Header().Set("X-Request-Id", strings.TrimSpace(sent.String()))
		w.Header().Set("Content-Type", "text/html; "+r.Header.Get("X-Auth-Token"))
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, strings.NewReplacer("JSON", quoted(sent.String()), "TEXT", sent.String()).Replace(shape))
	}
	shapes := []string{
		`{"error_code":JSON,"error_msg":JSON,"error_detail":JSON,"request_id":JSON,"encoded_authorization_message":JSON}`,
		`{"error":{"message":JSON}}`, `<html>TEXT`, `TEXT`, strings.Repeat("x", 110) + `TEXT`, `{"a":JSON`, ``,
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	check := func(err error) {
		t.Helper()
		var e *apiclient.Error
		require.True(t, errors.As(err, &e))
		require.NotContains(t, err.Error(), "\n")
		for ; err != nil; err = errors.Unwrap(err) {
			require.Empty(t, leaks(printed(t, err)+err.Error()), "%#v", err)
		}
	}
	for _, status := range []int{200, 201, 202, 302, 400, 401, 403, 429, 500, 503} {
		for _, shape := range shapes {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) { quote(w, r, status, shape) })
			for _, address := range []string{srv.URL, gone.URL} {
				for _, c := range everyClient(t, address, srv.URL) {
					_, err := detachOne(t, c)
					check(err)
					_, err = c.Desktops(t.Context(), []string{"d1"})
					check(err)
					cancelled, cancel := context.WithCancel(t.Context())
					cancel()
					_, err = c.Probe(cancelled)
					check(err)
				}
			}
		}
	}
}

// net/http quotes a header line that it cannot read.
func TestMalformedHeaderIsNotQuoted(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 201 Created\r\nX-Subject-Token: %s\x01\r\n\r\n", knownSubject)
			_ = conn.Close()
		}
	})
	_, _, err := tokenOf(t.Context(), passwordToken(t, srv.URL, newClock()))
	require.Empty(t, leaks(printed(t, errors.Unwrap(err))+err.Error()))
	require.ErrorContains(t, err, "malformed")
}

func everyClient(t *testing.T, address, iamAddress string) []*apiclient.Client {
	t.Helper()
	aksk, err := apiclient.NewAKSK(apiclient.AKSKConfig{AccessKey: knownAK, SecretKey: knownSK, SecurityToken: knownSTS})
	require.NoError(t, err)
	password := passwordToken(t, iamAddress, newClock(), func(c *apiclient.PasswordConfig) { c.Password = knownPassword })
	var clients []*apiclient.Client
	for _, auth := range []apiclient.Authenticator{
		aksk, password, apiclient.StaticToken(knownToken), apiclient.StaticToken(knownToken + "\n"),
	} {
		clients = append(clients, client(t, address, func(c *apiclient.Config) { c.Auth = auth }))
	}
	return clients
}
