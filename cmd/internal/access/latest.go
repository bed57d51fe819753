package access

import "container/list"

// latest is a map that keeps the most recent entries.
type latest[K comparable, V any] struct {
	most  int
	order *list.List // of entry[K, V], the latest first
	at    map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newLatest[K comparable, V any](most int) latest[K, V] {
	return latest[K, V]{most, list.New(), map[K]*list.Element{}}
}

func (l *latest[K, V]) get(k K) (v V, known bool) {
	e, known := l.at[k]
	if known {
		v = e.Value.(entry[K, V]).value
	}
	return v, known
}

func (l *latest[K, V]) put(k K, v V) {
	l.remove(k)
	if len(l.at) == l.most {
		l.remove(l.order.Back().Value.(entry[K, V]).key)
	}
	l.at[k] = l.order.PushFront(entry[K, V]{k, v})
}

func (l *latest[K, V]) remove(k K) {
	if e, known := l.at[k]; known {
		l.order.Remove(e)
		delete(l.at, k)
	}
}
