// Package desktopid is the one rule for ids of desktops: which texts may be one,
// and which spellings mean the same one.
package desktopid

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLength is the most characters that an id may have. Source: the API page, for
// desktop_id.
const MaxLength = 255

// Check says what is wrong with an id as it is, or nothing: it has 1 to MaxLength
// printable characters without white space, and is not what a spreadsheet makes of
// one.
func Check(id string) (problem string) {
	switch {
	case id == "":
		return "is empty"
	case !utf8.ValidString(id):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(id) > MaxLength:
		return fmt.Sprintf("is longer than %d characters", MaxLength)
	}
	if problem := spoilt(id); problem != "" {
		return problem
	}
	if strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }) {
		return "has a character that is not printable, or white space"
	}
	return ""
}

// Parse gives the id that a text means. Every spelling of a UUID (upper case, in
// braces or parentheses, after urn:uuid:, with white space or invisible characters
// around it) is that UUID in lower case; any other text is an id as it is. problem
// says why it can be none, as Check does, and id is the text then.
func Parse(text string) (id, problem string) {
	if id, ok := canonical(text); ok {
		return id, ""
	}
	return text, Check(text)
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// longestSpelling of a UUID that is looked at, in bytes.
const longestSpelling = 1 << 10

func canonical(text string) (id string, ok bool) {
	if len(text) > longestSpelling {
		return "", false
	}
	id = strings.ToLower(strings.TrimFunc(text, invisible))
	id = strings.TrimPrefix(id, "urn:uuid:")
	for _, pair := range []string{"{}", "()"} {
		if inner, found := strings.CutPrefix(id, pair[:1]); found {
			if inner, found = strings.CutSuffix(inner, pair[1:]); found {
				id = strings.TrimFunc(inner, invisible)
				break
			}
		}
	}
	return id, uuid.MatchString(id)
}

// invisible characters come along when an id is copied: white space, no-break
// spaces, byte order marks, zero-width characters, marks of direction.
func invisible(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zs, r)
}

// scientific is a number as spreadsheets and programs write large ones, with a
// decimal point or comma.
var scientific = regexp.MustCompile(`^[+-]?[0-9]+([.,][0-9]*)?[eE][+-]?[0-9]+$`)

// spoilt names what a spreadsheet has made of an id.
func spoilt(id string) (problem string) {
	id = strings.TrimFunc(id, invisible)
	switch {
	case scientific.MatchString(id):
		return "is a number that a spreadsheet made of an id: the id is lost; import the list with that column as text, and save it again"
	case strings.HasPrefix(id, "="):
		return `is a formula of a spreadsheet: give the id by itself, without = and quotes`
	case strings.HasPrefix(id, "'"), strings.HasPrefix(id, "’"), strings.HasPrefix(id, "‘"):
		return "begins with an apostrophe, by which spreadsheets mark text: take it out"
	case strings.HasPrefix(id, "#"):
		return "is an error value of a spreadsheet: the id is lost; import the list with that column as text, and save it again"
	}
	return ""
}
