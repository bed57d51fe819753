package policy

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// FoldName returns the form in which names are compared that people may have written differently:
// without compatibility forms, case, invisible characters and spaces.
func FoldName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, norm.NFKC.String(name))
	return norm.NFKC.String(cases.Fold().String(name))
}

// UserForms returns the forms in which people write a user's name: as it is, without the
// domain before a backslash or slash, and without the part after the @.
func UserForms(name string) []string {
	name = FoldName(name)
	forms := []string{name}
	if i := strings.LastIndexAny(name, `\/`); i >= 0 {
		forms = append(forms, name[i+1:])
	}
	for _, form := range forms {
		if local, _, found := strings.Cut(form, "@"); found {
			forms = append(forms, local)
		}
	}
	return slices.DeleteFunc(forms, func(s string) bool { return s == "" })
}
