package apiclient

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// page is a part of a list; total is the total_count in it, nil if absent.
type page[T any] struct {
	items []T
	total *int
}

// listing describes how to read a list of T.
type listing[T any] struct {
	call call
	read func(offset int) (page[T], error)
	key  func(T) string
	// enough ends the reading early; nil: never.
	enough func([]T) bool
}

const (
	maxPages = 100
	maxReads = 5 // of a list that keeps changing
	// maybeCapped is a total behind which a list may go on. The documentation of ListDesktops caps
	// its total at 2000; other calls have pages of 1000.
	maybeCapped = 1000
)

// steady reads a complete list that did not change during the reading. When an item leaves
// a list, the items after it move up, possibly to the previous page. Each page therefore
// starts with the last item of the previous one, and a list that has moved is read again. So is
// one of which two pages show the same item: it has no fixed order, and may have hidden another
// one.
func (l listing[T]) steady() ([]T, error) {
	for range maxReads {
		items, moved, err := l.readOnce()
		if err != nil || !moved {
			return items, err
		}
	}
	return nil, listError(l.call, fmt.Errorf("the list changed during each of %d reads, or contradicts itself", maxReads))
}

func (l listing[T]) readOnce() (items []T, moved bool, err error) {
	var total *int
	earlier, fresh := map[string]bool{}, 0 // keys of the pages before, and how many items the last one added
	for range maxPages {
		p, err := l.read(max(0, len(items)-1))
		if err != nil {
			return nil, false, err
		}
		more, twice := p.items, false
		if len(items) == 0 {
			total = p.total
		} else {
			last := l.key(items[len(items)-1])
			if len(more) == 0 || l.key(more[0]) != last || !sameTotal(total, p.total) {
				return nil, true, nil
			}
			more = more[1:]
			for _, item := range items[len(items)-fresh:] {
				earlier[l.key(item)] = true
			}
			twice = slices.ContainsFunc(more, func(item T) bool { key := l.key(item); return key != last && earlier[key] })
		}
		fresh = len(more)
		if items == nil {
			items = more
		} else {
			items = append(items, more...)
		}
		switch {
		case l.enough != nil && l.enough(items):
			return items, false, nil
		case twice:
			return nil, true, nil
		case total != nil && len(items) >= *total && *total < maybeCapped:
			return items, false, nil
		case len(more) == 0:
			return items, total != nil && len(items) < *total, nil // fewer than total_count: it moved, or contradicts itself
		}
	}
	return nil, false, listError(l.call, fmt.Errorf("the list does not end after %d pages", maxPages))
}

func sameTotal(a, b *int) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// listError reports a list that was received and cannot be used.
func listError(c call, err error) error { return &Error{Op: c.op, Effect: EffectNone, Err: err} }

const (
	maxQuery   = 6 << 10 // bytes as sent; gateways and proxies commonly allow 8 KiB for a request line
	pagingSize = 32      // bytes of maxQuery for limit and offset
)

// inParts calls read with filters key=names, in as few parts as maxQuery allows. A part
// refused with a 4xx is halved, down to single names; a name refused alone is an *Error
// with About.
func inParts(key string, names []string, read func(filter url.Values) error) error {
	for len(names) > 0 {
		n := fitting(key, names)
		if err := readHalving(key, names[:n], read); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// fitting returns how many of the first names fit into one query, at least 1.
func fitting(key string, names []string) int {
	size := pagingSize
	for i, name := range names {
		size += len("&=") + len(key) + len(escape(name))
		if i > 0 && size > maxQuery {
			return i
		}
	}
	return len(names)
}

func readHalving(key string, names []string, read func(filter url.Values) error) error {
	err := read(url.Values{key: names})
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok || !e.mayBeOneName():
		return err
	case len(names) == 1:
		alone := *e
		alone.About = names[0]
		return &alone
	}
	for _, half := range [][]string{names[:len(names)/2], names[len(names)/2:]} {
		if err := readHalving(key, half, read); err != nil {
			return err
		}
	}
	return nil
}

// mayBeOneName reports whether a read may succeed with fewer names. Refusals by IAM have
// another Op.
func (e *Error) mayBeOneName() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return false
	}
	return e.Op == listCall(nil).op && !e.NotAPI && e.Status >= 400 && e.Status < 500
}
