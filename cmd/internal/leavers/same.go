package leavers

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// samePerson reports whether two texts of a row name the same person: an account and its mail address
// or principal, or an account that is made of the words of a name, as alee or lee.ann of "Ann Lee".
func samePerson(account, other string) bool {
	a, b := localPart(account), localPart(other)
	return sameAccount(a, b) || max(len(a), len(b)) <= longestName && (madeOf(partsOf(a), partsOf(b)) || madeOf(partsOf(b), partsOf(a)))
}

// sameAccount reports whether two accounts are the same without case, domain and mail domain.
func sameAccount(account, other string) bool {
	return strings.EqualFold(norm.NFC.String(localPart(account)), norm.NFC.String(localPart(other)))
}

// localPart is what stands before the @ of an address, and behind the domain of an account.
func localPart(name string) string {
	name = addressIn(strings.TrimSpace(name))
	if _, account, ok := strings.Cut(name, `\`); ok {
		name = account
	}
	local, _, _ := strings.Cut(name, "@")
	return local
}

// umlauts are written out in accounts.
var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "ø", "oe", "å", "aa", "æ", "ae")

// partsOf splits a name, or an account, into words without digits, with and without umlauts.
func partsOf(name string) (out [][]string) {
	for _, text := range []string{umlauts.Replace(norm.NFC.String(strings.ToLower(name))), name} {
		var words []string
		for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.Is(unicode.Mn, r) }) {
			words = append(words, fold(w))
		}
		out = append(out, words)
	}
	return out
}

// madeOf reports whether each word of an account begins a word of the name, one of them in full, or
// is put together of such.
func madeOf(accounts, names [][]string) bool {
	return slices.ContainsFunc(accounts, func(account []string) bool {
		return slices.ContainsFunc(names, func(name []string) bool {
			return len(account) > 0 && len(account) <= len(name) && len(name) <= mostNames && isMade(strings.Join(account, ""), name, false)
		})
	})
}

// They also bound the work for lists that are made to take long.
const shortestName, longestName, mostNames, mostLetters = 3, 100, 4, 3

// isMade reports whether a text is put together of beginnings of different words, one of them in
// full.
func isMade(text string, words []string, full bool) bool {
	if text == "" {
		return full
	}
	for i, w := range words {
		rest := slices.Concat(words[:i], words[i+1:])
		if after, ok := strings.CutPrefix(text, w); ok && w != "" && isMade(after, rest, full || len(w) >= shortestName) {
			return true
		}
		for n := 1; n <= min(mostLetters, len(w)-1); n++ {
			if after, ok := strings.CutPrefix(text, w[:n]); ok && isMade(after, rest, full) {
				return true
			}
		}
	}
	return false
}
