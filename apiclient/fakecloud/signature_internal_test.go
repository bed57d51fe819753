package fakecloud

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The official SDK's own unit vectors.
func TestSDKVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ method, url, body, want string }{
		{"GET", "https://example.huaweicloud.com/path?limit=1", "", "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624"},
		{"POST", "https://example.huaweicloud.com/path?key=value", "{\"Name\":\"test\",\"Id\":1}\n", "cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59"},
	} {
		const date = "20060102T150405Z"
		r := httptest.NewRequest(v.method, v.url, nil)
		r.Header.Set("X-Sdk-Date", date)
		require.Equal(t, v.want, sign("SecretKey", date, canonical(r, []byte(v.body), []string{"x-sdk-date"})))
	}
}

func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "https://host.example/a%20b/%E7%A0%94~?b=2&a=%2F&b=1&c&a=", nil)
	r.Header.Set("X-Two", "  spaced  ")
	r.Header.Set("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD")
	require.Equal(t, "GET\n/a%20b/%E7%A0%94~/\na=&a=%2F&b=1&b=2&c=\nhost:host.example\nx-two:spaced\n\nhost;x-two\nUNSIGNED-PAYLOAD",
		canonical(r, []byte("body"), []string{"host", "x-two"}))
}

func TestSignedHeadersMustBeSorted(t *testing.T) {
	t.Parallel()
	const value = "SDK-HMAC-SHA256 Access=AK, SignedHeaders=x-b;x-a, Signature=00"
	_, err := parseAuthorization(value)
	require.ErrorContains(t, err, "sorted")
	auth, err := parseAuthorization(strings.Replace(value, "x-b;x-a", "x-a;x-b", 1))
	require.NoError(t, err)
	require.Equal(t, authorization{key: "AK", headers: []string{"x-a", "x-b"}, signature: "00"}, auth)
}

func TestJitterIsWithinBoundsAndFixedBySeed(t *testing.T) {
	t.Parallel()
	c := New(Config{Latency: 100, Jitter: 50, Seed: 3})
	seen := map[int64]bool{}
	for n := range 200 {
		d := c.latency(OpDetach, n)
		require.True(t, 100 <= d && d < 150, d)
		require.Equal(t, d, c.latency(OpDetach, n))
		seen[int64(d)] = true
	}
	require.Greater(t, len(seen), 10)
}

func TestEarlyEffectsAreDrawnApartFromJitter(t *testing.T) {
	t.Parallel()
	c := New(Config{Jitter: 100, EarlyEffects: 0.3, Seed: 3})
	var early, earlyAndShort int
	for n := range 10_000 {
		if c.early(OpDetach, n) {
			early++
			if c.latency(OpDetach, n) < 50 {
				earlyAndShort++
			}
		}
		require.False(t, c.early(OpDetail, n))
		require.Equal(t, c.early(OpDetach, n), c.early(OpDetach, n))
	}
	require.InDelta(t, 3000, early, 200)
	require.InDelta(t, early/2, earlyAndShort, 200)
	require.False(t, New(Config{}).early(OpDetach, 1))
}
