package report

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/detachd/detachd/tasks"
)

// StateText names a state for people. In JSON and CSV states travel by their codes.
func StateText(s tasks.State) string {
	switch s {
	case tasks.StateAccepted:
		return "accepted by cloud"
	case tasks.StateHeld:
		return "on hold"
	case tasks.StateNoDesktop:
		return "no desktop"
	}
	return s.String()
}

// Printable escapes characters that a terminal or viewer could take for a command, such as
// "\x1b".
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

// Cell makes text harmless in a spreadsheet: an apostrophe precedes what looks like a
// formula. In some languages the wide forms of the signs count too.
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(s[:min(len(s), 4)])[0]) {
		return "'" + s
	}
	return s
}
