// Package access says who may do what over HTTP: keys, what each is for, and the
// roles that they have. A key is shown once, when it is made; Redis holds its
// hash.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient"
)

// Role is what a key may do. Each may do all that the ones before it may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // look
	Producer Role = "producer" // hand over operations
	Operator Role = "operator" // cancel, retry, pause and resume
	Admin    Role = "admin"    // manage keys
)

// Roles lists them, the least first.
var Roles = []Role{Viewer, Producer, Operator, Admin}

// Includes reports whether a key with role r may do what asks for wanted. An
// unknown role may nothing.
func (r Role) Includes(wanted Role) bool {
	have, need := slices.Index(Roles, r), slices.Index(Roles, wanted)
	return have >= 0 && need >= 0 && have >= need
}

// Key is what is known of a key.
type Key struct {
	ID       string   `json:"id"` // begins the key, to recognise it by
	Name     string   `json:"name"`
	Role     Role     `json:"role"`
	Projects []string `json:"projects,omitempty"` // empty: all
	// UnknownUsers is what becomes of users whom Workspace does not know, where a
	// request with this key does not say: hold or ignore; empty: as the project says.
	UnknownUsers string    `json:"unknown_users,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
	CreatedBy    string    `json:"created_by,omitempty"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"` // zero: never
	RevokedAt    time.Time `json:"revoked_at,omitzero"`
	LastUsedAt   time.Time `json:"last_used_at,omitzero"` // to the minute
}

// Sees reports whether the key is for a project.
func (k Key) Sees(project string) bool {
	return len(k.Projects) == 0 || slices.Contains(k.Projects, project)
}

// Valid reports that the key is neither revoked nor expired.
func (k Key) Valid(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// stored adds the hash. A key has 160 bits of chance, so that one SHA-256 is
// enough: there is nothing to guess from.
type stored struct {
	Key
	Hash string `json:"hash"`
}

var (
	// ErrRefused says that a key is unknown, revoked or has expired; which of
	// these is not told to who has sent it.
	ErrRefused = errors.New("the key is not valid")
	// ErrNotFound says that there is no key with an id.
	ErrNotFound = errors.New("no such key")
)

// InvalidError says what is wrong with a key that was asked for.
type InvalidError struct{ Field, Why string }

func (e *InvalidError) Error() string { return e.Field + ": " + e.Why }

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// Keys are the keys in a Redis. Their methods return Redis' errors wrapped.
type Keys struct {
	rdb    redis.UniversalClient
	prefix string
	now    func() time.Time
}

// NewKeys makes Keys whose names in Redis begin with prefix. now is usually
// time.Now.
func NewKeys(rdb redis.UniversalClient, prefix string, now func() time.Time) *Keys {
	return &Keys{rdb: rdb, prefix: prefix, now: now}
}

func (k *Keys) all() string  { return k.prefix + ":access:keys" } // HASH: id -> JSON of stored
func (k *Keys) used() string { return k.prefix + ":access:used" } // HASH: id -> ms of the last use

const begins = "dk_"

var nameSyntax = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,39}$`)

// Create makes a key of the name, role, projects, creator and expiry of want, and
// gives it together with its secret, which cannot be had again. The error is an
// *InvalidError or Redis'.
func (k *Keys) Create(ctx context.Context, want Key) (apiclient.Secret, Key, error) {
	switch now := k.now(); {
	case !nameSyntax.MatchString(want.Name):
		return "", Key{}, invalid("name", "%.60q is not 1 to 40 small letters, digits, dots, dashes or underscores", want.Name)
	case !slices.Contains(Roles, want.Role):
		return "", Key{}, invalid("role", "%.60q is no role: viewer, producer, operator or admin", want.Role)
	case !slices.Contains([]string{"", "hold", "ignore"}, want.UnknownUsers):
		return "", Key{}, invalid("unknown_users", "%.60q is neither hold nor ignore", want.UnknownUsers)
	case !want.ExpiresAt.IsZero() && !want.ExpiresAt.After(now):
		return "", Key{}, invalid("expires_at", "the key would have expired already")
	default:
		want.CreatedAt = now.UTC()
	}
	secret := strings.ToLower(rand.Text() + rand.Text()[:6]) // 160 bits
	want.ID = begins + secret[:8]
	key := begins + secret
	set, err := k.rdb.HSetNX(ctx, k.all(), want.ID, mustJSON(stored{want, hash(key)})).Result()
	if err == nil && !set {
		err = errors.New("chance gave an id that exists")
	}
	if err != nil {
		return "", Key{}, fmt.Errorf("keeping the key: %w", err)
	}
	return apiclient.Secret(key), want, nil
}

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data
	}
	return string(b)
}

func (k *Keys) read(ctx context.Context, id string) (s stored, err error) {
	text, err := k.rdb.HGet(ctx, k.all(), id).Result()
	if errors.Is(err, redis.Nil) {
		return s, fmt.Errorf("key %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return s, fmt.Errorf("reading the key: %w", err)
	}
	return s, json.Unmarshal([]byte(text), &s)
}

// Authenticate finds the key that somebody has sent; ErrRefused if it is not
// valid. That it was used is noted, once a minute.
func (k *Keys) Authenticate(ctx context.Context, sent string) (Key, error) {
	if !strings.HasPrefix(sent, begins) || len(sent) != len(begins)+32 {
		return Key{}, ErrRefused
	}
	s, err := k.read(ctx, sent[:len(begins)+8])
	if errors.Is(err, ErrNotFound) {
		return Key{}, ErrRefused
	}
	if err != nil {
		return Key{}, err
	}
	now := k.now()
	right := subtle.ConstantTimeCompare([]byte(hash(sent)), []byte(s.Hash)) == 1
	if !right || !s.Valid(now) {
		return Key{}, ErrRefused
	}
	if err := k.note(ctx, s.ID, now); err != nil {
		return Key{}, err
	}
	return s.Key, nil
}

// Recheck looks whether a key that was authenticated a while ago is still valid;
// ErrRefused if it is not.
func (k *Keys) Recheck(ctx context.Context, id string) error {
	s, err := k.read(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !s.Valid(k.now()) {
		return ErrRefused
	}
	return err
}

func (k *Keys) note(ctx context.Context, id string, now time.Time) error {
	minute := strconv.FormatInt(now.Truncate(time.Minute).UnixMilli(), 10)
	last, err := k.rdb.HGet(ctx, k.used(), id).Result()
	if err == nil && last == minute {
		return nil
	}
	if err == nil || errors.Is(err, redis.Nil) {
		err = k.rdb.HSet(ctx, k.used(), id, minute).Err()
	}
	if err != nil {
		return fmt.Errorf("noting that a key was used: %w", err)
	}
	return nil
}

// List gives every key, the latest first, revoked ones too.
func (k *Keys) List(ctx context.Context) ([]Key, error) {
	all, err := k.rdb.HGetAll(ctx, k.all()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	used, err := k.rdb.HGetAll(ctx, k.used()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	out := make([]Key, 0, len(all))
	for id, text := range all {
		var s stored
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, fmt.Errorf("key %s cannot be read: %w", id, err)
		}
		if ms, err := strconv.ParseInt(used[id], 10, 64); err == nil {
			s.LastUsedAt = time.UnixMilli(ms).UTC()
		}
		out = append(out, s.Key)
	}
	slices.SortFunc(out, func(a, b Key) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, nil
}

// Revoke ends a key for good. Doing it again changes nothing.
func (k *Keys) Revoke(ctx context.Context, id string) (Key, error) {
	s, err := k.read(ctx, id)
	if err != nil || !s.RevokedAt.IsZero() {
		return s.Key, err
	}
	s.RevokedAt = k.now().UTC()
	if err := k.rdb.HSet(ctx, k.all(), id, mustJSON(s)).Err(); err != nil {
		return Key{}, fmt.Errorf("revoking the key: %w", err)
	}
	return s.Key, nil
}
