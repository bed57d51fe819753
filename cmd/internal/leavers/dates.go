package leavers

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// order says how the dates of a column are to be read.
type order int

const (
	either     order = iota // no date of the column tells
	dayFirst                // 31/12/2026
	monthFirst              // 12/31/2026
	noDates                 // those of the column have nothing to do with leaving
)

// The forms in which spreadsheets, directories and HR systems write dates, with a time or without.
var (
	yearFirst      = regexp.MustCompile(`^(\d{4})(?:[-/.]|\s?年\s?)(\d{1,2})(?:[-/.]|\s?月\s?)(\d{1,2})(?:日.*|[T ,(Z+].*)?$`)
	yearLast       = regexp.MustCompile(`^(\d{1,2})([-/.])\s?(\d{1,2})[-/.]\s?(\d{4}|\d{2})(?:[ ,()T].*)?$`)
	monthInMid     = regexp.MustCompile(`^(\d{1,2})(?:\pL\pL|º|\.)?[-/ ]?\s?(?:de )?(\pL{3,12})\.?[-/, ]\s?(?:de )?(\d{4}|\d{2})(?:\D.*)?$`)
	monthFirstName = regexp.MustCompile(`^(\pL{3,12})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})(?:\D.*)?$`)
	reiwa          = regexp.MustCompile(`^(?:令和|R)\s?(\d{1,2})[年.](\d{1,2})[月.](\d{1,2})(?:\D.*)?$`)
	yearMonth      = regexp.MustCompile(`^(\d{4})(?:[-/.]|\s?年\s?)(\d{1,2})(?:\s?月)?$`)
	monthYear      = regexp.MustCompile(`^(\d{1,2}|\pL{3,12}\.?)(?:[-/. ]|\s?de\s)(\d{4})$`)
	compact        = regexp.MustCompile(`^(\d{4})(\d\d)(\d\d)$`)
	serial         = regexp.MustCompile(`^(\d{5})(?:[.,]\d+)?$`)
	clock          = regexp.MustCompile(`\b(\d{1,2}):(\d{2})(?::\d{2}(?:\.\d+)?)?(?: ?([AaPp])\.?[Mm])?`)
	before         = regexp.MustCompile(`^[\pL.]{2,12},? +(\d.*|\pL{3,12}\.? \d.*)$`) // a weekday, or a word
)

// months are what the names of the months begin with, as fold makes them.
var months = func(begins [12][]string) [12][]string {
	for _, month := range begins {
		for i, b := range month {
			month[i] = fold(b)
		}
	}
	return begins
}([12][]string{
	{"jan", "janv", "ene", "gen", "sty", "oca", "янв"}, {"feb", "fev", "fevr", "lut", "şub", "фев"},
	{"mar", "mrz", "maa", "мар"}, {"apr", "avr", "abr", "kwi", "nis", "апр"}, {"may", "mai", "maj", "mei", "mag", "май", "мая"},
	{"jun", "juin", "giu", "cze", "haz", "июн"}, {"jul", "juil", "lug", "lip", "tem", "июл"},
	{"aug", "aou", "ago", "sie", "agu", "авг"},
	{"sep", "set", "wrz", "eyl", "сен"}, {"oct", "okt", "out", "ott", "paz", "eki", "окт"}, {"nov", "lis", "kas", "ноя"},
	{"dec", "dez", "dic", "des", "gru", "ara", "дек"},
})

func monthOf(name string) int {
	key := fold(name)
	for i, begins := range months {
		for _, b := range begins {
			if strings.HasPrefix(key, b) {
				return i + 1
			}
		}
	}
	return 0
}

// Only texts of so many bytes are read as dates; a spreadsheet's number of a day has five.
const shortestDate, longestDate = 5, 60

// readDate gives the dates that a text may be: none, one, or two if days and months may be meant
// either way.
func readDate(text string, dates bool, o order) (out []time.Time) {
	if len(text) < shortestDate || len(text) > longestDate || !strings.ContainsAny(text, "0123456789０１２３４５６７８９") {
		return nil
	}
	text = norm.NFKC.String(text)
	if m := before.FindStringSubmatch(text); m != nil && monthFirstName.FindString(text) == "" {
		text = m[1]
	}
	add := func(year string, month int, day string) {
		y, _ := strconv.Atoi(year)
		if d, _ := strconv.Atoi(day); month >= 1 && month <= 12 {
			if len(year) == 2 {
				y += 2000
			}
			if t := time.Date(y, time.Month(month), d, 0, 0, 0, 0, time.UTC); t.Day() == d && y >= 1900 {
				out = append(out, t.Add(timeOfDay(text)))
			}
		}
	}
	number := func(s string) int {
		n, _ := strconv.Atoi(s)
		return n
	}
	if m := yearFirst.FindStringSubmatch(text); m != nil {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return []time.Time{t}
		}
		add(m[1], number(m[2]), m[3])
	} else if m := yearLast.FindStringSubmatch(text); m != nil {
		if len(m[4]) == 2 && !dates {
			return nil // a version, or a part of an address
		}
		if o != monthFirst {
			add(m[4], number(m[3]), m[1])
		}
		if o != dayFirst && m[2] != "." {
			add(m[4], number(m[1]), m[3])
		}
	} else if m := monthInMid.FindStringSubmatch(text); m != nil {
		add(m[3], monthOf(m[2]), m[1])
	} else if m := monthFirstName.FindStringSubmatch(text); m != nil {
		add(m[3], monthOf(m[1]), m[2])
	} else if m := reiwa.FindStringSubmatch(text); m != nil && dates {
		add(strconv.Itoa(2018+number(m[1])), number(m[2]), m[3])
	} else if m := compact.FindStringSubmatch(text); m != nil && dates {
		add(m[1], number(m[2]), m[3])
	} else if m := serial.FindStringSubmatch(text); m != nil && dates {
		out = append(out, time.Date(1899, 12, 30+number(m[1]), 0, 0, 0, 0, time.UTC))
	}
	return out
}

// lastOfMonth is the last day of a month such as 12/2026 or "Oktober 2026"; zero for another text.
func lastOfMonth(text string) time.Time {
	var year, month string
	if len(text) > longestDate {
		return time.Time{}
	}
	if m := yearMonth.FindStringSubmatch(text); m != nil {
		year, month = m[1], m[2]
	} else if m := monthYear.FindStringSubmatch(text); m != nil {
		year, month = m[2], m[1]
	}
	y, _ := strconv.Atoi(year)
	n, err := strconv.Atoi(month)
	if err != nil {
		n = monthOf(month)
	}
	if y < 1900 || n < 1 || n > 12 {
		return time.Time{}
	}
	return time.Date(y, time.Month(n)+1, 0, 0, 0, 0, 0, time.UTC)
}

// timeOfDay is the time in a text, or midnight.
func timeOfDay(text string) time.Duration {
	m := clock.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	hour, _ := strconv.Atoi(m[1])
	minute, _ := strconv.Atoi(m[2])
	if m[3] != "" {
		hour %= 12
		if strings.EqualFold(m[3], "p") {
			hour += 12
		}
	}
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
}

// orderOf finds out from all dates of a column whether the day or the month is first.
func orderOf(rows []row, i int) order {
	for _, r := range rows {
		if m := yearLast.FindStringSubmatch(r.at(i)); m != nil && len(r.at(i)) <= longestDate {
			first, _ := strconv.Atoi(m[1])
			second, _ := strconv.Atoi(m[3])
			switch {
			case first > 12:
				return dayFirst
			case second > 12:
				return monthFirst
			}
		}
	}
	return either
}

// toCome reports whether a cell may be a date after now.
func (s saying) toCome(cell string, now time.Time) bool {
	if s.order == noDates {
		return false
	}
	is, known := s.future[cell]
	if !known {
		is = s.dates && lastOfMonth(cell).After(now) || anyAfter(readDate(cell, s.dates, s.order), now)
		if len(s.future) < mostKnown {
			s.future[cell] = is
		}
	}
	return is
}

func anyAfter(dates []time.Time, now time.Time) bool {
	return slices.ContainsFunc(dates, func(t time.Time) bool { return t.After(now) })
}

var (
	wordWithin  = regexp.MustCompile(`(?:^|[^\d\pL./-])([\d\pL])`)
	monthWithin = regexp.MustCompile(`(\pL{3,12})\.? (\d{4})`)
)

// namesDateToCome reports whether a title, such as "Leavers of December 2026", has a date or a month
// after now in it.
func namesDateToCome(text string, now time.Time) bool {
	text = norm.NFKC.String(text[:min(len(text), 1000)])
	for _, m := range monthWithin.FindAllStringSubmatch(text, -1) {
		year, _ := strconv.Atoi(m[2])
		if month := monthOf(m[1]); month > 0 && time.Date(year, time.Month(month), 1, 0, 0, 0, 0, time.UTC).After(now) {
			return true
		}
	}
	for _, at := range wordWithin.FindAllStringSubmatchIndex(text, -1) {
		begins, _, _ := strings.Cut(text[at[2]:], "|")
		if runes := []rune(begins); len(runes) > 20 { // a date, and what follows it
			begins = string(runes[:20])
		}
		if anyAfter(readDate(strings.TrimRight(begins, ")"), true, either), now) {
			return true
		}
	}
	return false
}
