package metrics

import (
	"regexp"
	"sync"
)

// other stands for every value that gets no series of its own.
const other = "other"

// knownCodes bounds the error codes, which are the cloud's text, that have series
// of their own in a process. The cloud documents some hundred, and few are met.
const knownCodes = 100

var codeSyntax = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,63}$`)

// known are the first values that came, up to a limit.
type known struct {
	limit int
	mu    sync.Mutex
	names map[string]bool
}

func newKnown(limit int) *known { return &known{limit: limit, names: map[string]bool{}} }

// name gives a value itself, if it is empty, or a code by its syntax and among the
// first that came; else other.
func (k *known) name(value string) string {
	if value == "" {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.names[value]:
	case len(k.names) >= k.limit || !codeSyntax.MatchString(value):
		return other
	default:
		k.names[value] = true
	}
	return value
}
