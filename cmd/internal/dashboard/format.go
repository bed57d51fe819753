package dashboard

import (
	"fmt"
	"html/template"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
)

// funcs are the functions of templates.
var funcs = template.FuncMap{
	"text": harmless.Text, "long": long, "opening": opening,
	"stamp": stamp, "utc": utc, "exact": exact, "offset": offset, "iso": iso, "ago": ago, "took": took,
	"ms": func(n int64) string { return took(time.Duration(n) * time.Millisecond) },
	"n":  thousands, "plural": plural, "join": func(list []string) string { return strings.Join(list, ", ") },
	"query": query, "people": people, "userName": userName, "computerName": computerName, "stateText": report.StateText, "stateOf": stateOf,
	"states":        func() []tasks.State { return tasks.States },
	"outcomeStates": func() []tasks.State { return []tasks.State{tasks.StateDetached, tasks.StateHeld, tasks.StateFailed} },
	"usersBefore":   usersBefore, "plus": func(a, b int) int { return a + b }, "asset": assetPath, "share": share,
	"codeLink": codeLink, "wall": wallText, "scheduleOf": scheduleOf, "codeText": func(code string) codeText { return codeText{Code: code} },
	"groupings": func() []string { return []string{"code", "class", "project"} },
}

// scheduleOf is the schedule that requested an operation; empty: none.
func scheduleOf(requestedBy string) string {
	name, _ := strings.CutPrefix(requestedBy, tasks.ScheduleRequester(""))
	if name == requestedBy {
		return ""
	}
	return name
}

// stateOf is the state of a row in the words of its operation, which may be an undo.
func stateOf(op tasks.Operation, s tasks.State) string { return report.StateOf(op.UndoOf, s) }

// openingLength is about how many characters of a long text are shown folded.
const openingLength = 200

func long(s string) bool { return utf8.RuneCountInString(s) > openingLength+50 }

func opening(s string) string {
	r := []rune(s)
	return harmless.Text(string(r[:min(len(r), openingLength)])) + "…"
}

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago formats how long before or after now a time is.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d < -time.Second:
		return "in " + took(-d)
	case d < time.Second:
		return "now"
	default:
		return took(d) + " ago"
	}
}

// took formats a duration.
func took(d time.Duration) string { return when.Took(d) }

// thousands formats a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// share returns part in percent of whole, for the width of a bar.
func share(part, whole int) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// percent is share rounded down: 100 % is not said of 999 of 1,000.
func percent(part, whole int) string { return strconv.Itoa(int(share(part, whole))) + " %" }

// query makes a link of a path and pairs of parameter and value. Empty values are
// omitted.
func query(to string, pairs ...any) (string, error) {
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("a parameter of %s has no value", to)
	}
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v := pairs[i+1]
		if t, is := v.(time.Time); is {
			if v = ""; !t.IsZero() {
				v = iso(t)
			}
		}
		if text := fmt.Sprint(v); text != "" && !reflect.ValueOf(v).IsZero() {
			q.Set(fmt.Sprint(pairs[i]), text)
		}
	}
	if len(q) == 0 {
		return to, nil
	}
	return to + "?" + q.Encode(), nil
}

// className is a class in the words of people.
func className(class string) string {
	if class == string(tasks.ClassHeld) {
		return "on hold"
	}
	return class
}

// codeLink leads to the row of a code, and also names it to the page, which may not have it.
func codeLink(code string) string {
	return "/codes?code=" + url.QueryEscape(code) + "#" + url.PathEscape(code)
}

func people(list []tasks.Person) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.Name
		if p.Type == "GROUP" {
			out[i] += " (group)"
		}
	}
	return strings.Join(out, ", ")
}

// userName returns the user that a row names, or "" if it names none.
func userName(id string) string {
	if name, ok := tasks.UserOf(id); ok {
		return name
	}
	return ""
}

// computerName does the same for a computer.
func computerName(id string) string {
	if name, ok := tasks.ComputerOf(id); ok {
		return name
	}
	return ""
}

// usersBefore lists the users of a desktop as last read before a call.
func usersBefore(b *tasks.Before) string {
	if b == nil {
		return ""
	}
	if len(b.Users) == 0 {
		return "no users"
	}
	return people(b.Users)
}
