package dashboard

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
)

// table is a list of rows, shown by the part "table" of parts.html, which explains its
// use. Every list of the dashboard is one: its rows have one height, its empty columns
// are not shown, and its foot says which rows these are.
type table struct {
	Caption string // for screen readers, with the order: "Failures, newest first"
	Columns []column
	Rows    []row
	Page    more
	// Order is the order of the rows in words, beside their range. Columns have links to sort
	// by only if all rows are on the page, as no index has another order.
	Order string
	Empty string // the text if there are no rows
	// Picks puts a checkbox in front of each row; the page has the form around the table.
	Picks bool
	// Fixed is a table whose order is part of its meaning: no column sorts it.
	Fixed bool
	// NoFoot omits the foot: the page says which rows these are.
	NoFoot bool
	// Actions is for the part "actions" of the page, above the columns.
	Actions any

	sort, at string // the parameter, and the page without it
}

// Span is how many columns it has with that of the checkboxes.
func (t table) Span() int {
	if t.Picks {
		return len(t.Columns) + 1
	}
	return len(t.Columns)
}

// column is a column of a table.
type column struct {
	Name string
	// Class is how wide the column is, and where its text stands: "num" for numbers, "wide" for
	// text that gets the space that is left, "" for text of at most 14rem.
	Class string

	Sort      string // link to sort by it; empty: cannot be sorted
	Direction string // ascending or descending, if it is sorted by it
	hidden    bool
}

// row is a row of a table.
type row struct {
	Key   string // identifies it over refreshes, and is the value of its checkbox
	Label string // of its checkbox
	ID    string // its anchor
	Bare  bool   // has no checkbox, in a table that Picks
	Cells []cell
}

// cell is what a table shows in a column of a row. Kind selects a part of parts.html, or of
// the page in its part "special"; V is its data. A column of which all cells are Blank is not
// shown.
type cell struct {
	Kind  string
	V     any
	Blank bool
	// By sorts: text and number.
	By     string
	Number float64

	Column column // set by layOut
}

// mainCell is the first cell of a row: what it is in words, and its id small below it.
type mainCell struct {
	Link   string // of Text, or of ID if there is no Text
	Text   string
	ID     string // has a button to copy it
	Tag    string
	Note   string // after the id
	Reason string // after Text
}

func mainOf(c mainCell) cell { return cell{Kind: "main", V: c, By: cmp.Or(c.Text, c.ID)} }

// desktopCell names a desktop, or the user or computer that a row names.
func desktopCell(id, name string) cell {
	if user := userName(id); user != "" {
		return mainOf(mainCell{Text: user, Note: "user"})
	}
	if computer := computerName(id); computer != "" {
		return mainOf(mainCell{Text: computer, Note: "computer"})
	}
	link, _ := query("/desktop", "id", id) // fails only for a parameter without a value
	return mainOf(mainCell{Link: link, Text: name, ID: id})
}

// textCell is one line of text of people or of the cloud. The whole text is in its tooltip.
func textCell(s string) cell { return cell{Kind: "text", V: s, Blank: s == "", By: s} }

// numCell is a number. A column of zeros is not shown.
func numCell(n int) cell { return cell{Kind: "num", V: n, Blank: n == 0, Number: float64(n)} }

// linkCell is a text that leads somewhere.
type linkText struct{ Link, Text string }

func linkCell(link, text string) cell {
	return cell{Kind: "link", V: linkText{Link: link, Text: text}, Blank: text == "", By: text}
}

// countCell is a number that leads to what it counts. A column of zeros is not shown.
func countCell(link string, n int) cell {
	if n == 0 {
		return numCell(0)
	}
	return cell{Kind: "link", V: linkText{Link: link, Text: thousands(n)}, Number: float64(n)}
}

// idCell is an id of something else than the row: it leads there.
func idCell(link, id string) cell {
	return cell{Kind: "id", V: linkText{Link: link, Text: id}, Blank: id == "", By: id}
}

// codeCell is an error code, with a link to its meaning, and its class.
func codeCell(code, class string) cell {
	return cell{Kind: "code", V: codeText{code, className(class)}, Blank: code == "", By: code}
}

type codeText struct{ Code, Class string }

// failureCell is the code of a desktop's failure, if it has one.
func failureCell(f *tasks.Failure) cell {
	if f == nil {
		return cell{Blank: true}
	}
	return codeCell(f.Code, string(f.Class))
}

// stateCell is the state of a desktop in the words of its operation. The note explains it in
// the tooltip.
func stateCell(op tasks.Operation, s tasks.State, note tasks.Note) cell {
	text := stateOf(op, s)
	return cell{Kind: "noted", V: notedState{s, text, note.Text()}, By: text}
}

type notedState struct {
	State      tasks.State
	Text, Note string
}

// givenBackCell is the undo that gave a desktop back. It is a column only where there is one.
func givenBackCell(d tasks.Desktop) cell { return idCell("/operations/"+d.GivenBackBy, d.GivenBackBy) }

// barCell is the progress of an operation. The numbers must be in other cells.
func barCell(bar []barPart, done float64) cell { return cell{Kind: "bar", V: bar, Number: done} }

// estimateCell is how long an operation takes; the tooltip says at which rate.
func estimateCell(e *tasks.Estimate) cell {
	if e == nil {
		return cell{Blank: true}
	}
	return cell{Kind: "hint", V: hintText{e.Short(), e.Text()}, Number: float64(e.Seconds)}
}

// hintText is a text with another one in its tooltip.
type hintText struct{ Text, Title string }

// tagCell is a word with a weight: bad, warn, good or "".
func tagCell(weight, text string) cell {
	return cell{Kind: "tag", V: tagText{weight, text}, Blank: text == "", By: text}
}

type tagText struct{ Weight, Text string }

// specialCell is shown by the part "special" of the page.
func specialCell(v any) cell { return cell{Kind: "special", V: v} }

// relative is a time as tables show it: how long ago, with the instant in the tooltip.
type relative struct{ At, Now shown }

// Ago is empty for the zero time. Times that are far away are shown as they are.
func (r relative) Ago() string {
	if d := r.Now.Sub(r.At.Time); d > 30*24*time.Hour || d < -30*24*time.Hour {
		return stamp(r.At)
	}
	d := r.Now.Sub(r.At.Time)
	if d > -time.Second && d < time.Second {
		return "now"
	}
	if d < 0 {
		return "in " + roughly(-d)
	}
	return roughly(d) + " ago"
}

// roughly is a duration in its largest unit.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}

// Instant is the time in the zone of the page, and in UTC.
func (r relative) Instant() string {
	if name := r.At.Location().String(); name != "UTC" {
		return stamp(r.At) + " " + name + " · " + utc(r.At)
	}
	return utc(r.At)
}

// When is for templates; handlers use timeCell.
func (f frame) When(t time.Time) relative { return relative{f.In(t), f.In(f.At)} }

// timeCell is a time, relative to now.
func (v *visit) timeCell(t time.Time) cell {
	z := v.zone()
	return cell{Kind: "when", V: relative{shown{t.In(z)}, shown{v.d.Now().In(z)}}, Blank: t.IsZero(), Number: float64(t.UnixMilli())}
}

// stampCell is a time as it is, for those who compare it with other records.
func (v *visit) stampCell(t time.Time) cell {
	return cell{Kind: "time", V: shown{t.In(v.zone())}, Blank: t.IsZero(), Number: float64(t.UnixMilli())}
}

// layOut decides which columns are shown, and sorts the rows if all of them are here.
func (v *visit) layOut(t table) table {
	q := v.URL.Query()
	t.sort = q.Get("sort")
	q.Del("sort")
	t.at = address(v.URL.Path, q)
	for i := range t.Columns {
		t.Columns[i].hidden = i > 0 && !slices.ContainsFunc(t.Rows, func(r row) bool { return !r.Cells[i].Blank })
	}
	if !t.Fixed && t.Page.whole() && len(t.Rows) > 1 {
		t.sortRows(q)
	}
	shown := t.Columns[:0:0]
	for _, c := range t.Columns {
		if !c.hidden {
			shown = append(shown, c)
		}
	}
	for i, r := range t.Rows {
		var cells []cell
		for j, c := range r.Cells {
			if c.Column = t.Columns[j]; !c.Column.hidden {
				cells = append(cells, c)
			}
		}
		t.Rows[i].Cells = cells
	}
	t.Columns = shown
	return t
}

// sortRows links the columns that have something to sort by, and sorts by the one that the
// visitor chose.
func (t *table) sortRows(q url.Values) {
	name, descending := strings.CutPrefix(t.sort, "-")
	for i := range t.Columns {
		c := &t.Columns[i]
		sortable := func(r row) bool { return r.Cells[i].By != "" || r.Cells[i].Number != 0 }
		if c.hidden || c.Name == "" || !slices.ContainsFunc(t.Rows, sortable) {
			continue
		}
		key := strings.ToLower(strings.ReplaceAll(c.Name, " ", "_"))
		next := key
		if key == name && !descending {
			next = "-" + key
		}
		q.Set("sort", next)
		c.Sort = address(strings.SplitN(t.at, "?", 2)[0], q)
		if key != name {
			continue
		}
		slices.SortStableFunc(t.Rows, func(a, b row) int {
			x, y := a.Cells[i], b.Cells[i]
			if descending {
				x, y = y, x
			}
			return cmp.Or(cmp.Compare(x.Number, y.Number), strings.Compare(strings.ToLower(x.By), strings.ToLower(y.By)))
		})
		c.Direction, t.Order = "ascending", "by "+strings.ToLower(c.Name)
		if descending {
			c.Direction, t.Order = "descending", t.Order+", descending"
		}
	}
}

// chip is a value to filter by.
type chip struct {
	Kind        string // what it filters by
	Name, Value string
	N           int // how many match, if they are Counted
	Counted, On bool
	Link        string // sets the filter, or removes it if it is on
}

// Label is the name in the words of people.
func (c chip) Label() string {
	if c.Kind == "class" {
		return className(c.Name)
	}
	return c.Name
}
