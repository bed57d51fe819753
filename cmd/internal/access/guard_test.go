package access

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// guarded is a Guard with a clock and a log that the test holds.
type guarded struct {
	*Guard
	t   require.TestingT
	now time.Time
	log bytes.Buffer
}

func newGuarded(t require.TestingT) *guarded {
	g := &guarded{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	g.Guard = NewGuard(zerolog.New(&g.log), func() time.Time { return g.now })
	return g
}

// key makes a well-formed key that ends with a word: others do not count.
func key(word string) string {
	return "dk_" + strings.Repeat("a", 32-len(word)) + word
}

// wrong sends wrong keys that are all looked at.
func (g *guarded) wrong(addr string, n int) {
	for i := range n {
		_, ok := g.Wait(addr, key("wrong"))
		require.True(g.t, ok, "wrong key %d", i)
		g.Failed(addr, key("wrong"))
	}
}

// blocked gives how long an address has to wait; 0: it has not to.
func (g *guarded) blocked(addr, key string) time.Duration {
	after, ok := g.Wait(addr, key)
	require.Equal(g.t, ok, after == 0)
	return after
}

const home, other = "192.0.2.7:1000", "192.0.2.8:1000"

func TestGuardSlowsDownMoreAndMore(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.wrong(home, freeFailures)
	for _, pause := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		pause *= time.Second
		require.Equal(t, pause, g.blocked(home, key("wrong")))
		require.Equal(t, pause, g.blocked("192.0.2.7:2000", key("another")), "whatever the port and the key")
		require.Zero(t, g.blocked(other, key("wrong")))
		g.now = g.now.Add(pause)
		require.Zero(t, g.blocked(home, key("wrong")), "one try is let through")
		require.NotZero(t, g.blocked(home, key("wrong")), "and no other beside it")
		g.Failed(home, key("wrong"))
	}
	g.now = g.now.Add(forgetAfter)
	g.wrong(home, freeFailures)
	require.Equal(t, firstPause, g.blocked(home, key("wrong")), "it begins anew")
}

func TestGuardTakesOneRightKeyForTheEnd(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.wrong(home, freeFailures-1)
	g.Succeeded(home, key("mine"))
	g.wrong(home, freeFailures)
	require.NotZero(t, g.blocked(home, key("wrong")))
	g.Succeeded(home, key("mine"))
	require.NotZero(t, g.blocked(home, key("wrong")), "who works behind the address does not free who guesses there")
}

// A key that was accepted from there is not hindered by others behind the same
// address; not for ever, and not once it is no longer accepted.
func TestGuardKnowsWhoseKeyWasAccepted(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.Succeeded(home, key("mine"))
	g.Succeeded(other, key("theirs"))
	g.wrong(home, freeFailures)
	require.Zero(t, g.blocked(home, key("mine")))
	require.NotZero(t, g.blocked(home, key("theirs")), "it was accepted from elsewhere")
	g.Failed(home, key("mine"))
	require.NotZero(t, g.blocked(home, key("mine")), "it was revoked")

	g.Succeeded(other, key("theirs"))
	g.now = g.now.Add(trustFor)
	g.wrong(other, freeFailures)
	require.NotZero(t, g.blocked(other, key("theirs")), "long ago")
}

func TestGuardCountsNetworks(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	for i := range freeFailures {
		g.Failed(fmt.Sprintf("[2001:db8:0:7::%x]:1", i+1), key("wrong"))
	}
	require.NotZero(t, g.blocked("[2001:db8:0:7:ffff::1]:9", key("wrong")), "the same /64")
	require.Zero(t, g.blocked("[2001:db8:0:8::1]:9", key("wrong")), "another")
	g.wrong("[::ffff:192.0.2.7]:1", freeFailures)
	require.NotZero(t, g.blocked(home, key("wrong")), "the same in version 4")
	g.wrong("[fe80::1%eth0]:1", freeFailures)
	require.NotZero(t, g.blocked("[fe80::1%eth1]:1", key("wrong")), "a zone is nothing to tell senders by")
	g.wrong("@", freeFailures)
	require.NotZero(t, g.blocked("nonsense", key("wrong")))
}

func TestGuardTellsOnceAMinute(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.Succeeded(home, key("secretmine"))
	g.wrong(home, freeFailures+0)
	for range 3 {
		g.Wait(home, key("secretguess"))
	}
	require.Equal(t, 1, strings.Count(g.log.String(), "\n"), g.log.String())
	require.Contains(t, g.log.String(), `"level":"warn"`)
	require.Contains(t, g.log.String(), `"address":"192.0.2.7"`)
	require.NotContains(t, g.log.String(), "secret")
	for g.now = g.now.Add(time.Minute); g.blocked(home, key("guess")) == 0; {
		g.Failed(home, key("guess"))
	}
	require.Equal(t, 2, strings.Count(g.log.String(), "\n"), g.log.String())
}

func TestGuardForgetsTheOldest(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.wrong(home, freeFailures)
	address := func(i int) string { return fmt.Sprintf("10.0.%d.%d:1", i/256, i%256) }
	for i := range remembered - 1 {
		g.Failed(address(i), key("wrong"))
		g.Succeeded(other, key(fmt.Sprint(i)))
	}
	require.NotZero(t, g.blocked(home, key("wrong")))
	for i := range 3 {
		g.Failed(address(remembered+i), key("wrong"))
		g.Succeeded(other, key(fmt.Sprint(remembered+i)))
	}
	require.Zero(t, g.blocked(home, key("wrong")), "there is no end of addresses")
	require.Len(t, g.failing.at, remembered)
	require.Equal(t, remembered, g.failing.order.Len())
	require.Len(t, g.accepted.at, remembered)
	require.Equal(t, remembered, g.accepted.order.Len())
}

func TestGuardIsForManyGoroutines(t *testing.T) {
	t.Parallel()
	g := NewGuard(zerolog.Nop(), time.Now)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				addr := fmt.Sprintf("192.0.2.%d:1", i%3)
				if _, ok := g.Wait(addr, key("k")); ok && i%2 == 0 {
					g.Failed(addr, key("k"))
				} else {
					g.Succeeded(addr, key("k"))
				}
			}
		})
	}
	all.Wait()
}

// Whatever happens elsewhere, who only ever sends wrong keys is looked at so often
// and no more.
func TestGuardBoundsGuesses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGuarded(t)
		looked := 0
		begun := g.now
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				g.now = g.now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
			case 1:
				g.Failed(other, key("x"))
				g.Succeeded(other, key("y"))
			default:
				if _, ok := g.Wait(home, key("guess")); ok {
					looked++
					g.Failed(home, key("guess"))
				}
			}
		}
		require.LessOrEqual(t, looked, freeFailures+int(g.now.Sub(begun)/firstPause))
	})
}

// An empty field, a password or half a key is not a guess: whoever sends such things does
// not slow down others behind the address, and is not slowed down.
func TestGuardCountsWellFormedKeysOnly(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	for _, sent := range []string{"", "hunter2", "dk_", key("mine")[1:], key("mine") + "x", strings.ToUpper(key("mine")), "dk_" + strings.Repeat("-", 32)} {
		for range 3 * freeFailures {
			require.Zero(t, g.blocked(home, sent), sent)
			g.Failed(home, sent)
		}
		require.Zero(t, g.blocked(home, key("wrong")), sent)
	}
	g.wrong(home, freeFailures)
	require.NotZero(t, g.blocked(home, key("wrong")))
	require.Zero(t, g.blocked(home, "hunter2"), "it is refused without a look")
}
