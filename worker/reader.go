package worker

import (
	"context"
	"slices"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks/gather"
)

// reader coalesces readings, of desktops or of what projects have to do: while as many as allowed
// are in flight, further ids wait for the next one, which has up to 100, of any operations.
type reader[V any] struct {
	wishes gather.Group[readWish[V]]
}

type readWish[V any] struct {
	ids []string
	got map[string]V
}

func newReader[V any](atOnce int, readNow func(ids []string) (map[string]V, error)) *reader[V] {
	r := &reader[V]{}
	r.wishes.AtOnce, r.wishes.Most = atOnce, apiclient.MaxDesktopsPerCall
	r.wishes.Size = func(w *readWish[V]) int { return len(w.ids) }
	r.wishes.Together = func(_ context.Context, wishes []*readWish[V]) error {
		ids := make([]string, 0, apiclient.MaxDesktopsPerCall)
		for _, w := range wishes {
			ids = append(ids, w.ids...)
		}
		slices.Sort(ids)
		got, err := readNow(slices.Compact(ids))
		for _, w := range wishes {
			w.got = got
		}
		return err
	}
	return r
}

// read reads up to 100 ids. Those that do not exist are missing from the result, and there may
// be others in it. If ctx ends, the reading goes on.
func (r *reader[V]) read(ctx context.Context, ids []string) (map[string]V, error) {
	w := &readWish[V]{ids: ids}
	if err := r.wishes.Do(ctx, w); err != nil {
		return nil, err
	}
	return w.got, nil
}
