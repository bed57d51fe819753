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
		out = append(out, fmt.Sprintf(x.note, x.column, x.rows, x.line, shown(x.says)))
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

// toCome is an ignored column that says of people that they leave later, such as their last day of work.
type toCome struct {
	note, column, says string
	rows, line         int // line and says are those of the first
}

// noteToCome counts what columns say of days to come.
func (d *doubts) noteToCome(rows []row) (out []toCome) {
	for _, s := range d.says {
		found := map[*later]*toCome{}
		for _, r := range rows {
			if why := d.leavesLater(s, r); why != nil {
				if found[why] == nil {
					found[why] = &toCome{why.note, s.title, r.at(s.at), 0, r.line}
				}
				found[why].rows++
			}
		}
		for _, why := range []*later{&dayToCome, &unclearDay, &stillWorks} {
			if x := found[why]; x != nil {
				out = append(out, *x)
			}
		}
	}
	return out
}
