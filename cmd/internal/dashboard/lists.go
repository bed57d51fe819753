package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/detachd/detachd/tasks/api"
)

// rowsShown is how many rows a page has.
const rowsShown = 100

// more leads through a list.
type more struct {
	First, Next string // addresses; empty: there is none
	Empty       bool   // nothing was found as far as it was looked
}

// more makes the links of a page of a list, beside the parameters it was asked for
// with.
func (v *visit) more(next string, rows int) more {
	q := v.URL.Query()
	q.Del("page_token")
	to := func(q url.Values) string {
		if len(q) == 0 {
			return v.URL.Path
		}
		return v.URL.Path + "?" + q.Encode()
	}
	m := more{Empty: rows == 0}
	if v.token() != "" {
		m.First = to(q)
	}
	if next != "" {
		q.Set("page_token", next)
		m.Next = to(q)
	}
	return m
}

func (v *visit) token() string { return v.URL.Query().Get("page_token") }

func (v *visit) param(name string) string { return v.URL.Query().Get(name) }

// fill reads a page of rows. The API's pages are short where little of what they
// look through is wanted, so it reads on a few times.
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

// choice is for choosing a project in a list.
type choice struct {
	Choices []string
	Bound   bool // one has to be chosen, as the key is for certain projects
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

// whole reads a field with a whole number; empty is 0.
func whole(name, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Detail: "nothing was done",
			Errors: []api.Fault{{Pointer: name, Detail: "is no whole number"}}}
	}
	return n, nil
}

// typedCount refuses what many desktops hang on unless their number was typed:
// that is what is to be understood before it is done.
func (v *visit) typedCount(n int) error {
	if n < mustType || v.PostFormValue("count") == strconv.Itoa(n) {
		return nil
	}
	return &api.Problem{Status: http.StatusBadRequest, Code: "not_confirmed",
		Detail: "nothing was done: type the number of desktops, " + strconv.Itoa(n) + ", to confirm. If that is not the number that you saw, look again: it has changed"}
}

// mustType is from how many desktops on their number has to be typed.
const mustType = 10
