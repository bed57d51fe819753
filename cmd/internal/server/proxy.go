package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// setHSTS tells browsers to come back over TLS only.
func setHSTS(h http.Header) { h.Set("Strict-Transport-Security", "max-age=31536000") }

// BehindProxy sets Request.RemoteAddr to the address of the client in place of the proxy's.
// It reads the address from a header, usually X-Forwarded-For, and only from trusted peers:
// anybody else could write anything there. In a list the last address that is not a
// trusted proxy's counts, because those before it came from outside. X-Forwarded-Proto of a
// trusted peer says whether the client came over TLS.
func BehindProxy(h http.Handler, trusted []netip.Prefix, header string) http.Handler {
	if len(trusted) == 0 {
		return h
	}
	is := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !is(peer.Addr().Unmap()) {
			h.ServeHTTP(w, r)
			return
		}
		if r.Header.Get("X-Forwarded-Proto") == "https" {
			setHSTS(w.Header())
		}
		hops := strings.Split(strings.Join(r.Header.Values(header), ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				break // the addresses before it cannot be trusted
			}
			if a = a.Unmap().WithZone(""); !is(a) {
				r = r.Clone(r.Context())
				r.RemoteAddr = net.JoinHostPort(a.String(), "0")
				break
			}
		}
		h.ServeHTTP(w, r)
	})
}
