package cli

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/rivo/uniseg"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/detachd/detachd/tasks"
)

// table prints rows for people. No cell can act on the terminal, whatever it holds.
type table struct {
	header []string
	rows   [][]string
	less   []string // columns that a terminal lacks if it is too narrow, the first one first
	whole  bool     // long cells are wrapped, not cut
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

const (
	longestCell    = 100
	narrowestCell  = 8
	enoughText     = 30 // of the last column, before other columns are omitted for more
	betweenColumns = 2
)

// screen is where a table is shown.
type screen struct {
	width  int // in columns; 0: no limit
	colour bool
}

// screen describes an output of the program.
func (p *Program) screen(w io.Writer) screen {
	if !terminal(w) {
		return screen{}
	}
	f, _ := fileOf(w)
	s := screen{colour: p.env("NO_COLOR") == "" && p.env("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		s.width = width
	}
	return s
}

// outputFlag adds -o wide, for commands that show tables.
func (p *Program) outputFlag(f *pflag.FlagSet) {
	f.VarP((*wideFlag)(&p.wide), "output", "o", "`form` of tables: wide prints all columns and does not cut text to fit the terminal")
}

type wideFlag bool

func (w *wideFlag) Set(s string) error {
	if s != "wide" {
		return errors.New("use wide, or --json")
	}
	*w = true
	return nil
}

func (*wideFlag) String() string { return "" }
func (*wideFlag) Type() string   { return "form" }

// show prints a table on stdout, as wide as the terminal.
func (p *Program) show(t *table) error {
	s := p.screen(p.Stdout)
	if p.wide {
		s.width, t.whole = 0, true
	}
	return t.render(p.Stdout, s)
}

// print is for outputs that are no terminal.
func (t *table) print(w io.Writer) error { return t.render(w, screen{}) }

func (t *table) render(w io.Writer, s screen) error {
	columns := t.columns()
	if s.width > 0 {
		columns = t.fit(columns, s.width)
	}
	var b strings.Builder
	for _, row := range lines(columns) {
		line := ""
		for i, cell := range row {
			pad := ""
			if i < len(row)-1 {
				pad = strings.Repeat(" ", columns[i].width-uniseg.StringWidth(cell.text)+betweenColumns)
			}
			line += s.paint(cell.colour, cell.text) + pad
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// column is a column with its header and its cells.
type column struct {
	name  string
	cells []string
	width int
	wrap  bool
}

func (t *table) columns() []column {
	out := make([]column, len(t.header))
	for i, name := range t.header {
		c := column{name: name, width: uniseg.StringWidth(name), wrap: t.whole}
		for _, row := range t.rows {
			cell := printable(row[i])
			if !t.whole {
				cell = clip(cell, longestCell)
			}
			c.cells = append(c.cells, orDash(cell))
			c.width = max(c.width, uniseg.StringWidth(cell))
		}
		out[i] = c
	}
	return out
}

// fit makes a table as narrow as width: it omits empty columns, then those of less as far as
// necessary, then shortens the last one, and then the widest one.
func (t *table) fit(columns []column, width int) []column {
	over := func() int {
		total := -betweenColumns - width
		for _, c := range columns {
			total += c.width + betweenColumns
		}
		return total
	}
	empty := func(c column) bool {
		return !slices.ContainsFunc(c.cells, func(s string) bool { return s != "-" })
	}
	if full := slices.DeleteFunc(slices.Clone(columns), empty); len(t.rows) > 0 {
		columns = full
	}
	for _, name := range t.less {
		if over() <= max(0, columns[len(columns)-1].width-enoughText) {
			break
		}
		columns = slices.DeleteFunc(columns, func(c column) bool { return c.name == name })
	}
	if last := &columns[len(columns)-1]; over() > 0 && !t.whole { // usually text, while the others are ids
		last.width = min(last.width, max(narrowestCell, last.width-over()))
	}
	for over() > 0 {
		widest := 0
		for i, c := range columns {
			if c.width > columns[widest].width {
				widest = i
			}
		}
		c := &columns[widest]
		if c.width <= narrowestCell {
			break
		}
		c.width--
	}
	return columns
}

// cell is one line of a cell.
type cell struct{ text, colour string }

// lines lays columns out: one line for the header and for each row, or several if cells are
// wrapped.
func lines(columns []column) (out [][]cell) {
	if len(columns) == 0 {
		return nil
	}
	add := func(text func(column) (string, string)) {
		var parts [][]string
		high := 1
		for _, c := range columns {
			s, _ := text(c)
			part := []string{cut(s, c.width)}
			if c.wrap {
				part = wrapped(s, c.width)
			}
			parts, high = append(parts, part), max(high, len(part))
		}
		for line := range high {
			row := make([]cell, len(columns))
			for i, c := range columns {
				if line < len(parts[i]) {
					_, colour := text(c)
					row[i] = cell{parts[i][line], colour}
				}
			}
			out = append(out, row)
		}
	}
	add(func(c column) (string, string) { return c.name, bold })
	for i := range columns[0].cells {
		add(func(c column) (string, string) { return c.cells[i], colourOf(c.name, c.cells[i]) })
	}
	return out
}

// head is the longest beginning of s that fits a width on the terminal.
func head(s string, width int) string {
	n := 0
	for rest, state := s, -1; rest != ""; {
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if width -= w; width < 0 {
			break
		}
		n += len(cluster)
	}
	return s[:n]
}

// cut shortens s to a width, and marks the cut.
func cut(s string, width int) string {
	if uniseg.StringWidth(s) <= width {
		return s
	}
	return head(s, width-1) + "…"
}

// wrapped breaks s between words into lines of a width, and within words that are longer.
func wrapped(s string, width int) (out []string) {
	line := ""
	for _, word := range strings.Split(s, " ") {
		if line != "" && uniseg.StringWidth(line+" "+word) > width {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		for line == "" && uniseg.StringWidth(word) > width {
			part := head(word, width)
			out, word = append(out, part), word[len(part):]
		}
		line += word
	}
	return append(out, line)
}

// Colours, as parameters of the terminal's sequence ESC [ … m.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint colours text on a terminal that shows colours.
func (s screen) paint(colour, text string) string {
	if !s.colour || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// stateColours are the colours of states. The text says the same.
var stateColours = map[string]string{
	stateName(tasks.StateDetached): green, stateName(tasks.StateFailed): red, stateName(tasks.StateHeld): yellow,
	stateName(tasks.StateSending): cyan, stateName(tasks.StateAccepted): cyan, string(tasks.OperationRunning): cyan,
}

// colourOf is the colour of a cell: of a state, and of counts that need a person.
func colourOf(column, text string) string {
	count := text != "0" && strings.Trim(text, "0123456789") == ""
	switch {
	case strings.HasPrefix(column, "STATE"):
		return stateColours[text]
	case column == "FAILED" && count:
		return red
	case column == "ON HOLD" && count:
		return yellow
	}
	return ""
}
