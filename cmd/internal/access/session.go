package access

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient"
)

// A session stands for a key in a browser, so that the browser need not store the key.
const (
	SessionLasts = 12 * time.Hour // at most
	SessionIdle  = time.Hour      // a session ends when it was unused for this long
)

func (k *Keys) session(sent string) string       { return k.sessionHashed(hash(sent)) }
func (k *Keys) sessionHashed(hash string) string { return k.prefix + ":access:session:" + hash } // STRING: JSON of storedSession
func (k *Keys) sessions() string                 { return k.prefix + ":access:sessions" }        // ZSET: hash of a session by its start, ms

// Browser is where a session is used.
type Browser struct {
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"` // at most 200 characters
}

// Session describes a session, without its secret.
type Session struct {
	ID         string
	Key        Key
	StartedAt  time.Time
	LastUsedAt time.Time // by a person; a page that refreshes itself does not count
	ExpiresAt  time.Time // if it is not used until then
	Browser
}

type storedSession struct {
	KeyID   string `json:"key_id"`
	Started int64  `json:"started"` // ms
	Browser
}

// SessionID recognises a session. It is not the secret, and nothing can be done with it alone.
func SessionID(session string) string { return sessionID(hash(session)) }

const sessionIDSize = 20 // hex digits of the hash: 80 bits

func sessionID(hash string) string { return hash[:sessionIDSize] }

// SignIn starts a session of a key. The session is a secret too, and Redis holds its hash.
// ErrRefused if the key is not valid. before is called before the session exists; its error
// is returned.
func (k *Keys) SignIn(
	ctx context.Context, sent string, from Browser, before ...func(key Key, sessionID string) error,
) (apiclient.Secret, Key, error) {
	key, err := k.Authenticate(ctx, sent)
	if err != nil {
		return "", Key{}, err
	}
	session := rand.Text() + rand.Text()[:6] // 160 bits
	for _, f := range before {
		if err := f(key, SessionID(session)); err != nil {
			return "", Key{}, err
		}
	}
	if agent := []rune(from.UserAgent); len(agent) > 200 {
		from.UserAgent = string(agent[:200])
	}
	now := k.now()
	// The list comes first, so that every session that exists is in it.
	err = k.rdb.ZAdd(ctx, k.sessions(), redis.Z{Score: float64(now.UnixMilli()), Member: hash(session)}).Err()
	if err == nil {
		err = k.rdb.Set(ctx, k.session(session), mustJSON(storedSession{key.ID, now.UnixMilli(), from}), SessionIdle).Err()
	}
	if err != nil {
		return "", Key{}, fmt.Errorf("starting a session: %w", err)
	}
	return apiclient.Secret(session), key, nil
}

// Session finds the key of a session; ErrRefused if the session has ended, or the key is
// revoked or expired. used says that a person did something, which extends the session; a
// page that refreshes itself does not.
func (k *Keys) Session(ctx context.Context, session string, used bool) (Key, error) {
	if session == "" {
		return Key{}, ErrRefused
	}
	var value string
	var err error
	if used {
		value, err = k.rdb.GetEx(ctx, k.session(session), SessionIdle).Result()
	}
	if !used || refused(err) {
		value, err = k.rdb.Get(ctx, k.session(session)).Result()
	}
	if errors.Is(err, redis.Nil) {
		return Key{}, ErrRefused
	}
	if err != nil {
		return Key{}, fmt.Errorf("reading the session: %w", err)
	}
	var x storedSession
	if json.Unmarshal([]byte(value), &x) != nil || k.now().Sub(time.UnixMilli(x.Started)) >= SessionLasts {
		return Key{}, ErrRefused
	}
	s, err := k.read(ctx, x.KeyID)
	if errors.Is(err, ErrNotFound) || err == nil && !s.Valid(k.now()) {
		return Key{}, ErrRefused
	}
	return s.Key, err
}

// Sessions lists the sessions that have not ended, the latest first.
func (k *Keys) Sessions(ctx context.Context) ([]Session, error) {
	fail := func(err error) ([]Session, error) { return nil, fmt.Errorf("reading the sessions: %w", err) }
	now := k.now()
	began := strconv.FormatInt(now.Add(-SessionLasts).UnixMilli(), 10)
	if err := k.rdb.ZRemRangeByScore(ctx, k.sessions(), "-inf", began).Err(); err != nil && !refused(err) {
		return fail(err)
	}
	hashes, err := k.rdb.ZRevRangeByScore(ctx, k.sessions(), &redis.ZRangeBy{Min: "(" + began, Max: "+inf"}).Result()
	if err != nil {
		return fail(err)
	}
	if len(hashes) == 0 {
		return nil, nil
	}
	keys, err := k.List(ctx)
	if err != nil {
		return fail(err)
	}
	values, left := make([]*redis.StringCmd, len(hashes)), make([]*redis.DurationCmd, len(hashes))
	_, err = k.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, h := range hashes {
			values[i], left[i] = p.Get(ctx, k.sessionHashed(h)), p.PTTL(ctx, k.sessionHashed(h))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fail(err)
	}
	var out []Session
	var ended []any
	for i, h := range hashes {
		var x storedSession
		if json.Unmarshal([]byte(values[i].Val()), &x) != nil {
			ended = append(ended, h)
			continue
		}
		n := slices.IndexFunc(keys, func(key Key) bool { return key.ID == x.KeyID })
		if n < 0 || !keys[n].Valid(now) {
			continue
		}
		s := Session{ID: sessionID(h), Key: keys[n], StartedAt: time.UnixMilli(x.Started).UTC(), Browser: x.Browser}
		idle := now.Add(left[i].Val()).UTC().Truncate(time.Second)
		s.LastUsedAt = idle.Add(-SessionIdle)
		if s.LastUsedAt.Before(s.StartedAt) {
			s.LastUsedAt = s.StartedAt
		}
		if s.ExpiresAt = s.StartedAt.Add(SessionLasts); idle.Before(s.ExpiresAt) {
			s.ExpiresAt = idle
		}
		out = append(out, s)
	}
	if len(ended) > 0 {
		if err := k.rdb.ZRem(ctx, k.sessions(), ended...).Err(); err != nil && !refused(err) {
			return fail(err)
		}
	}
	return out, nil
}

// SignOut ends a session. Repeating it is not an error.
func (k *Keys) SignOut(ctx context.Context, session string) error {
	return k.endSession(ctx, hash(session))
}

// EndSession ends the session with an id of Sessions. Repeating it is not an error.
func (k *Keys) EndSession(ctx context.Context, id string) error {
	hashes, err := k.rdb.ZRange(ctx, k.sessions(), 0, -1).Result()
	if err != nil {
		return fmt.Errorf("reading the sessions: %w", err)
	}
	for _, h := range hashes {
		if len(id) == sessionIDSize && strings.HasPrefix(h, id) {
			return k.endSession(ctx, h)
		}
	}
	return nil
}

func (k *Keys) endSession(ctx context.Context, hash string) error {
	err := k.rdb.Del(ctx, k.sessionHashed(hash)).Err()
	if err == nil {
		err = k.rdb.ZRem(ctx, k.sessions(), hash).Err()
	}
	if err != nil {
		return fmt.Errorf("ending the session: %w", err)
	}
	return nil
}
