package metrics

import (
	"regexp"
	"sync"
)

// other is the label of all values without their own series.
const other = "other"

// knownCodes limits the error codes, which are the cloud's text, that get their own series
// in a process. The cloud documents about a hundred, and few occur.
const knownCodes = 100

var codeSyntax = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,63}$`)

// known are the first values seen, up to a limit.
type known struct {
	limit int
	mu    sync.Mutex
	names map[string]bool
}

func newKnown(limit int) *known { return &known{limit: limit, names: map[string]bool{}} }

// name returns the value itself if it is empty, or looks like a code and is among the first
// ones seen; else other.
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
