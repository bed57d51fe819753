package leavers

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// None in place of a column's name means that there is no such column.
const None = "-"

// Columns names the columns of a list whose own names do not tell their meaning.
// Empty: by the name of the column.
type Columns struct{ Desktop, Computer, User string }

// ColumnError means that a header does not tell which column names the user, the
// computer or the desktop. Nothing is read until Columns does.
type ColumnError struct {
	What    string   // "user", "computer" or "desktop"
	Columns []string // the candidates
	why     string
}

func (e *ColumnError) Error() string { return e.why }

// meaning is the possible meaning of a column, by its name.
type meaning uint

const (
	isUser meaning = 1 << iota
	isDesktop
	isComputer
	isProject
	mayBeUser            // has a word for people: never ignored, unless Columns.User is set
	namesPeople          // names people in a form that no cloud knows: ignored beside a user
	mayBeMachine         // has a word for machines: ignored beside a desktop
	ofMachine            // an attribute of a machine: ignored beside a desktop or a computer
	unknown              // may be anything: ignored beside a user
	harmless     meaning = 0
)

// meaningOf gives the meaning of a column's name. Known names come first; the subject
// of a compound is its last word (user type), or the first one (tipo de usuario).
func meaningOf(name string) meaning {
	name = strings.TrimSpace(name)
	if n := strings.IndexByte(name, '['); n > 0 { // Email Address [Required]
		name = name[:n]
	}
	key := fold(name)
	if m, known := names[key]; known && !strings.HasSuffix(name, "#") {
		return m
	}
	words := wordsOf(name)
	if rest := strings.Join(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return qualifiers[w] }), ""); rest != key {
		if m, known := names[rest]; known && m == isUser { // Email - Work
			return m
		}
	}
	if n := len(words); n > 2 {
		if m, known := names[words[n-2]+words[n-1]]; known && m == harmless { // User/Employee ID
			return m
		}
		rest := strings.Join(words[2:], "") // Person ID External
		if m, known := names[words[0]+words[1]]; known && m == harmless && !containsAny(rest, peopleParts) && !peopleWords[rest] {
			return m
		}
	}
	switch {
	case name == "#":
		return harmless
	case len(words) == 0:
		return unknown
	}
	var m meaning
	if containsAny(key, peopleParts) || slices.ContainsFunc(words, func(w string) bool { return peopleWords[w] }) {
		m |= mayBeUser
	}
	if containsAny(key, machineParts) || slices.ContainsFunc(words, func(w string) bool { return machineWords[w] }) {
		m |= mayBeMachine
	}
	for len(words) > 1 && strings.Trim(words[len(words)-1], "0123456789") == "" {
		words = words[:len(words)-1]
	}
	if questionWords[words[0]] && len(words) > 1 {
		return m | mayBeUser
	}
	if m&mayBeUser != 0 && (hasWord(words, othersWords) || containsAny(key, othersParts)) {
		m ^= mayBeUser | namesPeople
	}
	attribute := strings.HasSuffix(name, "#") || attributes[words[len(words)-1]] || attributesFirst[words[0]] ||
		slices.ContainsFunc(attributeEnds, func(end string) bool { return strings.HasSuffix(key, end) })
	switch {
	case attribute && m&mayBeMachine != 0:
		return ofMachine
	case attribute:
		return harmless
	case m == 0:
		return unknown
	}
	return m
}

func containsAny(s string, parts []string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
}

// fold is the form in which names of columns are compared: letters and digits without
// case, accents and width.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, norm.NFKD.String(name))
}

// wordsOf splits a name at characters that are neither letter nor digit, and where the
// case changes: "Last_logon", "lastLogon", "VMHost".
func wordsOf(name string) (out []string) {
	var word []rune
	end := func() {
		if len(word) > 0 {
			out = append(out, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	var before rune
	for _, r := range norm.NFKD.String(name) {
		switch {
		case unicode.Is(unicode.Mn, r):
			continue
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
		default:
			switch {
			case unicode.IsUpper(r) && unicode.IsLower(before), unicode.IsDigit(r) != unicode.IsDigit(before):
				end()
			case unicode.IsLower(r) && unicode.IsUpper(before) && len(word) > 1: // VMHost
				first := word[len(word)-1]
				word = word[:len(word)-1]
				end()
				word = append(word, first)
			}
			word = append(word, r)
		}
		before = r
	}
	end()
	return out
}

// columns are the indexes of the columns; -1 for none.
type columns struct {
	desktop, computer, user, project int
	// same are columns with another name of the same user, which must agree: the columns
	// userPrincipalName beside sAMAccountName, or a person's name beside the login.
	same  []int
	names []string
}

// header is a header row while its meaning is determined.
type header struct {
	names []string
	means []meaning
	empty []bool // no row has a value in this column
	rows  []row
	stay  bool // the list is of those who stay: a person who is passed over would lose a desktop
}

// title names a column in a message.
func (h header) title(i int) string {
	if h.names[i] == "" {
		return fmt.Sprintf("column %d, which has no name", i+1)
	}
	return shown(h.names[i])
}

func (h header) titles(at []int) string {
	const shown = 10
	out := make([]string, min(shown, len(at)))
	for i := range out {
		out[i] = h.title(at[i])
	}
	if more := len(at) - shown; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}

// having are the columns with one of these meanings.
func (h header) having(m meaning) (at []int) {
	for i := range h.names {
		if h.means[i]&m != 0 {
			at = append(at, i)
		}
	}
	return at
}

// unclear is the error for several candidates.
func (h header) unclear(what string, at []int, format string, args ...any) error {
	e := &ColumnError{What: what, why: fmt.Sprintf(format, args...)}
	for _, i := range at {
		if h.names[i] != "" {
			e.Columns = append(e.Columns, h.names[i])
		}
	}
	return e
}

// chosen is the index of the column with the given name; -1 for None or "".
func (h header) chosen(what, name string) (int, error) {
	if name == "" || name == None {
		return -1, nil
	}
	same := func(is func(string) bool) (at []int) {
		for i, n := range h.names {
			if is(n) {
				at = append(at, i)
			}
		}
		return at
	}
	at := same(func(n string) bool { return n == name })
	if len(at) == 0 && fold(name) != "" {
		at = same(func(n string) bool { return fold(n) == fold(name) })
	}
	switch len(at) {
	case 0:
		return -1, fmt.Errorf("there is no column %s for the %s; the columns are %s", shown(name), what, shown(strings.Join(h.names, ", ")))
	case 1:
		return at[0], nil
	}
	return -1, fmt.Errorf("%d columns have the name %s of the %s column: rename all but one", len(at), shown(name), what)
}

// columns decides the meaning of each column. A column that may name the owner is never
// ignored: the error asks for the right one.
func (h header) columns(choice Columns) (c columns, err error) {
	c = columns{project: -1, names: h.names}
	if c.desktop, err = h.chosen("desktop", choice.Desktop); err != nil {
		return c, err
	}
	if c.computer, err = h.chosen("computer", choice.Computer); err != nil {
		return c, err
	}
	if c.user, err = h.chosen("user", choice.User); err != nil {
		return c, err
	}
	used := slices.DeleteFunc([]int{c.desktop, c.computer, c.user}, func(i int) bool { return i < 0 })
	slices.Sort(used)
	if len(slices.Compact(slices.Clone(used))) != len(used) {
		return c, fmt.Errorf("one column was named twice: %s", h.title(used[0]))
	}
	for _, i := range used {
		h.means[i] = harmless
	}
	if projects := h.having(isProject); len(projects) > 1 {
		return c, fmt.Errorf("several columns name the project: %s: remove all but one", h.titles(projects))
	} else if len(projects) == 1 {
		c.project = projects[0]
	}
	h.namesNothing()
	// A chosen computer column means computers, even if there is a column of ids.
	if choice.Desktop == "" && c.computer < 0 {
		if c.desktop, err = h.only("desktop", isDesktop); err != nil {
			return c, err
		}
	}
	if c.desktop >= 0 {
		c.computer = -1
	} else if choice.Computer == "" {
		if c.computer, err = h.only("computer", isComputer); err != nil {
			return c, err
		}
	}
	if choice.User == "" {
		if c.user, c.same = h.directoryNames(); c.user < 0 {
			c.user, c.same = h.samePeople()
		}
		if c.user < 0 {
			if c.user, err = h.only("user", isUser); err != nil {
				return c, err
			}
		}
		if c.user < 0 {
			c.user = h.leavers()
		}
	}
	return c, h.complete(c, choice)
}

// unused are the columns that have a name or values, and are ignored.
func (h header) unused(c columns) (out []int) {
	for i, name := range h.names {
		if !slices.Contains([]int{c.desktop, c.computer, c.user, c.project}, i) && !slices.Contains(c.same, i) && (name != "" || !h.empty[i]) {
			out = append(out, i)
		}
	}
	return out
}

// directoryNames are the columns of a directory's two names of a user: sAMAccountName,
// which Workspace uses, and userPrincipalName. -1 unless these two alone name users.
func (h header) directoryNames() (account int, same []int) {
	account = -1
	users := h.having(isUser)
	for _, i := range users {
		switch fold(h.names[i]) {
		case "samaccountname":
			account = i
		case "userprincipalname", "upn":
			same = append(same, i)
		}
	}
	if len(users) != 2 || account < 0 || len(same) != 1 {
		return -1, nil
	}
	return account, same
}

// samePeople are the columns that name the same user in each row, such as the name, the login and
// the mail address: the one that a directory is most likely to know, and the others. -1 unless all
// columns that may name users are among them.
func (h header) samePeople() (user int, same []int) {
	at := slices.DeleteFunc(h.having(isUser|mayBeUser), func(i int) bool { return h.empty[i] || h.flags(i, false) })
	if h.stay || len(at) < 2 || len(h.having(isUser)) == 0 && !slices.ContainsFunc(at, h.hasAddresses) {
		return -1, nil
	}
	h.sortUsers(at)
	if h.rank(at[0]) == 2 {
		return -1, nil
	}
	directory := fold(h.names[at[0]]) == "samaccountname"
	for _, i := range at[1:] {
		compared, same := 0, h.samePerson
		if h.rank(i) < 2 && !directory { // which of alee and ann.lee a cloud knows, nobody can tell
			same = h.sameAccount
		}
		for _, r := range h.rows {
			a, b := r.at(at[0]), r.at(i)
			if a == "" || b == "" {
				continue
			}
			if compared++; len(localPart(a)) < 2 || !same(at[0], i, a, b) {
				return -1, nil
			}
		}
		if compared == 0 {
			return -1, nil
		}
	}
	return at[0], at[1:]
}

// rank tells what a column of users has: 0 accounts, 1 mail addresses, 2 names of people.
func (h header) rank(i int) int {
	for _, r := range h.rows {
		switch cell := r.at(i); {
		case strings.Contains(cell, "@"):
			return 1
		case cell != "" && (strings.ContainsFunc(cell, unicode.IsSpace) || !isLatin(cell)):
			return 2
		}
	}
	return 0
}

// sortUsers puts the columns first that a directory is most likely to know.
func (h header) sortUsers(at []int) {
	ranks := map[int]int{}
	for _, i := range at {
		ranks[i] = h.rank(i)
	}
	slices.SortStableFunc(at, func(i, j int) int { return ranks[i] - ranks[j] })
}

func (h header) sameAccount(_, _ int, a, b string) bool { return sameAccount(a, b) }

// samePerson also takes a name in another script for that of an account, in columns such as 员工账号 and
// 员工姓名.
func (h header) samePerson(i, j int, a, b string) bool {
	if samePerson(a, b) {
		return true
	}
	x, y := []rune(fold(h.names[i])), []rune(fold(h.names[j]))
	return isLatin(a) && !isLatin(b) && len(x) > 2 && len(y) > 2 && slices.Equal(x[:2], y[:2])
}

// leavers is the only column such as "Login of the leaver", if no column is known to name users.
func (h header) leavers() int {
	at := slices.DeleteFunc(h.having(mayBeUser), func(i int) bool {
		words := wordsOf(h.names[i])
		leaver := isLeaving(fold(h.names[i]), words, false) && !slices.Contains(words, "by")
		return !leaver || h.means[i] != mayBeUser || h.empty[i] || h.flags(i, false)
	})
	if h.stay || len(at) != 1 {
		return -1
	}
	return at[0]
}

// sameMachines reports columns that name the same computer in each row, with a domain or without.
func (h header) sameMachines(at []int) bool {
	return len(h.rows) > 0 && !slices.ContainsFunc(h.rows, func(r row) bool {
		return slices.ContainsFunc(at, func(i int) bool {
			first, _, _ := strings.Cut(r.at(at[0]), ".")
			other, _, _ := strings.Cut(r.at(i), ".")
			return len(first) < 2 || !strings.EqualFold(first, other)
		})
	})
}

// isLatin reports a name in Latin script, or a number.
func isLatin(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.Latin, r) || unicode.IsDigit(r) })
}

func (h header) hasAddresses(i int) bool {
	return slices.ContainsFunc(h.rows, func(r row) bool { return strings.Contains(r.at(i), "@") })
}

// flags reports whether a column that may name users, or machines, says only yes or no, or has dates
// or counts: it names nothing.
func (h header) flags(i int, machines bool) bool {
	return !slices.ContainsFunc(h.rows, func(r row) bool {
		cell := r.at(i)
		if isCross(cell) && len(h.rows) > 1 { // two people are not called x
			return false
		}
		count := machines && len(cell) <= 4 && strings.Trim(cell, "0123456789") == ""
		return !isFlag(cell) && !count
	})
}

// namesNothing takes the meaning from a column ID that only numbers the rows, and from one such as
// Laptop that only says yes or no, if another one names users.
func (h header) namesNothing() {
	if h.stay || len(h.having(isUser|mayBeUser)) == 0 {
		return
	}
	all := func(i int, is func(cell string) bool) bool {
		return !slices.ContainsFunc(h.rows, func(r row) bool { return r.at(i) != "" && !is(r.at(i)) })
	}
	for _, i := range h.having(isDesktop | isComputer) {
		number := func(cell string) bool { return len(cell) <= 6 && strings.Trim(cell, "0123456789") == "" }
		yesOrNo := func(cell string) bool { return yesValues[fold(cell)] || isNo(cell) || checklist[fold(cell)] }
		if !h.empty[i] && (fold(h.names[i]) == "id" && all(i, number) || h.means[i] == isComputer && all(i, yesOrNo)) {
			h.means[i] = harmless
		}
	}
}

// isFlag reports a cell that names nobody: yes, no, nothing, or a day.
func isFlag(cell string) bool {
	return isNothing(cell) || !isCross(cell) && isYes(cell) || checklist[fold(cell)] || len(readDate(cell, false, either)) > 0
}

// namesOfPeople reports whether a column such as Name, beside one of users, has names of people and
// not of machines; halves means that other columns have first or last names.
func (h header) namesOfPeople(i int, halves bool) bool {
	if h.means[i]&namesPeople == 0 {
		return false
	}
	return !slices.ContainsFunc(h.rows, func(r row) bool {
		cell := r.at(i)
		several := strings.ContainsFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || r == ',' })
		return cell != "" && (!several && !halves || strings.ContainsAny(cell, "0123456789"))
	})
}

// only is the single column with a meaning; -1 if there is none.
func (h header) only(what string, m meaning) (int, error) {
	at := h.having(m)
	filled := slices.DeleteFunc(slices.Clone(at), func(i int) bool { return h.empty[i] || m == isUser && h.flags(i, false) })
	if len(filled) == 1 {
		return filled[0], nil
	}
	if m == isComputer && len(at) > 1 && h.sameMachines(at) {
		return at[0], nil
	}
	switch len(at) {
	case 0:
		return -1, nil
	case 1:
		return at[0], nil
	default:
		if m == isUser {
			h.sortUsers(at)
		}
		return -1, h.unclear(what, at, "several columns name the %s: %s: choose one", what, h.titles(at))
	}
}

// complete refuses a header in which an ignored column may name the owner, or the one
// desktop that is meant instead of all desktops of a user.
func (h header) complete(c columns, choice Columns) error {
	filled := func(m meaning) []int {
		return slices.DeleteFunc(h.having(m), func(i int) bool {
			return h.empty[i] || i == c.user || slices.Contains(c.same, i) || i == c.computer || i == c.desktop
		})
	}
	if choice.User == "" && c.user >= 0 && c.desktop < 0 && c.computer < 0 && relations[fold(h.names[c.user])] {
		if others := slices.DeleteFunc(h.unused(c), func(i int) bool { return h.empty[i] }); len(others) > 0 {
			at := append([]int{c.user}, slices.DeleteFunc(others, func(i int) bool { return h.means[i] == harmless })...)
			return h.unclear("user", at, "the list has no desktops or computers, so that %s may name who works on a ticket: "+
				"choose the column of those who leave", h.title(c.user))
		}
	}
	if choice.User == "" {
		guards := mayBeUser
		if c.user < 0 {
			guards |= namesPeople | unknown
		}
		at := slices.DeleteFunc(filled(guards), func(i int) bool { return h.flags(i, false) })
		if len(at) > 0 && (c.desktop >= 0 || c.computer >= 0 || c.user >= 0) {
			if c.user >= 0 {
				at = append([]int{c.user}, at...)
				return h.unclear("user", at, "it is not clear which column names the user: %s: choose one", h.titles(at))
			}
			return h.unclear("user", at, "one of these columns may name the owner of the desktops: %s: choose the user column, or none",
				h.titles(at))
		}
	}
	if c.desktop < 0 && choice.Computer == "" {
		machines := mayBeMachine
		if c.computer < 0 {
			machines |= ofMachine
		}
		halves := slices.ContainsFunc(h.names, func(name string) bool { return givenNames[fold(name)] })
		at := slices.DeleteFunc(filled(machines), func(i int) bool { return h.flags(i, true) || c.user >= 0 && h.namesOfPeople(i, halves) })
		if len(at) > 0 && (c.computer >= 0 || c.user >= 0) {
			if c.computer >= 0 {
				at = append([]int{c.computer}, at...)
				return h.unclear("computer", at, "it is not clear which column names the computer: %s: choose one", h.titles(at))
			}
			return h.unclear("computer", at, "all desktops of the users would be detached, but one of these columns may name the desktop: %s: "+
				"choose the computer column, or none", h.titles(at))
		}
	}
	if c.desktop < 0 && c.computer < 0 && c.user < 0 {
		if len(h.names) == 1 && strings.Contains(h.names[0], "  ") {
			return fmt.Errorf("its columns are only separated by spaces: %s: separate them by commas, semicolons or tabs", h.title(0))
		}
		if at := filled(mayBeUser); len(at) > 0 && choice.User == "" {
			return h.unclear("user", at, "the header row has no column desktop_id, computer or user; "+
				"one of these may name the users: %s: choose one", h.titles(at))
		}
		return fmt.Errorf("the header row has no column desktop_id, computer or user: its columns are %s", shown(strings.Join(h.names, ", ")))
	}
	return nil
}
