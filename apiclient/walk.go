package apiclient

import (
	"fmt"
	"iter"
)

// Pages has the pages of a long list read, one after the other: it may wait before a page, and
// read it again after an error. It returns the last error.
type Pages func(read func() error) error

const (
	// maxWalk is ample for the pages of 100,000 items in pages of 100.
	maxWalk = 5000
	// maxBack bounds how often the reading of one list goes back.
	maxBack = 100
)

// walk describes how to read a list that is too long to stand still while it is read. Items
// come in an order that new ones do not change.
type walk[T any] struct {
	call  call
	pages Pages
	limit int
	read  func(offset, limit int) (page[T], error)
	key   func(T) string
}

// all returns each item once. An error is the last thing that it returns: nothing is then known
// of the rest. When items leave the list, those after them move up. A page therefore begins with
// an item that was read already; if it does not, the page before it is read again.
func (w walk[T]) all() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := w.each(func(item T) bool { return yield(item, nil) }); err != nil {
			var none T
			yield(none, err)
		}
	}
}

// each calls use for each item until it returns false.
func (w walk[T]) each(use func(T) bool) error {
	seen := map[string]bool{}
	back := 0
	for offset, n := 0, 0; n < maxWalk; n++ {
		var p page[T]
		err := w.pages(func() (err error) { p, err = w.read(offset, w.limit); return err })
		if err != nil {
			return err
		}
		var fresh []T
		overlaps := offset == 0
		for _, item := range p.items {
			switch key := w.key(item); {
			case !seen[key]:
				seen[key] = true
				fresh = append(fresh, item)
			case len(fresh) == 0:
				overlaps = true
			}
		}
		if !overlaps {
			for _, item := range fresh {
				delete(seen, w.key(item))
			}
			if back++; back > maxBack {
				return listError(w.call, fmt.Errorf("the list changed during each of %d reads of a page, or contradicts itself", maxBack))
			}
			offset = max(0, offset-w.limit)
			continue
		}
		for _, item := range fresh {
			if !use(item) {
				return nil
			}
		}
		// Only the item that was read already: it is the last one of the list.
		if len(fresh) == 0 && len(p.items) <= 1 {
			if p.total != nil && len(seen) < *p.total {
				return listError(w.call, fmt.Errorf("the list has %d items and total_count says %d: it changed while it was read, "+
					"or contradicts itself", len(seen), *p.total))
			}
			return nil
		}
		offset += max(0, len(p.items)-1)
	}
	return listError(w.call, fmt.Errorf("the list does not end after %d pages", maxWalk))
}
