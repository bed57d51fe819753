package record

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/redis/go-redis/v9"
)

// The limits of a page, whatever it finds. On one core, with Redis on the same machine,
// they take about 25 ms; see B9 of the benchmark.
const (
	pageEntries = 10_000 // entries of an index
	pageReads   = 1000   // operations or failures
	pageChunks  = 48     // whole chunks of desktops
)

// place is the entry at which a page of a sorted set ended, as score and member. So entries
// that are added or removed meanwhile neither repeat nor hide others.
type place struct {
	at     int64 // ms
	member string
}

// latest is the place before all entries.
var latest = place{at: 1 << 53, member: "\xff"}

// comparePlaces orders the latest first, and within a millisecond by member.
func comparePlaces(a, b place) int {
	return cmp.Or(-cmp.Compare(a.at, b.at), -cmp.Compare(a.member, b.member))
}

func (p place) token() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.at, 10) + " " + p.member))
}

func parsePlace(token string) (place, error) {
	if token == "" {
		return latest, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	at, member, ok := strings.Cut(string(b), " ")
	ms, err2 := strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil || !ok {
		return place{}, tasks.ErrPageToken
	}
	return place{at: ms, member: member}, nil
}

// before returns the place after which entries are earlier than t, or p if p is later in
// the list.
func (p place) before(t time.Time) place {
	if t.IsZero() {
		return p
	}
	if q := (place{at: ceilMS(t)}); comparePlaces(p, q) < 0 {
		return q
	}
	return p
}

// ceilMS is the first whole millisecond that is not before t.
func ceilMS(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}

// earliest is the score of the first entry that is not before t.
func earliest(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return ceilMS(t)
}

var scriptAfter = script("after", "by_bytes")

func (r *Record) afterCall(key string, last place, n int) *scriptCall {
	return &scriptCall{script: scriptAfter, keys: []string{key}, args: []any{last.at, last.member, n}}
}

// placesOf reads the reply of scriptAfter. ended means that there are no more entries, or
// that the others are earlier than low.
func placesOf(c *scriptCall, n int, low int64) (out []place, ended bool, err error) {
	reply, err := c.reply.StringSlice()
	if err != nil {
		return nil, false, err
	}
	for i := 0; i+1 < len(reply); i += 2 {
		score, err := strconv.ParseFloat(reply[i+1], 64)
		if err != nil {
			return nil, false, fmt.Errorf("an index has the unreadable score %q", reply[i+1])
		}
		if int64(score) < low {
			return out, true, nil
		}
		out = append(out, place{int64(score), reply[i]})
	}
	return out, len(out) < n, nil
}

// after reads the n entries of a sorted set that follow a place.
func (r *Record) after(ctx context.Context, key string, last place, n int, low int64) (out []place, ended bool, err error) {
	c := r.afterCall(key, last, n)
	if err := r.runScripts(ctx, []*scriptCall{c}, nil); err != nil {
		return nil, false, err
	}
	return placesOf(c, n, low)
}

// PageKey is the key that page tokens are encrypted with, on every server of this Redis. It
// is made on first use. If Redis loses it, clients begin with the first page.
func (r *Record) PageKey(ctx context.Context) ([]byte, error) {
	key, err := r.rdb.Get(ctx, r.keys.pageKey()).Bytes()
	if errors.Is(err, redis.Nil) {
		made := make([]byte, 32)
		_, _ = rand.Read(made) // it never fails
		err = r.rdb.SetArgs(ctx, r.keys.pageKey(), made, redis.SetArgs{Mode: "NX"}).Err()
		if err == nil || errors.Is(err, redis.Nil) { // another server made it
			key, err = r.rdb.Get(ctx, r.keys.pageKey()).Bytes()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of page tokens: %w", err)
	}
	return key, nil
}

// inAll reports which members are in all of the sorted sets.
func (r *Record) inAll(ctx context.Context, keys, members []string) ([]bool, error) {
	out := make([]bool, len(members))
	for i := range out {
		out[i] = true
	}
	if len(keys) == 0 || len(members) == 0 {
		return out, nil
	}
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.ZMScore(ctx, key, members...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, cmd := range cmds {
		for i, score := range cmd.(*redis.FloatSliceCmd).Val() {
			out[i] = out[i] && score != 0 // a time; the client returns 0 for a missing member
		}
	}
	return out, nil
}
