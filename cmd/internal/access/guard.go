package access

import (
	"crypto/sha256"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	freeFailures = 10              // wrong keys in a row without a pause
	firstPause   = 2 * time.Second // after the tenth; doubled with each further one
	longestPause = time.Minute
	forgetAfter  = 10 * time.Minute // without a wrong key
	trustFor     = 15 * time.Minute // how long an accepted key passes from its address
	remembered   = 10_000           // addresses, and accepted keys; beyond that the oldest are dropped
)

// Guard slows down addresses that send one wrong key after the other: after ten in a row it
// passes one attempt every few seconds, up to a minute, until ten minutes went by without a
// wrong key. Only well-formed keys count: anything else is not a guess, and must not slow
// down others behind the same address. A key that was accepted from the address within the
// last 15 minutes always passes for the same reason. It is for one process, takes a few MB at
// most, and is safe for concurrent use.
//
// Addresses are those of Request.RemoteAddr. IPv6 addresses count by their /64, which is
// what one user has.
type Guard struct {
	log zerolog.Logger
	now func() time.Time

	mu       sync.Mutex
	failing  latest[string, *attempts]
	accepted latest[[sha256.Size]byte, time.Time]
}

// attempts are the wrong keys in a row of an address.
type attempts struct {
	failures int
	last     time.Time     // wrong key
	pause    time.Duration // between attempts; 0: none yet
	until    time.Time     // no attempt before this
	logged   time.Time
}

// NewGuard makes a Guard. now is usually time.Now.
func NewGuard(log zerolog.Logger, now func() time.Time) *Guard {
	return &Guard{log, now, sync.Mutex{}, newLatest[string, *attempts](remembered), newLatest[[sha256.Size]byte, time.Time](remembered)}
}

// Wait reports whether a key from an address may be checked now, and if not, when to try
// again. After the check the caller must call Failed or Succeeded.
func (g *Guard) Wait(addr, key string) (retryAfter time.Duration, ok bool) {
	if !wellFormed(key) {
		return 0, true
	}
	addr = network(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	a := g.attempts(addr, now)
	if a == nil || a.failures < freeFailures {
		return 0, true
	}
	if at, known := g.accepted.get(pair(addr, key)); known && now.Sub(at) < trustFor {
		return 0, true
	}
	if now.Before(a.until) {
		if now.Sub(a.logged) >= time.Minute {
			a.logged = now
			g.log.Warn().Str("address", addr).Int("wrong_keys", a.failures).Dur("pause_ms", a.pause).
				Msg("many wrong keys in a row: attempts from this address are slowed down")
		}
		return a.until.Sub(now), false
	}
	a.until = now.Add(a.pause) // this attempt passes, and no other meanwhile
	return 0, true
}

// attempts returns the recent attempts of an address; nil if there are none.
func (g *Guard) attempts(addr string, now time.Time) *attempts {
	a, known := g.failing.get(addr)
	if known && now.Sub(a.last) >= forgetAfter {
		g.failing.remove(addr)
		return nil
	}
	return a
}

// Failed records that a key was wrong.
func (g *Guard) Failed(addr, key string) {
	if !wellFormed(key) {
		return
	}
	addr = network(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	a := g.attempts(addr, now)
	if a == nil {
		a = &attempts{}
	}
	a.failures++
	a.last = now
	if a.failures >= freeFailures {
		a.pause = min(max(firstPause, 2*a.pause), longestPause)
		a.until = now.Add(a.pause)
	}
	g.failing.put(addr, a)
	g.accepted.remove(pair(addr, key)) // it was revoked or has expired
}

// Succeeded records that a key was right. Only a key that was not accepted from the address
// lately ends the row of wrong ones: the others belong to somebody who works all day behind
// the same address as the one who guesses.
func (g *Guard) Succeeded(addr, key string) {
	addr = network(addr)
	p := pair(addr, key)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if at, known := g.accepted.get(p); !known || now.Sub(at) >= trustFor {
		g.failing.remove(addr)
	}
	g.accepted.put(p, now)
}

func pair(addr, key string) [sha256.Size]byte { return sha256.Sum256([]byte(addr + "\x00" + key)) }

// network is the part of an address that counts as one sender.
func network(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "elsewhere" // such as a Unix socket
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	p, _ := ip.WithZone("").Prefix(64)
	return p.String()
}
