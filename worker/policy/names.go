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

// around is what spreadsheets and mails leave at the ends of a name: ="zoe", 'zoe, <zoe@corp>.
const around = "'\"=<>,`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"

// UserForms returns the forms in which people write a user's name: as it is, each of several
// with ; between them, the address of Name <address>, and of these without quotes, the domain
// before a backslash or slash, and the part after the @.
func UserForms(name string) []string {
	name = FoldName(name)
	forms := []string{name}
	if strings.Contains(name, ";") {
		forms = append(forms, strings.Split(name, ";")...)
	}
	for _, form := range forms {
		if _, address, found := strings.Cut(form, "<"); found {
			forms = append(forms, address)
		}
	}
	for _, form := range forms {
		if bare := strings.TrimPrefix(strings.Trim(form, around), "mailto:"); bare != form {
			forms = append(forms, bare)
		}
	}
	for _, form := range forms {
		if i := strings.LastIndexAny(form, `\/`); i >= 0 {
			forms = append(forms, form[i+1:])
		}
	}
	for _, form := range forms {
		if local, _, found := strings.Cut(form, "@"); found {
			forms = append(forms, local)
		}
	}
	return slices.DeleteFunc(forms, func(s string) bool { return s == "" })
}
