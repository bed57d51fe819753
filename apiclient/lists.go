package apiclient

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// page is a part of a list; total is what it says of the whole, nil if nothing.
type page[T any] struct {
	items []T
	total *int
}

// listing is how a list is read and what it is a list of.
type listing[T any] struct {
	call call
	read func(offset int) (page[T], error)
	key  func(T) string
	// enough ends the reading early; nil: never.
	enough func([]T) bool
}

const (
	maxPages = 100
	// maxBeginnings is how often a list that moves is begun.
	maxBeginnings = 5
)

// steady reads a whole list that did not move meanwhile. What leaves a list moves
// what follows up, over the border of two pages: each page therefore begins with
// the last item of the one before it, and a list that has moved is begun again.
func (l listing[T]) steady() ([]T, error) {
	for range maxBeginnings {
		items, moved, err := l.whole()
		if err != nil || !moved {
			return items, err
		}
	}
	return nil, listError(l.call, fmt.Errorf("the list changed whenever it was read, or contradicts itself: %d tries", maxBeginnings))
}

func (l listing[T]) whole() (items []T, moved bool, err error) {
	var total *int
	for range maxPages {
		p, err := l.read(max(0, len(items)-1))
		if err != nil {
			return nil, false, err
		}
		more := p.items
		if len(items) == 0 {
			total = p.total
		} else {
			if len(more) == 0 || l.key(more[0]) != l.key(items[len(items)-1]) || !sameTotal(total, p.total) {
				return nil, true, nil
			}
			more = more[1:]
		}
		items = append(items, more...)
		switch {
		case l.enough != nil && l.enough(items):
			return items, false, nil
		case total != nil && len(items) >= *total:
			return items, false, nil
		case len(more) == 0:
			return items, total != nil, nil // fewer than it said: it moved, or contradicts itself
		}
	}
	return nil, false, listError(l.call, fmt.Errorf("the list does not end after %d pages", maxPages))
}

func sameTotal(a, b *int) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// listError is about a list that came and cannot be used.
func listError(c call, err error) error { return &Error{Op: c.op, Effect: EffectNone, Err: err} }

// maxQuery is the longest query, as it is sent, that a reading has. Gateways and
// proxies commonly take 8 KiB for a request's first line.
const maxQuery = 6 << 10

// roomForPaging is what limit and offset take of it.
const roomForPaging = 32

// inParts has read called with filters that together name all of names under key,
// in as few as maxQuery allows. What a 4xx refuses as a whole is halved, down to
// single names; one that is refused alone is an *Error with it in About.
func inParts(key string, names []string, read func(filter url.Values) error) error {
	for len(names) > 0 {
		n := fitting(key, names)
		if err := halving(key, names[:n], read); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// fitting is how many of the first names go into one query, at least one.
func fitting(key string, names []string) int {
	size := roomForPaging
	for i, name := range names {
		size += len("&=") + len(key) + len(escape(name))
		if i > 0 && size > maxQuery {
			return i
		}
	}
	return len(names)
}

func halving(key string, names []string, read func(filter url.Values) error) error {
	err := read(url.Values{key: names})
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok || !e.aboutTheNames():
		return err
	case len(names) == 1:
		alone := *e
		alone.About = names[0]
		return &alone
	}
	for _, half := range [][]string{names[:len(names)/2], names[len(names)/2:]} {
		if err := halving(key, half, read); err != nil {
			return err
		}
	}
	return nil
}

// aboutTheNames reports that a reading may succeed with fewer names. What IAM
// refuses has another Op.
func (e *Error) aboutTheNames() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return false
	}
	return e.Op == listCall(nil).op && !e.NotAPI && e.Status >= 400 && e.Status < 500
}
