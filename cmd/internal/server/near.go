package server

import (
	"reflect"
	"strings"
)

// alternative says which name was probably meant, or else which are known.
func alternative(name string, known []string) string {
	best, distance := "", 3 // farther names are not alike
	for _, k := range known {
		if d := edits(strings.ToLower(name), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return ": did you mean " + best + "?"
	case len(known) == 0:
		return "; known: none"
	}
	return "; known: " + strings.Join(known, ", ")
}

// edits is the Levenshtein distance: how many letters to insert, remove or replace.
func edits(a, b string) int {
	if len(a) > len(b)+3 { // the caller decides how long it is
		return len(a)
	}
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		before := last[0]
		last[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before, last[j+1] = last[j+1], min(cost, last[j]+1, last[j+1]+1)
		}
	}
	return last[len(b)]
}

// jsonNames are the names of a struct's fields in JSON.
func jsonNames(t reflect.Type) (names []string) {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
