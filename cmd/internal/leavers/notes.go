package leavers

import "fmt"

// Notes are what people should know of a list that can be read, and may mean something else: a
// sentence each.
func (l *List) Notes() (out []string) {
	if len(l.titles) > 0 {
		out = append(out, fmt.Sprintf("lines above the header, which are ignored: %d, the first %s.", len(l.titles), shown(l.titles[0])))
	}
	if n := len(l.below); n > 0 {
		out = append(out, fmt.Sprintf("lines below the table, which are ignored: %d, the first %s.", n, shown(l.below[n-1])))
	}
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

// noteToCome counts the dates to come.
func (d *doubts) noteToCome(rows []row) (out []toCome) {
	for _, s := range d.says {
		x := toCome{column: s.title}
		for _, r := range rows {
			if !s.toCome(r.at(s.at), d.now) {
				continue
			}
			if x.rows++; x.rows == 1 {
				x.line, x.date = r.line, r.at(s.at)
			}
		}
		if x.rows > 0 {
			out = append(out, x)
		}
	}
	return out
}
