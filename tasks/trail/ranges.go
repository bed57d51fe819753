package trail

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is a run of places in an operation's request, both ends included.
type Range struct{ First, Last int }

// Ranges packs places into runs; it sorts them.
func Ranges(places []int) []Range {
	slices.Sort(places)
	var out []Range
	for _, p := range places {
		if n := len(out); n > 0 && out[n-1].Last+1 == p {
			out[n-1].Last = p
			continue
		}
		out = append(out, Range{p, p})
	}
	return out
}

// FormatRanges writes runs as they are stored.
func FormatRanges(rs []Range) string {
	b := make([]byte, 0, 16)
	for i, r := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(r.First), 10)
		if r.Last != r.First {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(r.Last), 10)
		}
	}
	return string(b)
}

// ParseRanges reads them.
func ParseRanges(s string) ([]Range, error) {
	if s == "" {
		return nil, nil
	}
	var out []Range
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRun := strings.Cut(part, "-")
		if !isRun {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || b < a {
			return nil, fmt.Errorf("places of a call cannot be read: %q", s)
		}
		out = append(out, Range{a, b})
	}
	return out, nil
}
