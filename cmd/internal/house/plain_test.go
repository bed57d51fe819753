//go:build !race

package house

import "testing"

func TestWordsArePlain(t *testing.T) {
	t.Parallel()
	var bad []string
	for path, text := range written(t) {
		if !in(aboutWords, path) {
			bad = append(bad, badWords(path, text)...)
		}
	}
	report(t, bad)
}
