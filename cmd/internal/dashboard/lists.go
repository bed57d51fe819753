package dashboard

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks/api"
)

// rowsShown is the number of rows per page.
const rowsShown = 100

// more has the links between pages of a list, and which rows a page has.
type more struct {
	First, Prev, Next string // URLs; empty: no such page
	Empty             bool   // no match so far, and the list goes on
	From, To          int    // numbers of the first and the last row
	Total             int    // -1: unknown
}

// of sets how many rows the list has, where that is cheap to know.
func (m more) of(total int) more {
	m.Total = max(total, m.To) // the rows were read a moment later
	return m
}

// counted asks how many rows the list has, unless this page has all of them.
func (m more) counted(count func() (int, error)) (more, error) {
	if m.whole() {
		return m, nil
	}
	total, err := count()
	if total < 0 || err != nil {
		return m, err
	}
	return m.of(total), nil
}

// whole reports that all rows are on this page.
func (m more) whole() bool { return m.First == "" && m.Next == "" }

// address makes a URL of our own.
func address(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// mostBack is how many pages a visitor can go back one by one. Tokens of pages only lead
// forward, so the URL keeps those of the pages before.
const mostBack = 20

// more makes the links of a page of a list. They keep the other parameters.
func (v *visit) more(next string, rows int) more {
	q := v.URL.Query()
	token, back := q.Get("page_token"), q["back"]
	first, _ := strconv.Atoi(q.Get("first")) // 0 if somebody changed it
	first = min(max(first, 1), 1_000_000_000)
	for _, name := range []string{"page_token", "back", "first"} {
		q.Del(name)
	}
	m := more{Empty: rows == 0, From: first, To: first + rows - 1, Total: -1}
	if token != "" {
		m.First = address(v.URL.Path, q)
	}
	if n := len(back); n > 0 {
		at, before, _ := strings.Cut(back[n-1], "~")
		m.Prev = address(v.URL.Path, onPage(q, before, at, back[:n-1]))
	}
	if next != "" {
		back = append(slices.Clone(back), strconv.Itoa(first)+"~"+token)
		m.Next = address(v.URL.Path, onPage(q, next, strconv.Itoa(m.To+1), back[max(0, len(back)-mostBack):]))
	} else {
		m.Total = m.To
	}
	return m
}

// onPage adds the parameters of a page.
func onPage(q url.Values, token, first string, back []string) url.Values {
	out := maps.Clone(q)
	if token != "" {
		out["page_token"], out["first"], out["back"] = []string{token}, []string{first}, back
	}
	return out
}

var operationViews = []string{"open", "scheduled", "waiting"}

// toggled is the address of the first page with a parameter, or without it if it is set.
func (v *visit) toggled(name, value string) string {
	q := v.URL.Query()
	is := q.Get(name)
	gone := []string{name, "page_token", "back", "first"}
	if slices.Contains(operationViews, name) { // an operation is in one of these lists only
		gone = append(gone, operationViews...)
	}
	for _, other := range gone {
		q.Del(other)
	}
	if is == "" {
		q.Set(name, value)
	}
	for other, all := range q { // forms send empty fields
		if len(all) == 1 && all[0] == "" {
			q.Del(other)
		}
	}
	return address(v.URL.Path, q)
}

func (v *visit) token() string { return v.URL.Query().Get("page_token") }

func (v *visit) param(name string) string { return v.URL.Query().Get(name) }

// fill reads a page of rows. It continues a few times, because a page of the API is short
// if few of the rows it searched match.
func fill[T any](token string, read func(size int, token string) ([]T, string, error)) (rows []T, next string, err error) {
	for range 5 {
		page, to, err := read(rowsShown-len(rows), token)
		if err != nil {
			return nil, "", err
		}
		rows, token = append(rows, page...), to
		if to == "" || len(rows) >= rowsShown {
			break
		}
	}
	return rows, token, nil
}

// choice is the selection of a project.
type choice struct {
	Choices []string
	Bound   bool // required, because the key is limited to projects
	Project string
}

func (v *visit) choose(project string) (choice, error) {
	list, err := v.api.Projects(v.Context())
	c := choice{Bound: len(v.key.Projects) > 0, Project: project}
	for _, p := range list {
		c.Choices = append(c.Choices, p.Alias)
	}
	slices.Sort(c.Choices)
	if c.Bound && c.Project == "" && len(c.Choices) > 0 {
		c.Project = c.Choices[0]
	}
	return c, err
}

// wholeNumber parses a field; empty is 0.
func wholeNumber(name, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, invalidField(name, "is not a whole number")
	}
	return n, nil
}

// invalidField is the problem of one field.
func invalidField(name, detail string) *api.Problem {
	return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Errors: []api.Fault{{Pointer: name, Detail: detail}}}
}

// confirmCount refuses an action on many desktops unless their number was typed, so that
// the visitor has noticed how many they are.
func (v *visit) confirmCount(n int) error {
	if n < confirmFrom || v.PostFormValue("count") == strconv.Itoa(n) {
		return nil
	}
	return &api.Problem{Status: http.StatusBadRequest, Code: "not_confirmed",
		Detail: "type the number of desktops, " + strconv.Itoa(n) + ", to confirm. If you saw another number, it has changed since"}
}

// changed is the problem of a confirmation that is about something else by now.
func changed(format string, args ...any) *api.Problem {
	return &api.Problem{Status: http.StatusConflict, Code: "changed", Detail: fmt.Sprintf(format, args...)}
}

// confirmFrom is the number of desktops from which on it must be typed.
const confirmFrom = 10

// reason is why somebody does something, for the audit log. The forms require it.
func (v *visit) reason() (string, error) {
	if err := v.ParseForm(); err != nil {
		return "", badForm(err)
	}
	text := strings.TrimSpace(v.PostFormValue("reason"))
	if text == "" {
		return "", invalidField("reason", "is missing: write why, for the audit log")
	}
	return text, nil
}
