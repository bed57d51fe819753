package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// certificate makes a pair of files for 127.0.0.1, and who trusts it.
func certificate(t *testing.T) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "detachd"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(cert, text, 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	trust = x509.NewCertPool()
	require.True(t, trust.AppendCertsFromPEM(text))
	return cert, key, trust
}

func TestServeOverTLS(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.ok(t, "keys", "create", "--name", "hr", "--role", "producer")
	cert, key, trust := certificate(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var proto string
	var status int
	strict := map[string]string{}
	asked := false
	r := s.runWith(t, ctx, "", func(text string) {
		m := address.FindStringSubmatch(text)
		if asked || m == nil {
			return
		}
		asked = true
		go func() {
			defer interrupt()
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			for _, path := range []string{"/", "/codes", "/none", "/assets/none", "/v1/operations", "/v1/none", "/openapi.json", "/metrics", "/healthz"} {
				resp, err := c.Get("https://" + m[1] + path)
				if err != nil {
					return
				}
				_ = resp.Body.Close()
				status, proto, strict[path] = resp.StatusCode, resp.Proto, resp.Header.Get("Strict-Transport-Security")
			}
			plain, err := http.Get("http://" + m[1] + "/healthz") // net/http answers, and reports it
			if err == nil {
				_ = plain.Body.Close()
			}
		}()
	}, "serve", "--listen", anyPort, "--tls-cert", cert, "--tls-key", key)
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "HTTP/2.0", proto)
	require.Len(t, strict, 9)
	for path, header := range strict {
		require.Equal(t, "max-age=31536000", header, path)
	}
	require.Regexp(t, `"error":"http: TLS handshake error from 127.0.0.1:\d+: [^"]+".*"net/http reports an error"`, r.err)

	s.refused(t, exitUsage, "belong together", "serve", "--listen", anyPort, "--tls-cert", cert)
	s.refused(t, exitUsage, "--tls-cert and --tls-key", "serve", "--listen", anyPort, "--tls-cert", cert, "--tls-key", cert)
	s.refused(t, exitUsage, `invalid --trusted-proxy "10.0.0.0/99"`, "serve", "--listen", anyPort, "--trusted-proxy", "10.0.0.0/99")
}

// Beyond loopback without TLS somebody should know.
func TestServeUnencryptedIsTold(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.ok(t, "keys", "create", "--name", "hr", "--role", "producer")
	for _, x := range []struct {
		args []string
		told bool
	}{
		{[]string{"--listen", "0.0.0.0:0"}, true},
		{[]string{"--listen", "0.0.0.0:0", "--trusted-proxy", "10.1.2.3"}, false},
		{[]string{"--listen", anyPort}, false},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		r := s.runWith(t, ctx, "", func(text string) {
			if address.MatchString(text) {
				interrupt()
			}
		}, append([]string{"serve"}, x.args...)...)
		require.Equal(t, exitOK, r.code, r.err)
		if x.told {
			require.Contains(t, r.err, "unencrypted")
		} else {
			require.NotContains(t, r.err, "unencrypted")
		}
	}
}
