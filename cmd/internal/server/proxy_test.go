package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBehindProxy(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, c := range []struct {
		name, peer string
		header     []string
		want       string
	}{
		{"a proxy", "10.0.0.1:5", []string{"192.0.2.7"}, "192.0.2.7:0"},
		{"a chain of proxies", "10.0.0.1:5", []string{"192.0.2.7, 10.9.9.9"}, "192.0.2.7:0"},
		{"the client lies", "10.0.0.1:5", []string{"198.51.100.1, 192.0.2.7"}, "192.0.2.7:0"},
		{"the client lies in a header of its own", "10.0.0.1:5", []string{"198.51.100.1", "192.0.2.7"}, "192.0.2.7:0"},
		{"no proxy", "192.0.2.9:5", []string{"192.0.2.7"}, "192.0.2.9:5"},
		{"no header", "10.0.0.1:5", nil, "10.0.0.1:5"},
		{"rubbish", "10.0.0.1:5", []string{"192.0.2.7, rubbish"}, "10.0.0.1:5"},
		{"rubbish before", "10.0.0.1:5", []string{"rubbish, 192.0.2.7"}, "192.0.2.7:0"},
		{"v6", "[::1]:5", []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		{"v4 in v6", "[::ffff:10.0.0.1]:5", []string{"::ffff:192.0.2.7"}, "192.0.2.7:0"},
		{"all trusted", "10.0.0.1:5", []string{"10.0.0.2"}, "10.0.0.1:5"},
	} {
		var got string
		h := BehindProxy(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }), trusted, "X-Forwarded-For")
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, v := range c.header {
			r.Header.Add("X-Forwarded-For", v)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		require.Equal(t, c.want, got, c.name)
	}
}

// Only a trusted proxy can say that the client came over TLS.
func TestTLSAtTheProxy(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct{ peer, proto, want string }{
		{"10.0.0.1:5", "https", "max-age=31536000"}, {"10.0.0.1:5", "http", ""}, {"10.0.0.1:5", "", ""}, {"192.0.2.9:5", "https", ""},
	} {
		h := BehindProxy(http.NotFoundHandler(), trusted, "X-Forwarded-For")
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-Proto", c.proto)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, c.want, w.Header().Get("Strict-Transport-Security"), "%+v", c)
	}
}

func TestNoProxyIsTrustedByDefault(t *testing.T) {
	t.Parallel()
	var got string
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:5"
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	BehindProxy(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }), nil, "X-Forwarded-For").ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, "127.0.0.1:5", got)
}
