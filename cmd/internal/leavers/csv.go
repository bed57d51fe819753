package leavers

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Lines says what the lines of a text without a header row are.
type Lines string

// What Lines can be.
const (
	Desktops  Lines = "desktops"
	Computers Lines = "computers"
	Users     Lines = "users"
)

// Read takes the rows of a CSV file: a header row in which columns name desktops or
// computers, or users, or both, and perhaps projects, in any order; see docs/cli.md for
// what they may be called. Commas, semicolons, tabs and pipes separate cells; a line
// sep= and a #TYPE line may go before the header. The error is for a file that is
// unusable as a whole: a *ColumnError where Columns can settle it.
func (l *List) Read(r io.Reader) error {
	text, err := Text(r)
	if err != nil {
		return err
	}
	return l.readCSV(tableOf(text))
}

// ReadText takes what Read does, or, without a header row, one name on a line.
func (l *List) ReadText(r io.Reader, lines Lines) error {
	text, err := Text(r)
	if err != nil {
		return err
	}
	t := tableOf(text)
	if l.hasHeader(t) {
		return l.readCSV(t)
	}
	n := t.line - 1
	for line := range strings.Lines(t.text) {
		n++
		name := strings.TrimSpace(line)
		if inner := strings.Trim(name, `"`); `"`+inner+`"` == name {
			name = inner
		}
		x := Leaver{Line: n}
		switch lines {
		case Users:
			x.User = name
		case Computers:
			x.Computer = name
		default:
			x.Desktop = name
		}
		if name == "" {
			continue
		}
		if err := l.Add(x); err != nil {
			return err
		}
	}
	return nil
}

// hasHeader reports that a text is a CSV: several columns are one whatever the
// first row says, so that a header with a slip of the pen is told.
func (l *List) hasHeader(t *cells) bool {
	first, err := t.peek()
	if err != nil || len(first.cells) != 1 || first.problem != "" {
		return true
	}
	name := strings.TrimSpace(first.cells[0])
	return meaningOf(name)&(isDesktop|isComputer|isUser|isProject) != 0 || slices.Contains([]string{l.Columns.Desktop, l.Columns.Computer, l.Columns.User}, name)
}

func (l *List) readCSV(t *cells) error {
	first, err := t.next()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty: the first row must name the columns, one of them desktop_id, computer or user")
	}
	if err != nil {
		return err
	}
	if first.problem != "" {
		return fmt.Errorf("the header row cannot be read: %s", first.problem)
	}
	if slices.ContainsFunc(first.inner, func(line string) bool { return strings.ContainsRune(line, t.comma) }) {
		return swallowed(first.line)
	}
	h := header{names: first.cells}
	for len(h.names) > 0 && strings.TrimSpace(h.names[len(h.names)-1]) == "" {
		h.names = h.names[:len(h.names)-1]
	}
	for i, name := range h.names {
		h.names[i] = strings.TrimSpace(name)
		h.means = append(h.means, meaningOf(name))
		h.empty = append(h.empty, true)
	}
	var rows []row
	for {
		r, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for i, cell := range r.cells[:min(len(r.cells), len(h.names))] {
			h.empty[i] = h.empty[i] && strings.TrimSpace(cell) == ""
		}
		rows = append(rows, r)
	}
	cols, ignored, err := h.columns(l.Columns)
	if err != nil {
		return err
	}
	l.Unknown = append(l.Unknown, ignored...)
	for _, r := range rows {
		if r.swallows(t.comma, cols) {
			return swallowed(r.line)
		}
		if err := l.row(r, cols); err != nil {
			return err
		}
	}
	return nil
}

// row takes one row. One that is too short or too long may have its values in
// the wrong columns, so nothing in it is believed.
func (l *List) row(r row, cols columns) error {
	if r.problem != "" {
		l.bad(r.line, "%s", r.problem)
		return nil
	}
	for len(r.cells) > len(cols.names) && strings.TrimSpace(r.cells[len(r.cells)-1]) == "" {
		r.cells = r.cells[:len(r.cells)-1]
	}
	if len(r.cells) != len(cols.names) {
		l.bad(r.line, "has %d fields, the header has %d", len(r.cells), len(cols.names))
		return nil
	}
	x := cols.leaver(r)
	if cols.principal >= 0 {
		if upn := strings.TrimSpace(r.cells[cols.principal]); upn != "" && !sameAccount(x.User, upn) {
			l.bad(r.line, "names two users, %s and %s: give the list with the column that is meant only", shown(x.User), shown(upn))
			return nil
		}
	}
	// A hole in a list of desktops must not turn into all desktops of a user.
	switch {
	case x.Desktop != "" || x.Computer != "":
	case cols.desktop >= 0 && x.User != "":
		l.bad(r.line, "has a user, %s, and no desktop: to detach all desktops of users, list them in a file without the desktop column", shown(x.User))
		return nil
	case cols.computer >= 0 && x.User != "":
		l.bad(r.line, "has a user, %s, and no computer: to detach all desktops of users, list them in a file without the computer column", shown(x.User))
		return nil
	case cols.computer >= 0:
		l.bad(r.line, "has no computer")
		return nil
	case cols.desktop < 0 && x.User == "":
		l.bad(r.line, "has no user")
		return nil
	}
	return l.Add(x)
}

// sameAccount says that a userPrincipalName is that of an account: the same before the
// @, whatever the case.
func sameAccount(account, principal string) bool {
	local, _, _ := strings.Cut(principal, "@")
	return strings.EqualFold(norm.NFC.String(account), norm.NFC.String(local))
}

// leaver is what a row says that has as many cells as there are columns.
func (c columns) leaver(r row) Leaver {
	cell := func(i int) string {
		if i < 0 {
			return ""
		}
		return strings.TrimSpace(r.cells[i])
	}
	return Leaver{
		Line: r.line, Project: cell(c.project), Desktop: cell(c.desktop), Computer: unguarded(cell(c.computer)), User: unguarded(cell(c.user)),
	}
}

// unguarded undoes what CSV files of detachd do to texts that a spreadsheet would
// take for a formula.
func unguarded(name string) string {
	rest, ok := strings.CutPrefix(name, "'")
	if first, _ := utf8.DecodeRuneInString(rest); ok && strings.ContainsRune("=+-@＝＋－＠", first) {
		return rest
	}
	return name
}

// row is one row of a CSV. Line is where it begins.
type row struct {
	line    int
	cells   []string
	problem string   // why it cannot be read
	inner   []string // lines within quotes but the first, where a cell has several
}

// cells reads rows out of a text whose lines end in \n, quoted as RFC 4180 says.
// It is not encoding/csv, which does not tell where a quote was opened that is never
// closed, and passes over all rows from there on.
type cells struct {
	text  string
	comma rune
	line  int // of where text begins
}

var (
	sepLine  = regexp.MustCompile(`(?i)^"?sep=(.)"?[ ,;\t|]*$`)
	typeLine = regexp.MustCompile(`(?i)^"?#TYPE `)
)

// tableOf takes off what goes before the header row, and finds out what separates
// cells: what the line sep= says, or else that by which most columns of the header
// are known, and of those the one that makes most columns.
func tableOf(text string) *cells {
	t := &cells{text: text, line: 1}
	for {
		first, rest, more := strings.Cut(t.text, "\n")
		if m := sepLine.FindStringSubmatch(first); m != nil {
			t.comma, _ = utf8.DecodeRuneInString(m[1])
		} else if !typeLine.MatchString(first) && strings.TrimSpace(first) != "" {
			break
		}
		if !more {
			t.text = ""
			break
		}
		t.text, t.line = rest, t.line+1
	}
	if t.comma != 0 && t.comma != '"' {
		return t
	}
	best := [2]int{-1, -1}
	for _, comma := range []rune{',', ';', '\t', '|'} {
		try := cells{text: t.text, comma: comma}
		first, err := try.next()
		if err != nil || first.problem != "" {
			continue
		}
		score := [2]int{0, len(first.cells)}
		for _, name := range first.cells {
			if meaningOf(name)&(isDesktop|isComputer|isUser|isProject) != 0 {
				score[0]++
			}
		}
		if slices.Compare(score[:], best[:]) > 0 {
			best, t.comma = score, comma
		}
	}
	if best[0] < 0 {
		t.comma = ','
	}
	return t
}

// peek is the first row, which next gives again.
func (t *cells) peek() (row, error) {
	again := *t
	return again.next()
}

// next reads the next row that is not blank; io.EOF: there is none. Another error
// says that the text cannot be told apart into rows.
func (t *cells) next() (row, error) {
	for t.text != "" {
		r, err := t.record()
		if err != nil {
			return row{}, err
		}
		if r.problem != "" || slices.ContainsFunc(r.cells, func(c string) bool { return strings.TrimSpace(c) != "" }) {
			return r, nil
		}
	}
	return row{}, io.EOF
}

// record reads up to a line break that is not within quotes.
func (t *cells) record() (row, error) {
	r := row{line: t.line}
	for {
		cell, quoted, err := t.cell()
		if err != nil {
			return r, err
		}
		r.cells = append(r.cells, cell)
		if _, after, several := strings.Cut(cell, "\n"); several && quoted {
			r.inner = append(r.inner, strings.Split(after, "\n")...)
		}
		c, size := utf8.DecodeRuneInString(t.text)
		switch {
		case size == 0:
			return r, nil
		case c == '\n':
			t.text, t.line = t.text[1:], t.line+1
			return r, nil
		case c == t.comma:
			t.text = t.text[size:]
		default:
			r.problem = `has a quote, ", within a cell that is not in quotes: put the cell in quotes, and write that one twice`
			if quoted {
				r.problem = "has something behind a quoted cell: write each quote, \", within it twice"
			}
			_, rest, more := strings.Cut(t.text, "\n")
			if t.text = rest; more {
				t.line++
			}
			return r, nil
		}
	}
}

// cell reads up to a separator, a line break, or what may not be there.
func (t *cells) cell() (text string, quoted bool, err error) {
	if inner, ok := strings.CutPrefix(strings.TrimLeft(t.text, " "), `"`); ok && t.comma != ' ' {
		text, err := t.quoted(inner)
		return text, true, err
	}
	end := strings.IndexFunc(t.text, func(r rune) bool { return r == t.comma || r == '\n' || r == '"' })
	if end < 0 {
		end = len(t.text)
	}
	text, t.text = t.text[:end], t.text[end:]
	return text, false, nil
}

// quoted reads a cell from behind its quote.
func (t *cells) quoted(inner string) (string, error) {
	opened := t.line
	var text strings.Builder
	for {
		part, rest, closed := strings.Cut(inner, `"`)
		text.WriteString(part)
		if !closed {
			return "", fmt.Errorf("the quote that opens on line %d is never closed, so that the rows from there on cannot be told apart", opened)
		}
		if inner = rest; !strings.HasPrefix(inner, `"`) {
			break
		}
		text.WriteByte('"')
		inner = inner[1:]
	}
	t.line += strings.Count(text.String(), "\n")
	t.text = strings.TrimLeft(inner, " ")
	next, size := utf8.DecodeRuneInString(t.text)
	ends := size == 0 || next == '\n' || next == t.comma
	if t.line > opened && !ends {
		return "", swallowed(opened)
	}
	return text.String(), nil
}

func swallowed(line int) error {
	return fmt.Errorf("a quote that opens on line %d goes on over what looks like other rows: close it, or write it twice if it belongs to the text", line)
}

// swallows reports that lines within a row's quotes may be rows themselves: a quote
// was opened that ends at the next one in the file, whatever that was.
func (r row) swallows(comma rune, cols columns) bool {
	return slices.ContainsFunc(r.inner, func(line string) bool {
		cells := strings.Split(line, string(comma))
		if len(cells) != len(cols.names) {
			return false
		}
		return cols.leaver(row{cells: cells}).canonical().problem() == ""
	})
}
