package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// writePair writes a certificate with a serial number, and its key.
func writePair(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"detachd.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	then := time.Now().Add(time.Duration(serial) * time.Minute) // files written within the clock's grain differ
	require.NoError(t, os.Chtimes(cert, then, then))
	return cert, key
}

func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := writePair(t, dir, 1)
	c, err := NewCertificate(cert, key, zerolog.Nop())
	require.NoError(t, err)
	now := time.Now()
	c.now = func() time.Time { return now }
	serial := func() int64 {
		got, err := c.Config().GetCertificate(&tls.ClientHelloInfo{})
		require.NoError(t, err)
		return got.Leaf.SerialNumber.Int64()
	}
	require.EqualValues(t, 1, serial())
	writePair(t, dir, 2)
	require.EqualValues(t, 1, serial(), "not at every handshake")
	now = now.Add(checkInterval)
	require.EqualValues(t, 2, serial())

	require.NoError(t, os.WriteFile(key, []byte("rubbish"), 0o600))
	now = now.Add(checkInterval)
	require.EqualValues(t, 2, serial(), "the last one that fits")
	require.NoError(t, os.Remove(cert))
	now = now.Add(checkInterval)
	require.EqualValues(t, 2, serial())
	writePair(t, dir, 3)
	now = now.Add(checkInterval)
	require.EqualValues(t, 3, serial())
}

func TestBadCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := NewCertificate(filepath.Join(dir, "none"), filepath.Join(dir, "none"), zerolog.Nop())
	require.ErrorIs(t, err, os.ErrNotExist)
	cert, key := writePair(t, dir, 1)
	require.NoError(t, os.WriteFile(key, []byte("rubbish"), 0o600))
	_, err = NewCertificate(cert, key, zerolog.Nop())
	require.ErrorContains(t, err, key)
	require.NotContains(t, err.Error(), "rubbish")
}
