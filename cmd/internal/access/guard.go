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
	freeFailures = 10              // wrong keys in a row that cost nothing
	firstPause   = 2 * time.Second // after the tenth; doubled with each further one
	longestPause = time.Minute
	forgetAfter  = 10 * time.Minute // without a wrong key
	trustFor     = 15 * time.Minute // a key that was accepted from an address
	remembered   = 10_000           // addresses, and keys accepted from addresses; then the oldest are forgotten
)

// Guard slows down who sends one wrong key after the other from an address: after
// ten in a row one try is let through every few seconds, up to a minute, until there
// was none for ten minutes. A key that was accepted from that address within a
// quarter of an hour is let through all the while: others may be behind the same
// address. It is for one process, takes a few MB at most, and is safe for use by
// many goroutines.
//
// Addresses are as Request.RemoteAddr has them. Those of IPv6 count by their /64,
// as everybody has one to themselves.
type Guard struct {
	log zerolog.Logger
	now func() time.Time

	mu       sync.Mutex
	failing  latest[string, *attempts]
	accepted latest[[sha256.Size]byte, time.Time]
}

// attempts are an address' wrong keys in a row.
type attempts struct {
	failures int
	last     time.Time     // wrong key
	pause    time.Duration // between tries; 0: none yet
	until    time.Time     // no try before
	told     time.Time     // in the log
}

// NewGuard makes a Guard. now is usually time.Now.
func NewGuard(log zerolog.Logger, now func() time.Time) *Guard {
	return &Guard{log: log, now: now, failing: newLatest[string, *attempts](remembered), accepted: newLatest[[sha256.Size]byte, time.Time](remembered)}
}

// Wait says whether a key that came from an address may be looked at now, and else
// in how long to try again. Whoever looks says how it went: Failed or Succeeded.
func (g *Guard) Wait(addr, key string) (retryAfter time.Duration, ok bool) {
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
		if now.Sub(a.told) >= time.Minute {
			a.told = now
			g.log.Warn().Str("address", addr).Int("wrong_keys", a.failures).Dur("pause_ms", a.pause).
				Msg("wrong keys, one after the other: tries from there are slowed down")
		}
		return a.until.Sub(now), false
	}
	a.until = now.Add(a.pause) // this one may, and no other beside it
	return 0, true
}

// attempts are those of an address that are not forgotten; nil if there are none.
func (g *Guard) attempts(addr string, now time.Time) *attempts {
	a, known := g.failing.get(addr)
	if known && now.Sub(a.last) >= forgetAfter {
		g.failing.remove(addr)
		return nil
	}
	return a
}

// Failed notes that a key was wrong.
func (g *Guard) Failed(addr, key string) {
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
	g.accepted.remove(pair(addr, key)) // it was revoked, or has expired
}

// Succeeded notes that a key was right. One that was not accepted from that address
// lately ends the row of wrong ones; the others do not: they are of somebody who
// works there all day, behind the same address as who guesses.
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

// network is what counts as one sender.
func network(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "elsewhere" // such as a socket's
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	p, _ := ip.WithZone("").Prefix(64)
	return p.String()
}
