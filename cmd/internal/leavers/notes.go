package leavers

import (
	"fmt"
	"strings"
	"time"
)

// Notes are what people should know of a list that can be read, and may mean something else: a
// sentence each.
func (l *List) Notes() (out []string) {
	if n := l.unguarded(); n > 0 {
		out = append(out, fmt.Sprintf("rows with a desktop or computer and no user: %d of %d. Whoever has it loses it.", n, len(l.Good)))
	}
	for _, x := range l.toCome {
		out = append(out, fmt.Sprintf("column %s is ignored, and has dates to come in %d of the rows, the first in line %d: %s. "+
			"Nothing waits for them.", x.column, x.rows, x.line, shown(x.date)))
	}
	return out
}

// unguarded counts the rows whose desktop is taken from whoever has it, if other rows name who must
// have theirs: somebody may have left cells empty without meaning that.
func (l *List) unguarded() int {
	guarded, without := 0, 0
	for _, x := range l.Good {
		switch {
		case x.guard() != "":
			guarded++
		case x.Desktop != "" || x.Computer != "":
			without++
		}
	}
	if guarded == 0 {
		return 0
	}
	return without
}

// toCome is an ignored column with dates to come, such as the last day of work of people who have
// not left yet.
type toCome struct {
	column, date string
	rows, line   int // line and date are those of the first
}

// findToCome looks at the ignored columns.
func (l *List) findToCome(h header, cols columns, rows []row) {
	for _, i := range h.unused(cols) {
		x := toCome{column: fmt.Sprint(i + 1)}
		if h.names[i] != "" {
			x.column = shown(h.names[i])
		}
		for _, r := range rows {
			if r.problem != "" || i >= len(r.cells) || !isToCome(strings.TrimSpace(r.cells[i]), l.Now) {
				continue
			}
			if x.rows++; x.rows == 1 {
				x.line, x.date = r.line, strings.TrimSpace(r.cells[i])
			}
		}
		if x.rows > 0 {
			l.toCome = append(l.toCome, x)
		}
	}
}

// dates are the forms in which spreadsheets and directories write them. 03/04/2027 is read in both ways.
var dates = []string{
	"2006-1-2", time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006/1/2", "2.1.2006", "2/1/2006",
	"1/2/2006", "2-1-2006", "1-2-2006", "2 Jan 2006", "2-Jan-2006", "2 January 2006", "Jan 2, 2006", "January 2, 2006", "2006年1月2日",
}

// isToCome reports whether a text is a date after now, in all of the ways in which it can be read.
func isToCome(text string, now time.Time) bool {
	if len(text) < len("1.1.2006") || len(text) > len("2006-01-02T15:04:05+00:00") {
		return false
	}
	is := false
	for _, layout := range dates {
		if t, err := time.Parse(layout, text); err == nil {
			if !t.After(now) {
				return false
			}
			is = true
		}
	}
	return is
}
