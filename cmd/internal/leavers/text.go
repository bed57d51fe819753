package leavers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxFileBytes is the size of the largest file: ten times that of 100,000 rows with long texts.
const MaxFileBytes = 64 << 20

// formats are the first bytes of files that are not text.
var formats = []struct{ begins, what string }{
	{"PK\x03\x04", "a workbook (.xlsx) or another archive"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook (.xls)"},
	{"\x1f\x8b", "compressed"},
	{"%PDF", "a PDF"},
	{"{\\rtf", "a formatted text (.rtf)"},
	{"\xff\xfe\x00\x00", "UTF-32"},
	{"\x00\x00\xfe\xff", "UTF-32"},
}

// isJSON matches the beginning of an object or a list.
var isJSON = regexp.MustCompile(`^\s*(?:\{\s*"|\[\s*[{"\[])`)

const saveAsCSV = `save it as "CSV UTF-8 (comma delimited)", or as text in UTF-8`

// Text reads a whole file as text whose lines end in \n, in UTF-8, or UTF-16
// with or without a byte order mark.
func Text(r io.Reader) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading it: %w", err)
	case len(raw) > MaxFileBytes:
		return "", fmt.Errorf("it is larger than %d MiB: split it", MaxFileBytes>>20)
	}
	for _, f := range formats {
		if bytes.HasPrefix(raw, []byte(f.begins)) {
			return "", fmt.Errorf("it is %s, not a text file: %s", f.what, saveAsCSV)
		}
	}
	text, err := decode(raw)
	if err != nil {
		return "", err
	}
	text = strings.TrimPrefix(text, "\ufeff")
	if isJSON.MatchString(text) {
		return "", errors.New("it is JSON, not CSV: save it as CSV, or send a request in JSON to the HTTP API")
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), nil
}

func decode(raw []byte) (string, error) {
	if order := utf16Order(raw); order != nil {
		return decodeUTF16(raw, order)
	}
	if n := bytes.IndexByte(raw, 0); n >= 0 {
		return "", fmt.Errorf("it is not a text file (zero byte on line %d): %s", lineAt(raw, n), saveAsCSV)
	}
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && size == 1 {
			return "", fmt.Errorf("it is neither UTF-8 nor UTF-16 (see line %d), perhaps Windows-1252 or GBK: %s", lineAt(raw, i), saveAsCSV)
		}
		i += size
	}
	return string(raw), nil
}

// lineAt is the line of a byte.
func lineAt(raw []byte, n int) int { return 1 + bytes.Count(raw[:n], []byte("\n")) }

// utf16Order is the byte order of a text in UTF-16; nil for another encoding. Without a
// byte order mark, the zero bytes of separators and line breaks show it.
func utf16Order(raw []byte) func(a, b byte) uint16 {
	little := func(a, b byte) uint16 { return uint16(a) | uint16(b)<<8 }
	big := func(a, b byte) uint16 { return little(b, a) }
	switch {
	case bytes.HasPrefix(raw, []byte("\xff\xfe")):
		return little
	case bytes.HasPrefix(raw, []byte("\xfe\xff")):
		return big
	case len(raw)%2 != 0:
		return nil
	}
	var zeros [2]int
	for i, b := range raw {
		if b == 0 {
			zeros[i%2]++
		}
	}
	switch {
	case zeros[1] > zeros[0]:
		return little
	case zeros[0] > zeros[1]:
		return big
	}
	return nil
}

var errUTF16 = errors.New("it begins as UTF-16 but is not valid, or is truncated: " + saveAsCSV)

func decodeUTF16(raw []byte, order func(a, b byte) uint16) (string, error) {
	if len(raw)%2 != 0 {
		return "", errUTF16
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = order(raw[2*i], raw[2*i+1])
		if units[i] == 0 {
			return "", errUTF16
		}
	}
	var out strings.Builder
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i+1 == len(units) {
				return "", errUTF16
			}
			if r = utf16.DecodeRune(r, rune(units[i+1])); r == utf8.RuneError {
				return "", errUTF16
			}
			i++
		}
		out.WriteRune(r)
	}
	return out.String(), nil
}
