package record

import (
	"context"
	"maps"
	"sync"
)

// gatheredNames writes the names of desktops that failed. A chunk has a few, which are in as many
// buckets, so those that come while some are being written are gathered and written together.
type gatheredNames struct {
	mu      sync.Mutex
	next    *namesWrite // gathers; nil: nothing came
	writing bool
}

// namesWrite is names that are written together. err is set when done is closed.
type namesWrite struct {
	names *nameWrites
	done  chan struct{}
	err   error
}

// write returns when the names are in the index and in the lists.
func (g *gatheredNames) write(ctx context.Context, r *Record, names *nameWrites) error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &namesWrite{names: newNameWrites(), done: make(chan struct{})}
	}
	w := g.next
	w.names.merge(names)
	lead := !g.writing
	g.writing = true
	g.mu.Unlock()
	if lead {
		g.writeNext(context.WithoutCancel(ctx), r)
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeNext writes what was gathered, and in another goroutine what comes meanwhile.
func (g *gatheredNames) writeNext(ctx context.Context, r *Record) {
	g.mu.Lock()
	w := g.next
	g.next, g.writing = nil, w != nil
	g.mu.Unlock()
	if w == nil {
		return
	}
	w.err = r.runBatches(ctx, append(w.names.calls(r.keys.named), r.listCalls(w.names)...))
	close(w.done)
	go g.writeNext(ctx, r)
}

// merge adds the names of others.
func (w *nameWrites) merge(others *nameWrites) {
	for bucket, entries := range others.indexWrites {
		w.indexWrites[bucket] = append(w.indexWrites[bucket], entries...)
	}
	for list, texts := range others.texts {
		if w.texts[list] == nil {
			w.texts[list] = map[string]bool{}
		}
		maps.Copy(w.texts[list], texts)
		if others.until[list].After(w.until[list]) {
			w.until[list] = others.until[list]
		}
	}
}
