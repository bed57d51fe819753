// Package desktopid defines which texts are valid desktop ids, and which spellings mean the
// same id.
package desktopid

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLength is the maximum number of characters of an id. Source: desktop_id in the API
// reference.
const maxLength = 255

// Check returns what is wrong with id, or "" if it is valid: 1 to 255 printable
// characters without white space, and not a value that a spreadsheet made of an id. The
// problem continues a sentence that begins with the id, such as "is empty".
func Check(id string) (problem string) {
	switch {
	case isUUID(id):
		return "" // as nearly all are
	case id == "":
		return "is empty"
	case !utf8.ValidString(id):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(id) > maxLength:
		return fmt.Sprintf("is longer than %d characters", maxLength)
	}
	if problem := damaged(id); problem != "" {
		return problem
	}
	if strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }) {
		return "contains white space or a character that is not printable"
	}
	return ""
}

// Parse returns the id that text means. Every spelling of a UUID (upper case, in braces or
// parentheses, after urn:uuid:, with white space or invisible characters around it)
// becomes that UUID in lower case; any other text is the id unchanged. problem is that of
// Check; id is then text.
func Parse(text string) (id, problem string) {
	id = Canonical(text)
	return id, Check(id)
}

// Canonical is the id of Parse. It serves what the cloud writes, which has to match whatever its
// spelling.
func Canonical(text string) string {
	if isUUID(text) {
		return text // as nearly all are
	}
	if id, ok := canonical(text); ok {
		return id
	}
	return text
}

// isUUID reports a UUID in lower case.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return false
		} else if !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// longestSpelling is the longest text, in bytes, that is parsed as a UUID.
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
	return id, isUUID(id)
}

// invisible reports characters that get copied along with an id: white space, no-break
// spaces, byte order marks, zero-width characters, direction marks.
func invisible(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zs, r)
}

// scientific matches a large number in a spreadsheet's notation, with decimal point or
// comma.
var scientific = regexp.MustCompile(`^[+-]?[0-9]+([.,][0-9]*)?[eE][+-]?[0-9]+$`)

// damaged describes the value that a spreadsheet made of an id; "": it is not damaged.
func damaged(id string) (problem string) {
	id = strings.TrimFunc(id, invisible)
	switch {
	case scientific.MatchString(id):
		return "is a number that a spreadsheet made of an id; the id is lost: import the list again with this column as text"
	case strings.HasPrefix(id, "="):
		return `is a formula of a spreadsheet: enter only the id, without = and quotes`
	case strings.HasPrefix(id, "'"), strings.HasPrefix(id, "’"), strings.HasPrefix(id, "‘"):
		return "begins with an apostrophe, which spreadsheets use to mark text: remove it"
	case strings.HasPrefix(id, "#"):
		return "is an error value of a spreadsheet; the id is lost: import the list again with this column as text"
	}
	return ""
}
