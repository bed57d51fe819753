package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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

func (k *Keys) session(sent string) string { return k.prefix + ":access:session:" + hash(sent) } // STRING: key id, ms of its start

// SignIn starts a session of a key. The session is a secret too, and Redis holds its hash.
// ErrRefused if the key is not valid.
func (k *Keys) SignIn(ctx context.Context, sent string) (apiclient.Secret, Key, error) {
	key, err := k.Authenticate(ctx, sent)
	if err != nil {
		return "", Key{}, err
	}
	session := rand.Text() + rand.Text()[:6] // 160 bits
	value := key.ID + " " + strconv.FormatInt(k.now().UnixMilli(), 10)
	if err := k.rdb.Set(ctx, k.session(session), value, SessionIdle).Err(); err != nil {
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
	get := k.rdb.Get
	if used {
		get = func(ctx context.Context, name string) *redis.StringCmd { return k.rdb.GetEx(ctx, name, SessionIdle) }
	}
	value, err := get(ctx, k.session(session)).Result()
	if errors.Is(err, redis.Nil) {
		return Key{}, ErrRefused
	}
	if err != nil {
		return Key{}, fmt.Errorf("reading the session: %w", err)
	}
	id, text, _ := strings.Cut(value, " ")
	began, err := strconv.ParseInt(text, 10, 64)
	if err != nil || k.now().Sub(time.UnixMilli(began)) >= SessionLasts {
		return Key{}, ErrRefused
	}
	s, err := k.read(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !s.Valid(k.now()) {
		return Key{}, ErrRefused
	}
	return s.Key, err
}

// SignOut ends a session. Repeating it is not an error.
func (k *Keys) SignOut(ctx context.Context, session string) error {
	if err := k.rdb.Del(ctx, k.session(session)).Err(); err != nil {
		return fmt.Errorf("ending the session: %w", err)
	}
	return nil
}
