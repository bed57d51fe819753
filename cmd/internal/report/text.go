package report

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable escapes what a terminal or a viewer might take for a command, such
// as "\x1b", and leaves all else as it is.
func Printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// Cell makes a text harmless in a spreadsheet: what would be taken for a formula
// gets an apostrophe in front. The wide forms of the signs count as the signs in
// some languages.
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(s[:min(len(s), 4)])[0]) {
		return "'" + s
	}
	return s
}
