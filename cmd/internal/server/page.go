package server

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// answerPage answers with a page of a list.
func answerPage[T any](r *request, items []T, next string, err error) error {
	return answerCounted(r, items, next, -1, err)
}

// answerCounted answers with a page of a list that has total items; -1: not known.
func answerCounted[T any](r *request, items []T, next string, total int, err error) error {
	if err == nil {
		next, err = r.sealToken(next)
	}
	if err != nil {
		return err
	}
	page := api.Page[T]{Items: items, NextPageToken: next}
	if items == nil {
		page.Items = []T{}
	}
	if total >= 0 {
		page.Total = &total
	}
	return r.answer(http.StatusOK, page)
}

// A page token is a place in an index, which may be of something that the key cannot see.
// So it is encrypted, and bound to the list, its parameters and the projects of the key.

func (r *request) sealToken(place string) (string, error) {
	if place == "" {
		return "", nil
	}
	aead, err := r.tokenCipher()
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, []byte(place), r.tokenScope())), nil
}

func (r *request) openToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	aead, err := r.tokenCipher()
	if err != nil {
		return "", err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", tasks.ErrPageToken
	}
	place, err := aead.Open(nil, nil, sealed, r.tokenScope())
	if err != nil {
		return "", tasks.ErrPageToken
	}
	return string(place), nil
}

func (r *request) tokenCipher() (cipher.AEAD, error) {
	key, err := r.server.record.PageKey(r.Context())
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// tokenScope is what a token is valid for. Times may differ: people give them relative to now.
func (r *request) tokenScope() []byte {
	q := r.URL.Query()
	for _, name := range []string{"page_token", "page_size", "from", "to"} {
		q.Del(name)
	}
	return []byte(r.URL.EscapedPath() + "?" + q.Encode() + "\n" + strings.Join(r.key.Projects, "\n"))
}

// visible reads a page of a list for a key that may be bound to projects. read returns at
// most n items from a place on, may says whether the key sees an item.
//
// For a bound key it reads on until the page is full, and gives a next place only if another
// visible item follows: a short page, or a token at its end, would tell of hidden items.
func visible[T any](
	r *request, size int, place string, read func(n int, place string) ([]T, string, error), may func(T) bool,
) (out []T, next string, err error) {
	if len(r.key.Projects) == 0 {
		return read(size, place)
	}
	for n := size; ; {
		items, after, err := read(n, place)
		if err != nil {
			return nil, "", err
		}
		items = slices.DeleteFunc(items, func(x T) bool { return !may(x) })
		left := size - len(out)
		switch {
		case left == 0 && len(items) > 0:
			return out, next, nil
		case len(items) > left: // a place is known only at the end of what was read
			n = max(left, n/4)
			continue
		case after == "":
			return append(out, items...), "", nil
		case len(items) == 0:
			n = min(4*n, largestPage)
		}
		if out = append(out, items...); left > 0 {
			next = after
		}
		place = after
	}
}
