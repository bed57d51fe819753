package trail

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is a range of positions, both ends included.
type Range struct{ First, Last int }

// Ranges returns the ranges of positions, which it sorts in place.
func Ranges(positions []int) []Range {
	slices.Sort(positions)
	var out []Range
	for _, p := range positions {
		if n := len(out); n > 0 && out[n-1].Last+1 == p {
			out[n-1].Last = p
			continue
		}
		out = append(out, Range{p, p})
	}
	return out
}

// FormatRanges returns ranges in the stored format, such as "0-4,6".
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

// ParseRanges reads the format of FormatRanges; "" is nil.
func ParseRanges(s string) ([]Range, error) {
	if s == "" {
		return nil, nil
	}
	var out []Range
	for part := range strings.SplitSeq(s, ",") {
		first, last, found := strings.Cut(part, "-")
		if !found {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || b < a {
			return nil, fmt.Errorf("invalid positions %q", s)
		}
		out = append(out, Range{a, b})
	}
	return out, nil
}
