package trail

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// log makes a log of n entries, the latest first.
func log(n int) (out []LogEntry) {
	previous := ""
	for seq := range n {
		e := LogEntry{Seq: int64(seq + 1), Stored: fmt.Sprintf(`{"seq":%d}`, seq+1), Previous: previous}
		e.Hash = LogHash(e.Previous, e.Stored)
		previous = e.Hash
		out = append([]LogEntry{e}, out...)
	}
	return out
}

func check(entries []LogEntry) error {
	var c LogCheck
	for _, e := range entries {
		if err := c.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// Whoever has kept a hash compares it with one that is computed later.
func TestLogHashStaysAsItIs(t *testing.T) {
	t.Parallel()
	require.Equal(t, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", LogHash("", "test"))
	require.Equal(t, LogHash("", "test"), LogHash("te", "st"))
}

func TestLogCheck(t *testing.T) {
	t.Parallel()
	require.NoError(t, check(nil))
	require.NoError(t, check(log(5)))
	require.NoError(t, check(log(5)[:3]), "the earliest have expired")
	require.NoError(t, check(log(5)[2:]), "which ones are missing at the end only a kept hash tells")
	for want, alter := range map[string]func([]LogEntry) []LogEntry{
		"entry 3 does not have the hash of its content": func(l []LogEntry) []LogEntry { l[2].Stored += " "; return l },
		"entry 1 does not have the hash of its content": func(l []LogEntry) []LogEntry { l[4].Hash = l[3].Hash; return l },
		"entries 3 to 4 are missing":                    func(l []LogEntry) []LogEntry { return slices.Delete(l, 1, 3) },
		"entry 2 follows entry 2":                       func(l []LogEntry) []LogEntry { return slices.Insert(l, 3, l[3]) },
		"entry 4 follows entry 3":                       func(l []LogEntry) []LogEntry { l[1], l[2] = l[2], l[1]; return l[1:] },
		"an entry has the number 0":                     func(l []LogEntry) []LogEntry { l[4].Seq = 0; return l },
		"entry 3 is not the one that entry 4 is chained to": func(l []LogEntry) []LogEntry {
			l[2].Stored = "other" // and the hash computed again
			l[2].Hash = LogHash(l[2].Previous, l[2].Stored)
			return l
		},
		`entry 3 is chained to ""`: func(l []LogEntry) []LogEntry {
			l[2].Previous = ""
			l[2].Hash = LogHash("", l[2].Stored)
			return l[2:]
		},
	} {
		require.EqualError(t, check(alter(log(5))), want)
	}
}
