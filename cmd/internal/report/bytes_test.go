//go:build !race

package report

import (
	"bytes"
	"errors"
	"strconv"
	"testing"
)

func TestEveryChangedByteIsFound(t *testing.T) {
	t.Parallel()
	forEachFormat(t, func(t *testing.T, f Format) {
		b := newBook(t)
		text := b.write(b.finish(b.small(plainTexts)), f)
		found := func(what string, i int, changed []byte) {
			t.Helper()
			if _, err := Verify(bytes.NewReader(changed)); !errors.Is(err, ErrReportAltered) {
				t.Errorf("%s byte %d of %d: %v: …%s…", what, i, len(text), err, text[max(0, i-20):min(len(text), i+20)])
			}
		}
		const parts = 8
		for part := range parts {
			t.Run(strconv.Itoa(part), func(t *testing.T) {
				t.Parallel()
				changed := make([]byte, 0, len(text)+1)
				for i := part; i <= len(text); i += parts {
					for _, c := range []byte{'\n', '0'} {
						found("inserting", i, append(append(append(changed[:0], text[:i]...), c), text[i:]...))
					}
					if i == len(text) {
						break
					}
					found("deleting", i, append(append(changed[:0], text[:i]...), text[i+1:]...))
					for _, mask := range []byte{1, ' '} { // ' ' is the case of a letter
						changed = append(changed[:0], text...)
						changed[i] ^= mask
						found("replacing", i, changed)
					}
				}
			})
		}
		for _, n := range []int{0, 1, 10, len(text) / 2} {
			found("cutting off from", n, text[:n])
		}
		found("doubling", 0, append(bytes.Clone(text), text...))
		found("windows line ends", 0, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
	})
}
