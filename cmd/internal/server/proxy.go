package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// BehindProxy puts the client's address in the place of the proxy's, so that
// whoever looks at Request.RemoteAddr sees the client. It is taken from a header,
// usually X-Forwarded-For, and only if the peer is one of the trusted: everybody
// else could write anything there. In a list the last address that is not a
// trusted proxy's counts, because what stands before it came from outside.
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
		hops := strings.Split(strings.Join(r.Header.Values(header), ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				break // whoever stands before it cannot be known
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
