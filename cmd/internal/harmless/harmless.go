// Package harmless makes text of the cloud and of people harmless where it is shown: a
// terminal takes no part of it for a command, a viewer does not reorder it, and a spreadsheet
// computes no cell.
package harmless

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text escapes characters that a terminal or viewer could take for a command, such as
// "\x1b" and the bidirectional controls.
func Text(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
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

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Cell is Text for a spreadsheet: an apostrophe precedes what looks like a formula, also
// behind a semicolon, because some spreadsheets split cells there. In some languages the wide
// forms of the signs count too.
func Cell(s string) string {
	if !strings.ContainsAny(s, "=+-@\t\r\n＝＋－＠") {
		return Text(s)
	}
	parts := strings.Split(s, ";")
	for i, part := range parts {
		bare := strings.TrimLeft(part, ` "`) // quotes may be dropped
		if first, _ := utf8.DecodeRuneInString(bare); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) && bare != "" {
			parts[i] = part[:len(part)-len(bare)] + "'" + bare
		}
	}
	return Text(strings.Join(parts, ";"))
}

// Row returns the cells of a CSV line, each made by Cell.
func Row(cells []string) []string {
	out := make([]string, len(cells))
	for i, s := range cells {
		out[i] = Cell(s)
	}
	return out
}

// clean reports whether JSON leaves text as it is. Nearly all of an answer is ASCII.
func clean(text []byte) bool {
	for i := 0; i < len(text); {
		if b := text[i]; b < utf8.RuneSelf {
			if b < ' ' && b != '\n' || b == 0x7f {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 || unprintable(r) {
			return false
		}
		i += size
	}
	return true
}

// JSON escapes unprintable characters of JSON texts, except line breaks, which can only be
// between values. What they mean stays the same.
func JSON(text []byte) []byte {
	if clean(text) {
		return text
	}
	var out bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}
