package leavers

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A list may have rows of people who stay: everybody, with a date for those who leave; or who had
// resigned, and no longer. The columns that say so name neither a user nor a desktop, and are
// ignored as names, but what they say of a row is not: such a row is refused, with its line.

// doubts finds what the ignored columns of a list say against its rows.
type doubts struct {
	anyDate  bool // dates to come do not matter
	now      time.Time
	says     []saying
	leaving  []saying // columns that have something in a row if, and only if, the person leaves
	someLeft bool     // one of them has something in some row
}

// saying is an ignored column that is looked at.
type saying struct {
	at      int
	title   string
	mixed   string          // what some rows say of people who leave, if others say something else
	order   order           // of its dates
	dates   bool            // its name may say that it has dates
	day     bool            // its name says that it has them
	any     bool            // its cells may say that somebody stays
	verdict map[string]bool // what was found of its cells
}

// doubtsOf looks at the ignored columns of a list.
func doubtsOf(h header, cols columns, rows []row, now time.Time, anyDate bool) *doubts {
	d := &doubts{anyDate: anyDate, now: now}
	for _, i := range h.unused(cols) {
		key, words := fold(h.names[i]), wordsOf(h.names[i])
		s := saying{at: i, title: fmt.Sprint(i + 1), verdict: map[string]bool{}}
		if h.names[i] != "" {
			s.title = shown(h.names[i])
		}
		about := hasWord(words, aboutLeaving)
		s.any = h.means[i]&namesPeople == 0 && key != "message" // failures --csv has texts of detachd there
		leaves := isLeaving(key, words, len(words) == 1)
		s.dates = leaves || containsAny(key, dateParts)
		s.day = hasWord(words, dayWords) || containsAny(key, dayParts)
		s.order = orderOf(rows, i)
		if containsAny(key, otherDates) {
			s.order = noDates
		}
		if leaves && !about {
			d.someLeft = d.someLeft || slices.ContainsFunc(rows, func(r row) bool { return !isNothing(r.at(i)) })
		}
		if !about && (containsAny(key, statusParts) || !leaves && hasWord(words, statusWords)) {
			if n := slices.IndexFunc(rows, func(r row) bool { return saysLeft(r.at(i)) }); n >= 0 {
				s.mixed = fmt.Sprintf("%s in line %d", shown(rows[n].at(i)), rows[n].line)
			}
		}
		d.says = append(d.says, s)
		if leaves && !about {
			d.leaving = append(d.leaving, s)
		}
	}
	return d
}

// staying says why it is doubtful that the person of a row leaves; empty if nothing says so.
func (d *doubts) staying(r row) string {
	const next = "remove the row if the person stays, else "
	for _, s := range d.says {
		cell := r.at(s.at)
		switch {
		case s.any && s.stays(cell):
			return fmt.Sprintf("column %s says %s: %scorrect it", s.title, shown(cell), next)
		case s.mixed != "" && !saysLeft(cell):
			return fmt.Sprintf("column %s says %s, and %s: %scorrect it", s.title, shown(cell), s.mixed, next)
		}
	}
	for _, s := range d.leaving {
		if isNo(r.at(s.at)) {
			return fmt.Sprintf("column %s says %s: %scorrect it", s.title, shown(r.at(s.at)), next)
		}
	}
	if d.someLeft && !slices.ContainsFunc(d.leaving, func(s saying) bool { return !isNothing(r.at(s.at)) }) {
		return fmt.Sprintf("column %s has nothing, and something in other rows: %scomplete it", d.leaving[0].title, next)
	}
	return ""
}

// early says why the person of a row may leave later; empty if nothing says so, or a time was given.
func (d *doubts) early(r row) string {
	if d.anyDate {
		return ""
	}
	for _, s := range d.leaving {
		if cell := r.at(s.at); s.day && !isNothing(cell) && len(readDate(cell, true, s.order)) == 0 {
			return fmt.Sprintf("column %s says %s, and it is not clear whether that day is to come: write it as 2026-12-31, or "+giveTime,
				s.title, shown(cell))
		}
	}
	for _, s := range d.says {
		if s.toCome(r.at(s.at), d.now) {
			return fmt.Sprintf("column %s has a date to come, %s, and nothing would wait for it: "+giveTime, s.title, shown(r.at(s.at)))
		}
	}
	return ""
}

// giveTime is the next step for a list with a date to come.
const giveTime = "give the start, which may be now, or the last working day"

// at is a cell; empty if the row has none.
func (r row) at(i int) string {
	if r.problem != "" || i >= len(r.cells) {
		return ""
	}
	return strings.TrimSpace(r.cells[i])
}

func hasWord(words []string, set map[string]bool) bool {
	return slices.ContainsFunc(words, func(w string) bool { return set[w] })
}

// isLeaving reports whether a text speaks of leaving, or of removing something.
func isLeaving(key string, words []string, removing bool) bool {
	return containsAny(key, leavingParts) || hasWord(words, leavingWords) || removing && hasWord(words, removingWords)
}

// saysLeft reports whether a cell says that somebody has left or leaves.
func saysLeft(cell string) bool {
	key := fold(cell)
	return key != "" && (containsAny(key, leftParts) || isLeaving(key, wordsOf(cell), true)) && !saysStays(cell)
}

func (s saying) stays(cell string) bool {
	is, known := s.verdict[cell]
	if !known {
		is = saysStays(cell)
		if len(s.verdict) < 1000 {
			s.verdict[cell] = is
		}
	}
	return is
}

// saysStays reports whether a cell says that somebody stays, or does not leave.
func saysStays(cell string) bool {
	if !strings.ContainsFunc(cell, unicode.IsLetter) {
		return false
	}
	key := fold(cell)
	if stayValues[key] || containsAny(key, stayParts) {
		return true
	}
	words := wordsOf(cell)
	for i, w := range words {
		if stayWords[w] {
			return true
		}
		if negations[w] && slices.ContainsFunc(words[i+1:min(i+3, len(words))], func(w string) bool { return isLeaving(w, []string{w}, true) }) {
			return true
		}
	}
	return false
}

func isNo(cell string) bool { return cell == "0" || noValues[fold(cell)] }

// isNothing reports an empty cell, or what programs write for none: -, n/a, 00.00.0000, 31.12.9999.
func isNothing(cell string) bool {
	key := fold(cell)
	empty := strings.Trim(key, "0") == "" && !strings.ContainsAny(cell, "☑☒✓✔")
	return empty || nothings[key] || isNo(cell) || strings.HasSuffix(key, "9999") || strings.HasPrefix(key, "99991231")
}
