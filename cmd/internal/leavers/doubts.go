package leavers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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
	at       int
	title    string
	mixed    string                 // what some rows say of people who leave, if others say something else
	agrees   func(cell string) bool // says the same as those
	differ   string                 // what another row says, if nothing tells which of the two leaves
	question bool                   // its name asks whether somebody stays
	order    order                  // of its dates
	dates    bool                   // its name may say that it has dates
	day      bool                   // its name says that it has them
	any      bool                   // its cells may say that somebody stays
	reason   bool                   // its name says that it has reasons
	leaves   bool                   // it has something in a row if, and only if, the person leaves
	state    bool                   // its name says that it has states of people
	approval bool                   // its name says that somebody agreed
	agreed   bool                   // somebody did, in some row
	staying  bool                   // who has something in it stays
	until    bool                   // until the day in it
	review   bool                   // its name says that somebody reviewed who has access
	said     bool                   // it has the day on which somebody gave notice
	back     bool                   // it has the days on which people came back
	hired    bool                   // it has the days on which people began
	verdict  map[string]bool        // what was found of its cells
	future   map[string]bool        // of them, those with a date to come
	dated    map[string][]time.Time // their dates
}

// doubtsOf looks at the ignored columns of a list.
func doubtsOf(h header, cols columns, rows []row, now time.Time, anyDate bool) *doubts {
	d := &doubts{anyDate: anyDate, now: now}
	for _, i := range h.unused(cols) {
		key, words := fold(h.names[i]), wordsOf(h.names[i])
		some := func(is func(string) bool) int {
			return slices.IndexFunc(rows, func(r row) bool { return is(r.at(i)) })
		}
		s := saying{at: i, title: fmt.Sprint(i + 1), verdict: map[string]bool{}, future: map[string]bool{}, dated: map[string][]time.Time{}}
		if h.names[i] != "" {
			s.title = shown(h.names[i])
		}
		about := hasWord(words, aboutLeaving)
		people := h.means[i]&namesPeople != 0
		other := containsAny(key, otherDates)
		place := hasWord(words, placeWords) || placeWords[key]
		s.any = !people && !other && !place && key != "message" // failures --csv has texts of detachd there
		s.reason = containsAny(key, reasonParts)
		leaves := isLeaving(key, words, onlyWords(words, removingWords, besideRemoving))
		s.review = hasWord(words, reviewWords)
		agrees := !s.review && (containsAny(key, approvalParts) || onlyWords(words, goAhead, besideGoAhead))
		s.approval = agrees && !people && !other && (!about || slices.Contains(words, "by")) && !hasWord(words, requiredWords)
		s.back = containsAny(key, backParts) || moveDates[key]
		s.hired = containsAny(key, hireParts)
		s.staying = !people && !other && saysInName(h.names[i], words)
		state := hasWord(words, statusWords)
		isType := state || containsAny(key, typeParts)
		s.state = !s.approval && !s.review && (!leaves && isType || containsAny(key, statusParts) && (!about || state))
		s.until = hasWord(words, untilWords)
		s.said = containsAny(key, saidParts)
		s.dates = leaves || containsAny(key, dateParts)
		s.day = hasWord(words, dayWords) || containsAny(key, dayParts)
		s.order = orderOf(rows, i)
		if other {
			s.order = noDates
		}
		s.leaves = leaves && !about
		if s.leaves {
			d.someLeft = d.someLeft || some(func(cell string) bool { return !isNothing(cell) }) >= 0
		}
		s.question = !people && (onlyWords(words, stillWords, besideStill) || hasStayPart(key) && !strings.Contains(key, "可"))
		switch {
		case s.approval:
			s.agrees = saysApproved
			s.agreed = some(func(cell string) bool { return !isNothing(cell) }) >= 0
		case activeValues[key]:
			s.agrees = isNo
		case s.state && !about:
			s.agrees = leavesByState
		}
		if s.agrees != nil {
			if n := some(s.agrees); n >= 0 {
				s.mixed = fmt.Sprintf("%s in line %d", shown(rows[n].at(i)), rows[n].line)
			} else if s.state && !s.approval && containsAny(key, statusParts) {
				s.differ = differ(rows, i, !containsAny(key, employmentParts))
			}
		}
		d.says = append(d.says, s)
		if s.leaves {
			d.leaving = append(d.leaving, s)
		}
	}
	return d
}

// differ tells two different states of a column; if codes is true, only of one that has nothing but letters
// and digits as states.
func differ(rows []row, i int, codes bool) string {
	var first row
	out := ""
	for _, r := range rows {
		cell := r.at(i)
		if cell == "" {
			continue
		}
		if codes && utf8.RuneCountInString(cell) > 1 {
			return ""
		}
		if first.line == 0 {
			first = r
		} else if out == "" && fold(cell) != fold(first.at(i)) {
			out = fmt.Sprintf("%s in line %d and %s in line %d", shown(first.at(i)), first.line, shown(cell), r.line)
		}
	}
	return out
}

// saysInName reports whether the name of a column says that people stay, as Exclude, Cancelled on, or
// Do not disable; and nothing else, as Meetings cancelled.
func saysInName(name string, words []string) bool {
	if stayingNames[fold(name)] {
		return true
	}
	for i, w := range words {
		if negations[w] && slices.ContainsFunc(words[i+1:min(i+3, len(words))], func(w string) bool { return isLeaving(w, []string{w}, true) }) {
			return true
		}
	}
	return onlyWords(words, stayWords, besideStaying) || onlyWords(words, stayingNames, besideStaying) ||
		onlyWords(words, newWords, movedTo) && hasWord(words, movedTo)
}

// onlyWords reports words of which some are in a set, and all others in another one.
func onlyWords(words []string, some, others map[string]bool) bool {
	return hasWord(words, some) && !slices.ContainsFunc(words, func(w string) bool { return !some[w] && !others[w] })
}

// staying says why it is doubtful that the person of a row leaves; empty if nothing says so.
func (d *doubts) staying(r row) string {
	const next = "remove the row if the person stays, else "
	for _, s := range d.says {
		cell := r.at(s.at)
		switch {
		case s.against(cell, d.now),
			s.state && len(d.leaving) > 0 && activeValues[fold(cell)] && !d.leaves(r),
			s.question && !isNo(cell) && isYes(cell),
			s.back && d.cameBack(r, s),
			s.hired && d.leftBefore(r, s):
			return fmt.Sprintf("column %s says %s: %scorrect it", s.title, shown(cell), next)
		case s.agreed && isNothing(cell):
			return fmt.Sprintf("column %s has nothing, and something in other rows: %scomplete it", s.title, next)
		case s.differ != "" && !d.someLeft:
			return fmt.Sprintf("column %s says %s, and it is not clear who of them leaves: keep only the rows of those who do, without this column",
				s.title, s.differ)
		case s.mixed != "" && !s.agrees(cell):
			return fmt.Sprintf("column %s says %s, and %s: %scorrect it", s.title, shown(cell), s.mixed, next)
		}
	}
	for _, s := range d.leaving {
		if isNo(r.at(s.at)) {
			return fmt.Sprintf("column %s says %s: %scorrect it", s.title, shown(r.at(s.at)), next)
		}
	}
	if d.someLeft && !d.leaves(r) {
		return fmt.Sprintf("column %s has nothing, and something in other rows: %scomplete it", d.leaving[0].title, next)
	}
	return ""
}

// leaves reports whether a column of leaving has something in a row.
func (d *doubts) leaves(r row) bool {
	return slices.ContainsFunc(d.leaving, func(s saying) bool { return !isNothing(r.at(s.at)) })
}

// cameBack reports whether a row has a day of coming back, and none of leaving after it.
func (d *doubts) cameBack(r row, s saying) bool {
	dates := s.days(r.at(s.at))
	return len(dates) > 0 && !slices.ContainsFunc(d.leaving, func(s saying) bool {
		left := s.days(r.at(s.at))
		return len(left) > 0 && left[0].After(dates[0])
	})
}

// leftBefore reports whether a row has a day of beginning after the days of leaving.
func (d *doubts) leftBefore(r row, s saying) bool {
	var last time.Time
	for _, leaving := range d.leaving {
		for _, day := range leaving.days(r.at(leaving.at)) {
			if day.After(last) {
				last = day
			}
		}
	}
	dates := s.days(r.at(s.at))
	return len(dates) > 0 && !last.IsZero() && !slices.ContainsFunc(dates, func(t time.Time) bool { return !t.After(last) })
}

// A column may say that the person of a row leaves later: what it says, for a refusal and for a note.
type later struct{ refusal, note string }

var (
	dayToCome = later{
		"column %s has a date to come, %s, and nothing would wait for it: " + giveTime,
		"column %s is ignored, and has dates to come in %d of the rows, the first in line %d: %s. Nothing waits for them.",
	}
	unclearDay = later{
		"column %s says %s, and it is not clear whether that day is to come: write it as 2026-12-31, or " + giveTime,
		"column %s is ignored, and in %d of the rows it is not clear whether its day is to come, the first in line %d: %s.",
	}
	stillWorks = later{
		"column %s says %s, so the person may still work: " + giveTime,
		"column %s is ignored, and says in %d of the rows that the person may still work, the first in line %d: %s. " +
			"Nothing waits for the last day.",
	}
)

// early says why the person of a row may leave later; empty if nothing says so, or a time was given.
func (d *doubts) early(r row) string {
	if d.anyDate {
		return ""
	}
	for _, s := range d.says {
		if why := d.leavesLater(s, r); why != nil {
			return fmt.Sprintf(why.refusal, s.title, shown(r.at(s.at)))
		}
	}
	return ""
}

// leavesLater is what a column says of a later day of leaving; nil for nothing.
func (d *doubts) leavesLater(s saying, r row) *later {
	cell := r.at(s.at)
	switch {
	case isNothing(cell):
	case s.toCome(cell, d.now):
		return &dayToCome
	case s.leaves && s.order != noDates && len(s.days(cell)) == 0 && lastOfMonth(cell).IsZero():
		switch {
		case s.day || !s.reason && isVague(cell):
			return &unclearDay
		case namesDateToCome(cell, d.now):
			return &dayToCome
		}
	case s.any && s.order != noDates && speaksOfDayToCome(cell, d.now):
		return &dayToCome
	case s.state && containsAny(fold(cell), noticeParts) && !slices.ContainsFunc(d.leaving, func(s saying) bool {
		return !s.said && len(s.days(r.at(s.at))) > 0
	}):
		return &stillWorks
	}
	return nil
}

// speaksOfDayToCome reports whether a text, such as "last day is 31.12.2026", speaks of leaving on a
// day to come.
func speaksOfDayToCome(cell string, now time.Time) bool {
	cell = cell[:min(len(cell), 1000)]
	if len(cell) < 2*shortestDate || !strings.ContainsAny(cell, "0123456789０１２３４５６７８９") {
		return false
	}
	parts := strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(",;，；、", r) })
	return slices.ContainsFunc(parts, func(part string) bool {
		return isLeaving(fold(part), wordsOf(part), true) && namesDateToCome(part, now)
	})
}

// mostKnown is of how many different cells of a column it is kept what was found.
const mostKnown = 1000

// days are the dates in a cell of a column that may have some.
func (s saying) days(cell string) []time.Time {
	days, known := s.dated[cell]
	if !known {
		if days = readDate(cell, true, s.order); len(s.dated) < mostKnown {
			s.dated[cell] = days
		}
	}
	return days
}

// isOver reports a date that is not to come.
func (s saying) isOver(cell string, now time.Time) bool {
	dates := s.days(cell)
	return len(dates) > 0 && !anyAfter(dates, now)
}

// isVague reports a day without a year, as 4 Dec, or a text such as "end of month".
func isVague(cell string) bool {
	words := wordsOf(cell)
	if vagueDay.MatchString(cell) || hasWord(words, vagueWords) || vagueWords[fold(cell)] {
		return true
	}
	isMonth := func(w string) bool { return len(w) >= 3 && monthOf(w) > 0 }
	return len(words) <= 3 && vagueNumber.MatchString(cell) && slices.ContainsFunc(words, isMonth)
}

var (
	vagueDay    = regexp.MustCompile(`^\d{1,2}[./-]\d{1,2}\.?$|^\d{1,2}\s?月|^[QH]\d\b`)
	vagueNumber = regexp.MustCompile(`\b\d{1,2}(?:st|nd|rd|th)?\b`)
)

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

// leavesByState is saysLeft, or says that somebody works until the day of leaving.
func leavesByState(cell string) bool { return saysLeft(cell) || containsAny(fold(cell), noticeParts) }

// against reports whether a cell of a column says that the person stays, or may stay.
func (s saying) against(cell string, now time.Time) bool {
	is, known := s.verdict[cell]
	if !known {
		key := fold(cell)
		is = s.any && (saysStays(cell) || !s.reason && awayValues[key]) ||
			s.staying && !isNothing(cell) && !saysLeft(cell) && !(s.until && s.isOver(cell, now)) ||
			s.review && saysApproved(cell) ||
			s.approval && (isNo(cell) || saysOpen(key)) ||
			s.state && (containsAny(key, rejectedParts) || containsAny(key, absenceParts) || awayStates[key])
		if len(s.verdict) < mostKnown {
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
	if key := fold(cell); stayValues[key] || hasStayPart(key) {
		return true
	}
	return slices.ContainsFunc(strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(".,:;!?()–—", r) }), partStays)
}

// hasStayPart reports a part of a text that says that somebody stays, unless a sign before it makes the
// opposite of it: 未续签.
func hasStayPart(key string) bool {
	return slices.ContainsFunc(stayParts, func(part string) bool {
		before, _, found := strings.Cut(key, part)
		return found && !slices.ContainsFunc(negationSigns, func(sign string) bool { return strings.HasSuffix(before, sign) })
	})
}

var negationSigns = []string{"不", "未", "没", "没有", "無", "无"}

// partStays is saysStays for a part of a text between two punctuation marks.
func partStays(text string) bool {
	words := wordsOf(text)
	for i, w := range words {
		if stayWords[w] && !hasWord(words[max(0, i-3):i], negations) {
			return true
		}
		if negations[w] && slices.ContainsFunc(words[i+1:min(i+3, len(words))], func(w string) bool { return isLeaving(w, []string{w}, true) }) {
			return true
		}
	}
	return false
}

// saysApproved reports a cell that says that somebody agreed.
func saysApproved(cell string) bool {
	key := fold(cell)
	return !isNo(cell) && !saysOpen(key) && (yesValues[key] || containsAny(key, approvedParts) || isChecked(cell))
}

// isChecked reports a box that somebody has ticked.
func isChecked(cell string) bool {
	return strings.ContainsAny(cell, "☑☒✓✔✅") || isCross(cell)
}

func isCross(cell string) bool { return strings.EqualFold(cell, "x") }

// saysOpen reports a cell, by fold, that says that somebody has not agreed, or not yet.
func saysOpen(key string) bool {
	return containsAny(key, rejectedParts) || containsAny(key, openParts) || hasStayPart(key)
}

func isYes(cell string) bool { return cell == "1" || isChecked(cell) || yesValues[fold(cell)] }

func isNo(cell string) bool { return cell == "0" || noValues[fold(cell)] }

// isNothing reports an empty cell, or what programs write for none: -, n/a, 00.00.0000, 31.12.9999.
func isNothing(cell string) bool {
	key := fold(cell)
	empty := strings.Trim(key, "0") == "" && !isChecked(cell)
	return empty || nothings[key] || isNo(cell) || strings.HasSuffix(key, "9999") || strings.HasPrefix(key, "99991231")
}
