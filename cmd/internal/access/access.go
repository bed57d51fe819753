// Package access decides who may do what over HTTP: keys with roles and projects, browser
// sessions, and a guard against guessing. A key is shown once, when it is made; Redis holds
// its hash.
package access

import (
	"cmp"
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
	"unicode"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient"
)

// Role is what a key may do. Each role includes those before it.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // read
	Producer Role = "producer" // submit operations
	Operator Role = "operator" // cancel, retry, dismiss, pause and resume
	Approver Role = "approver" // approve and reject operations that wait
	Admin    Role = "admin"    // manage keys, and stop all projects
)

// Roles lists the roles, the weakest first.
var Roles = []Role{Viewer, Producer, Operator, Approver, Admin}

// Includes reports whether role r may do what requires wanted. An unknown role may do
// nothing.
func (r Role) Includes(wanted Role) bool {
	have, need := slices.Index(Roles, r), slices.Index(Roles, wanted)
	return have >= 0 && need >= 0 && have >= need
}

// Key describes a key, without its secret.
type Key struct {
	ID       string   `json:"id"` // the first characters of the key, to recognise it
	Name     string   `json:"name"`
	Owner    string   `json:"owner,omitempty"` // the person who answers for the key; empty: made by a version without owners
	Role     Role     `json:"role"`
	Projects []string `json:"projects,omitempty"` // empty: all
	// UnknownUsers is the default for requests with this key: hold or ignore users whom
	// Workspace does not know. Empty: the default of the project.
	UnknownUsers string `json:"unknown_users,omitempty"`
	// DesktopsPerHour and DesktopsPerDay limit the rows of operations that are created with
	// keys of this name; 0: no limit.
	DesktopsPerHour int       `json:"desktops_per_hour,omitempty"`
	DesktopsPerDay  int       `json:"desktops_per_day,omitempty"`
	CreatedAt       time.Time `json:"created_at"`
	CreatedBy       string    `json:"created_by,omitempty"`
	ExpiresAt       time.Time `json:"expires_at,omitzero"` // zero: never
	RevokedAt       time.Time `json:"revoked_at,omitzero"`
	LastUsedAt      time.Time `json:"last_used_at,omitzero"` // to the minute
}

// Sees reports whether the key is for the project.
func (k Key) Sees(project string) bool {
	return len(k.Projects) == 0 || slices.Contains(k.Projects, project)
}

// SeesAll reports whether the key is for all of the projects.
func (k Key) SeesAll(projects []string) bool {
	return !slices.ContainsFunc(projects, func(p string) bool { return !k.Sees(p) })
}

// Valid reports whether the key is neither revoked nor expired.
func (k Key) Valid(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// stored adds the hash. One SHA-256 is enough: a key has 160 random bits and cannot be
// guessed from its hash.
type stored struct {
	Key
	Hash string `json:"hash"`
}

var (
	// ErrRefused says that a key is unknown, revoked or expired. The sender is not told
	// which.
	ErrRefused = errors.New("the key is not valid")
	// ErrNotFound says that no key has the id.
	ErrNotFound = errors.New("no such key")
)

// InvalidError says what is wrong with the description of a new key.
type InvalidError struct{ Field, Why string }

func (e *InvalidError) Error() string { return e.Field + ": " + e.Why }

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// Keys is the store of keys in Redis. Its methods wrap the errors of Redis.
type Keys struct {
	rdb    redis.UniversalClient
	prefix string
	now    func() time.Time
}

// NewKeys makes a store whose names in Redis begin with prefix. now is usually time.Now.
func NewKeys(rdb redis.UniversalClient, prefix string, now func() time.Time) *Keys {
	return &Keys{rdb: rdb, prefix: prefix, now: now}
}

func (k *Keys) all() string  { return k.prefix + ":access:keys" } // HASH: id -> JSON of stored
func (k *Keys) used() string { return k.prefix + ":access:used" } // HASH: id -> ms of the last use

const begins = "dk_"

var keySyntax = regexp.MustCompile(`^` + begins + `[a-z0-9]{32}$`)

var nameSyntax = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,39}$`)

const maxOwner = 120

// ValidOwner reports whether a text can be the owner of a key: 1 to 120 printable characters.
func ValidOwner(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxOwner && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// wellFormed reports whether a text looks like a key. Anything else is not a guess: it is
// refused without asking Redis.
func wellFormed(sent string) bool { return keySyntax.MatchString(sent) }

// Create makes a key as described by want, and returns its secret, which cannot be read
// again. Its owner is by default its name. before is called with the key before it exists;
// its error is returned. Other errors are *InvalidError or from Redis.
func (k *Keys) Create(ctx context.Context, want Key, before ...func(Key) error) (apiclient.Secret, Key, error) {
	want.Owner = cmp.Or(want.Owner, want.Name)
	switch now := k.now(); {
	case !nameSyntax.MatchString(want.Name):
		return "", Key{}, invalid("name", "%.60q is not 1 to 40 lower-case letters, digits, dots, dashes or underscores", want.Name)
	case !ValidOwner(want.Owner):
		return "", Key{}, invalid("owner", "%.60q is not 1 to %d printable characters: give the name or mail address of a person",
			want.Owner, maxOwner)
	case !slices.Contains(Roles, want.Role):
		return "", Key{}, invalid("role", "%.60q is not a role: use viewer, producer, operator, approver or admin", want.Role)
	case !slices.Contains([]string{"", "hold", "ignore"}, want.UnknownUsers):
		return "", Key{}, invalid("unknown_users", "%.60q is neither hold nor ignore", want.UnknownUsers)
	case want.DesktopsPerHour < 0:
		return "", Key{}, invalid("desktops_per_hour", "is %d: 1 or more, or omit it for no limit", want.DesktopsPerHour)
	case want.DesktopsPerDay < 0:
		return "", Key{}, invalid("desktops_per_day", "is %d: 1 or more, or omit it for no limit", want.DesktopsPerDay)
	case !want.ExpiresAt.IsZero() && !want.ExpiresAt.After(now):
		return "", Key{}, invalid("expires_at", "is in the past: give a time to come, or omit it")
	default:
		want.CreatedAt = now.UTC()
	}
	secret := strings.ToLower(rand.Text() + rand.Text()[:6]) // 160 bits
	want.ID = begins + secret[:8]
	key := begins + secret
	for _, f := range before {
		if err := f(want); err != nil {
			return "", Key{}, err
		}
	}
	text := mustJSON(stored{want, hash(key)})
	set, err := k.rdb.HSetNX(ctx, k.all(), want.ID, text).Result()
	if err == nil && !set { // or it was sent again, as the first reply was lost
		var there string
		if there, err = k.rdb.HGet(ctx, k.all(), want.ID).Result(); err == nil && there != text {
			err = errors.New("the random id is in use: try again")
		}
	}
	if err != nil {
		return "", Key{}, fmt.Errorf("storing the key: %w", err)
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

// Authenticate finds the key that was sent; ErrRefused if it is not valid. It records the
// use of the key, once a minute.
func (k *Keys) Authenticate(ctx context.Context, sent string) (Key, error) {
	if !wellFormed(sent) {
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
	if err := k.recordUse(ctx, s.ID, now); err != nil {
		return Key{}, err
	}
	return s.Key, nil
}

// Recheck checks whether a key that was authenticated before is still valid; ErrRefused if
// not.
func (k *Keys) Recheck(ctx context.Context, id string) error {
	s, err := k.read(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !s.Valid(k.now()) {
		return ErrRefused
	}
	return err
}

func (k *Keys) recordUse(ctx context.Context, id string, now time.Time) error {
	minute := strconv.FormatInt(now.Truncate(time.Minute).UnixMilli(), 10)
	last, err := k.rdb.HGet(ctx, k.used(), id).Result()
	if err == nil && last == minute {
		return nil
	}
	if err == nil || errors.Is(err, redis.Nil) {
		err = k.rdb.HSet(ctx, k.used(), id, minute).Err()
	}
	if err != nil && !refused(err) {
		return fmt.Errorf("recording the use of a key: %w", err)
	}
	return nil
}

// refused reports whether Redis answered and did not do it. A Redis that takes no writes, for
// example without memory, still shows what it has: nobody is locked out because a use cannot
// be written.
func refused(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && !errors.Is(err, redis.Nil)
}

// Get reads a key; ErrNotFound if there is none.
func (k *Keys) Get(ctx context.Context, id string) (Key, error) {
	s, err := k.read(ctx, id)
	return s.Key, err
}

// List returns all keys, revoked ones too, the latest first.
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

// Revoke revokes a key for good. Repeating it changes nothing.
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
