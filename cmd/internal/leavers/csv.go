package leavers

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lines is the meaning of the lines of a text without a header row.
type Lines string

// The values of Lines.
const (
	Desktops  Lines = "desktops"
	Computers Lines = "computers"
	Users     Lines = "users"
)

// Read adds the rows of a CSV file. Columns of its header row name desktops or
// computers, users, or both, and optionally projects, in any order; docs/cli.md lists
// the names. Cells are separated by commas, semicolons, tabs or pipes; a line sep= and
// a line #TYPE may precede the header. An error means that the whole file is unusable;
// it is a *ColumnError if setting Columns can help.
func (l *List) Read(r io.Reader) error {
	text, err := Text(r)
	if err != nil {
		return err
	}
	return l.readCSV(tableOf(text))
}

// ReadText is Read, and also accepts a text without a header row: one name per line.
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
		name := bare(bullet.ReplaceAllString(strings.TrimSpace(line), ""))
		if inner := strings.Trim(name, `"`); `"`+inner+`"` == name {
			name = inner
		}
		if name == "" {
			continue
		}
		if part := (row{cells: []string{name}}).newPart(1); part != "" {
			return errPart(n, part)
		}
		names := addresses(name)
		if len(names) == 0 {
			names = []string{name}
		}
		for _, name := range names {
			x := Leaver{Line: n}
			switch lines {
			case Users:
				x.User = name
			case Computers:
				x.Computer = name
			default:
				x.Desktop = name
			}
			if err := l.Add(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasHeader reports whether a text is a CSV. Several columns always are one, so that a
// typo in the header is reported.
func (l *List) hasHeader(t *cells) bool {
	if line, _, _ := strings.Cut(strings.TrimLeft(t.text, "\n "), "\n"); addresses(line) != nil {
		return false
	}
	first, err := t.peek()
	if err != nil || len(first.cells) != 1 || first.problem != "" {
		return true
	}
	name := strings.TrimSpace(first.cells[0])
	if fold(name) == "sam" { // a column of Active Directory, and the first person of a list
		return false
	}
	return meaningOf(name)&(isDesktop|isComputer|isUser|isProject) != 0 ||
		slices.Contains([]string{l.Columns.Desktop, l.Columns.Computer, l.Columns.User}, name)
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
	h := headerOf(first)
	var rows []row
	for {
		r, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if r.repeats(h) {
			continue
		}
		part := r.newPart(len(h.names))
		if part == anotherHeader && len(rows) == 0 && r.filled() > first.filled() { // below one of groups of columns
			t.titles = append(t.titles, strings.Join(first.cells, " "))
			first, h = r, headerOf(r)
			continue
		}
		if part != "" {
			return errPart(r.line, part)
		}
		rows = append(rows, r)
	}
	var signed []row
	for !l.AnyStatus && len(rows) > 1 && len(l.below) < maxTitles && rows[len(rows)-1].isFooter(len(h.names)) {
		last := rows[len(rows)-1]
		l.below = append(l.below, strings.TrimSpace(strings.Join(last.cells, " ")))
		rows, signed = rows[:len(rows)-1], append(signed, last)
	}
	for _, r := range rows {
		for i, cell := range r.cells[:min(len(r.cells), len(h.names))] {
			h.empty[i] = h.empty[i] && strings.TrimSpace(cell) == ""
		}
	}
	h.rows, h.stay = rows, l.AnyStatus
	cols, err := h.columns(l.Columns)
	if err != nil {
		return err
	}
	for _, i := range h.unused(cols) {
		name := h.names[i]
		if name == "" {
			name = fmt.Sprintf("column %d", i+1)
		}
		l.Unknown = append(l.Unknown, name)
	}
	l.titles = t.titles
	if !l.AnyStatus {
		if err := l.checkTitles(h); err != nil {
			return err
		}
	}
	doubts := doubtsOf(h, cols, rows, l.Now, l.AnyDate)
	if l.AnyDate {
		l.toCome = append(l.toCome, doubts.noteToCome(rows)...)
	}
	for _, r := range rows {
		if r.swallows(t.comma, cols) {
			return swallowed(r.line)
		}
		if err := l.row(r, cols, doubts); err != nil {
			return err
		}
	}
	for _, r := range signed {
		if name := r.at(max(cols.user, 0)); cols.user > 0 && isAccount(name) {
			l.bad(r.line, "begins with %s, so that it is not clear whether %s leaves: remove the line, or write who that is in the first cell",
				shown(r.at(0)), shown(name))
		}
	}
	l.dropStaying()
	return nil
}

// isAccount reports a cell that may be an account, and no number of rows.
func isAccount(cell string) bool {
	return strings.ContainsFunc(cell, unicode.IsLetter) && !strings.ContainsFunc(cell, unicode.IsSpace) && !isFlag(cell)
}

// dropStaying refuses the other rows of people of whom one row says that they stay.
func (l *List) dropStaying() {
	if len(l.staying) == 0 {
		return
	}
	l.Good = slices.DeleteFunc(l.Good, func(x Leaver) bool {
		line, stays := l.staying[x.who()]
		if stays {
			l.bad(x.Line, "%s is also on line %d, which says that the person stays: remove both rows, or correct line %d", x.subject(), line, line)
		}
		return stays
	})
	slices.SortStableFunc(l.Bad, func(a, b BadRow) int { return a.Line - b.Line })
}

// checkTitles refuses a list if what stands above its header, in it, or below its rows says that its
// people stay, or leave later.
func (l *List) checkTitles(h header) error {
	for _, title := range slices.Concat(l.titles, l.below) {
		if saysStays(title) || isPartTitle(title) && !isLeaving(fold(title), wordsOf(title), true) {
			return fmt.Errorf("a line above or below the table says %s: if the people in the table leave, remove that line", shown(title))
		}
	}
	if l.AnyDate {
		return nil
	}
	for i, text := range slices.Concat(l.titles, h.names, l.below) {
		if namesDateToCome(text, l.Now) {
			where := "the header, or a title above it,"
			if i >= len(l.titles)+len(h.names) {
				where = "a line below the table"
			}
			return fmt.Errorf("%s has a date to come, %s, and nothing would wait for it: "+giveTime, where, shown(text))
		}
	}
	return nil
}

// headerOf is the meaning of a header row, before anything is known of the cells below it.
func headerOf(r row) header {
	h := header{names: slices.Clone(r.cells)}
	for len(h.names) > 0 && strings.TrimSpace(h.names[len(h.names)-1]) == "" {
		h.names = h.names[:len(h.names)-1]
	}
	for i, name := range h.names {
		h.names[i] = strings.TrimSpace(name)
		h.means = append(h.means, meaningOf(name))
		h.empty = append(h.empty, true)
	}
	return h
}

// repeats reports whether a row of several cells is the header again, as where exports were joined.
func (r row) repeats(h header) bool {
	for i, name := range h.names {
		if r.at(i) != name {
			return false
		}
	}
	return r.filled() > 1
}

// newPart says that the rows below a row are another table, or of other people: such as those who
// join, below those who leave.
func (r row) newPart(columns int) string {
	means := meaning(0)
	strange := slices.ContainsFunc(r.cells, func(cell string) bool {
		m, known := names[fold(cell)]
		means |= m
		return !known && strings.TrimSpace(cell) != ""
	})
	filled := r.filled()
	if !strange && means&(isUser|isComputer|isDesktop) != 0 && filled > 1 {
		return anotherHeader
	}
	title := strings.TrimSpace(strings.Join(r.cells, ""))
	alone := columns > 1 || strings.HasSuffix(title, ":") || slices.Contains(partTitles, strings.TrimSuffix(fold(title), "s"))
	if filled == 1 && alone && isPartTitle(title) {
		return "the title of another part of the list, " + shown(title)
	}
	return ""
}

const anotherHeader = "another header"

func errPart(line int, part string) error {
	return fmt.Errorf("line %d looks like %s: put what is above it, or below it, into a list of its own, or remove it", line, part)
}

// isPartTitle reports a title above people who come, or stay.
func isPartTitle(title string) bool {
	key := fold(title)
	return slices.ContainsFunc(partTitles, func(p string) bool { return strings.HasPrefix(key, p) })
}

var rowCount = regexp.MustCompile(`^\(?\d+ \pL+`)

// isFooter reports a row that follows the last person: a total, a count of rows, or a line such as
// "Made by HR on 2026-11-27", which no account can be.
func (r row) isFooter(columns int) bool {
	if columns < 2 || r.problem != "" {
		return false
	}
	var filled []string
	for _, cell := range r.cells {
		if cell = strings.TrimSpace(cell); cell != "" {
			filled = append(filled, cell)
		}
	}
	if len(filled) == 0 {
		return false
	}
	first, rest, _ := strings.Cut(filled[0], ":")
	isNumber := func(s string) bool { return strings.Trim(s, "0123456789., ") == "" }
	if totals[fold(first)] && isNumber(rest) && !slices.ContainsFunc(filled[1:], func(s string) bool { return !isNumber(s) }) {
		return true
	}
	name := func(s string) bool { return !isFlag(s) && !isNumber(s) }
	if strings.HasSuffix(filled[0], ":") || // "Approved by:", and a name in the next cell
		len(filled) > 1 && strings.Contains(filled[0], ": ") && !slices.ContainsFunc(filled[1:], name) {
		return true
	}
	if len(filled) > 1 || strings.TrimSpace(r.cells[0]) == "" || strings.ContainsAny(filled[0], "@\n") {
		return false
	}
	words := len(strings.Fields(filled[0]))
	return len(r.cells) == 1 && words > 1 && rowCount.MatchString(filled[0]) || words > 3 && strings.ContainsAny(filled[0], ":0123456789")
}

// row adds one row. A row that is too short or too long may have its values in the
// wrong columns, so none of them is used.
func (l *List) row(r row, cols columns, doubts *doubts) error {
	if r.problem != "" {
		l.bad(r.line, "%s", r.problem)
		return nil
	}
	for len(r.cells) > len(cols.names) && strings.TrimSpace(r.cells[len(r.cells)-1]) == "" {
		r.cells = r.cells[:len(r.cells)-1]
	}
	if len(r.cells) != len(cols.names) {
		l.bad(r.line, "wrong number of fields: %d, the header has %d: correct it, or remove it if it is a title or a total",
			len(r.cells), len(cols.names))
		return nil
	}
	x := cols.leaver(r)
	for _, i := range cols.same {
		other := strings.TrimSpace(r.cells[i])
		comparable := x.User != "" && other != "" && (isLatin(other) || strings.Contains(other, "@"))
		if comparable && !samePerson(x.User, other) {
			l.bad(r.line, "names two users, %s and %s: keep only the right column", shown(x.User), shown(other))
			return nil
		}
	}
	// A missing value in a list of desktops must not mean all desktops of a user.
	switch {
	case x.Desktop != "" || x.Computer != "":
	case cols.desktop >= 0 && x.User != "":
		l.bad(r.line, "has the user %s and no desktop: to detach all desktops of a user, use a file without the desktop column", shown(x.User))
		return nil
	case cols.computer >= 0 && x.User != "":
		l.bad(r.line, "has the user %s and no computer: to detach all desktops of a user, use a file without the computer column", shown(x.User))
		return nil
	case cols.computer >= 0:
		l.bad(r.line, "has no computer")
		return nil
	case cols.desktop < 0 && x.User == "":
		l.bad(r.line, "has no user")
		return nil
	}
	if !l.AnyStatus {
		if doubt := doubts.staying(r); doubt != "" {
			if l.staying == nil {
				l.staying = map[guardKey]int{}
			}
			l.staying[x.canonical().who()] = r.line
			l.bad(r.line, "%s", doubt)
			return nil
		}
		if doubt := doubts.early(r); doubt != "" {
			l.Early++
			l.bad(r.line, "%s", doubt)
			return nil
		}
	}
	return l.Add(x)
}

// leaver reads a row that has as many cells as there are columns.
func (c columns) leaver(r row) Leaver {
	cell := func(i int) string {
		if i < 0 {
			return ""
		}
		return bare(r.cells[i])
	}
	return Leaver{
		Line: r.line, Project: cell(c.project), Desktop: cell(c.desktop), Computer: unescaped(cell(c.computer)), User: unescaped(cell(c.user)),
	}
}

// bullet is what stands before a line of a list in a mail or a note.
var bullet = regexp.MustCompile(`^(?:[-*•–·▪]|\d{1,3}[.)])[\s\x{a0}]+`)

// bare is a name without what mails and Markdown put around it.
func bare(name string) string {
	name = strings.TrimSpace(name)
	if len(name) > 2 && strings.ContainsRune("`*", rune(name[0])) {
		name = strings.Trim(name, "`*")
	}
	return name
}

var address = regexp.MustCompile(`<([^<>\s@]+@[^<>\s@]+)>$`)

// addressIn is the address of "Ann Lee <ann.lee@corp>"; any other text as it is.
func addressIn(name string) string {
	if m := address.FindStringSubmatch(name); m != nil && strings.Count(name, "@") == 1 {
		name = m[1]
	}
	for strings.HasPrefix(name, "mailto:") {
		name = name[len("mailto:"):]
	}
	return name
}

// addresses are those of a line as mail programs copy it; nil if it has anything else.
func addresses(line string) (out []string) {
	for part := range strings.SplitSeq(line, ";") {
		whole := []string{part}
		if !strings.Contains(part, "<") || strings.Count(part, "@") > 1 {
			whole = strings.Split(part, ",")
		}
		for _, name := range whole {
			switch name = addressIn(strings.TrimSpace(name)); {
			case name == "":
			case !strings.Contains(name, "@") || strings.ContainsAny(name, " <>\"\t|"):
				return nil
			default:
				out = append(out, name)
			}
		}
	}
	return out
}

// unescaped removes the apostrophe that CSV files of detachd have before texts that
// look like a formula.
func unescaped(name string) string {
	rest, ok := strings.CutPrefix(name, "'")
	if first, _ := utf8.DecodeRuneInString(rest); ok && strings.ContainsRune("=+-@＝＋－＠", first) {
		return rest
	}
	return name
}

// row is one row of a CSV. line is its first line.
type row struct {
	line    int
	cells   []string
	problem string   // why it cannot be read
	inner   []string // lines within quotes but the first, of cells with several lines
}

// cells reads rows from a text whose lines end in \n, with quotes as in RFC 4180. It
// does not use encoding/csv, which swallows all rows after a quote that is never closed
// and does not report where the quote opens.
type cells struct {
	text   string
	comma  rune
	line   int      // of where text begins
	titles []string // lines above the header that are no part of the list
}

var (
	sepLine  = regexp.MustCompile(`(?i)^"?sep=(.)"?[ ,;\t|]*$`)
	typeLine = regexp.MustCompile(`(?i)^"?#TYPE `)
)

// tableOf removes the lines before the header row and finds the separator: the one of
// the line sep=, or else the one that gives the most known columns in the header, and
// among those the most columns.
func tableOf(text string) *cells {
	t, commas := &cells{text: text, line: 1}, []rune{',', ';', '\t', '|'}
	for {
		first, rest, more := strings.Cut(t.text, "\n")
		if m := sepLine.FindStringSubmatch(first); m != nil {
			t.comma, _ = utf8.DecodeRuneInString(m[1])
		} else if !typeLine.MatchString(first) && strings.TrimSpace(first) != "" && !isRule([]string{first}) {
			break
		}
		if !more {
			t.text = ""
			break
		}
		t.text, t.line = rest, t.line+1
	}
	if t.comma != 0 && t.comma != '"' {
		commas = []rune{t.comma}
	}
	best := scoreOf(t.text, commas)
	t.comma = best.comma
	if best.known == 0 {
		t.skipTitles(commas)
	}
	return t
}

// score tells how well a separator suits a header row.
type score struct {
	known, columns, filled int
	comma                  rune
}

func scoreOf(text string, commas []rune) score {
	best := score{known: -1, comma: commas[0]}
	for _, comma := range commas {
		try := cells{text: text, comma: comma}
		first, err := try.next()
		if errors.Is(err, errTooWide) {
			return score{known: -1, comma: comma} // so reading says so
		}
		if err != nil || first.problem != "" {
			continue
		}
		got := score{columns: len(first.cells), filled: first.filled(), comma: comma}
		for _, name := range first.cells {
			if meaningOf(name)&(isDesktop|isComputer|isUser|isProject) != 0 {
				got.known++
			}
		}
		if cmp.Or(cmp.Compare(got.known, best.known), cmp.Compare(got.columns, best.columns)) > 0 {
			best = got
		}
	}
	return best
}

// maxTitles is how many lines above a header may be titles, or below the last row.
const maxTitles = 20

// skipTitles passes over the title of a report above its header: lines of several words that have
// fewer cells than a header of several columns.
func (t *cells) skipTitles(commas []rune) {
	text, titles := t.text, []string(nil)
	for line := t.line; line < t.line+2*maxTitles && len(titles) <= maxTitles; line++ {
		first, rest, more := strings.Cut(text, "\n")
		blank := strings.TrimSpace(first) == "" || isRule([]string{first})
		if best := scoreOf(text, commas); !blank && best.known > 0 && best.filled > 1 {
			if !slices.ContainsFunc(titles, func(title string) bool {
				return row{cells: strings.Split(title, string(best.comma))}.filled() >= best.filled
			}) {
				t.text, t.line, t.comma, t.titles = text, line, best.comma, titles
			}
			return
		}
		isTitle := strings.ContainsAny(strings.TrimSpace(first), " \u00a0:#　")
		if !blank && !isTitle || !more {
			return
		}
		if isTitle && !blank {
			titles = append(titles, first)
		}
		text = rest
	}
}

// filled is the number of cells that are not blank.
func (r row) filled() (n int) {
	for _, c := range r.cells {
		if strings.TrimSpace(c) != "" {
			n++
		}
	}
	return n
}

// isRule reports a line that is only drawn, as below the header of a table in Markdown or of a
// terminal.
func isRule(cells []string) bool {
	drawn := false
	for _, c := range cells {
		if strings.Trim(c, "-=+:_| \t") != "" {
			return false
		}
		drawn = drawn || strings.Contains(c, "---") || strings.Contains(c, "===")
	}
	return drawn
}

// peek returns the next row without reading past it.
func (t *cells) peek() (row, error) {
	again := *t
	return again.next()
}

// next reads the next row that is not blank; io.EOF means that there is none. Any other
// error means that the text cannot be divided into rows.
func (t *cells) next() (row, error) {
	for t.text != "" {
		r, err := t.record()
		if err != nil {
			return row{}, err
		}
		if r.problem != "" || r.filled() > 0 && !isRule(r.cells) {
			return r, nil
		}
	}
	return row{}, io.EOF
}

// maxColumns is the number of columns of the largest spreadsheet. What has more is not a list, and
// takes seconds to be judged by the names of its columns.
const maxColumns = 16_384

var errTooWide = fmt.Errorf("has more than %d columns: check how the cells are separated", maxColumns)

// record reads up to a line break that is not within quotes.
func (t *cells) record() (row, error) {
	r := row{line: t.line}
	for {
		cell, quoted, err := t.cell()
		if err != nil {
			return r, err
		}
		if r.cells = append(r.cells, cell); len(r.cells) > maxColumns {
			return r, fmt.Errorf("line %d %w", r.line, errTooWide)
		}
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
			r.problem = `has a quote (") in a cell without quotes: put the cell in quotes and double the quote`
			if quoted {
				r.problem = `has text after a quoted cell: double each quote (") within it`
			}
			_, rest, more := strings.Cut(t.text, "\n")
			if t.text = rest; more {
				t.line++
			}
			return r, nil
		}
	}
}

// cell reads up to a separator, a line break, or a misplaced character.
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

// quoted reads a cell after its opening quote.
func (t *cells) quoted(inner string) (string, error) {
	opened := t.line
	var text strings.Builder
	for {
		part, rest, closed := strings.Cut(inner, `"`)
		text.WriteString(part)
		if !closed {
			return "", fmt.Errorf("the quote that opens on line %d is never closed, so the rows after it cannot be read", opened)
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
	return fmt.Errorf("a quote that opens on line %d includes text that looks like other rows: "+
		"close it, or double it if it is part of the text", line)
}

// swallows reports that lines within the quotes of a row may be rows: an unclosed quote
// ends at the next one in the file.
func (r row) swallows(comma rune, cols columns) bool {
	return slices.ContainsFunc(r.inner, func(line string) bool {
		cells := strings.Split(line, string(comma))
		if len(cells) != len(cols.names) {
			return false
		}
		return cols.leaver(row{cells: cells}).canonical().problem() == ""
	})
}
