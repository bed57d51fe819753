package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks/api"
)

// decode reads a body strictly: one JSON object without unknown fields. An empty
// body is an empty object where optional says so.
func (r *request) decode(into any, optional bool) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); (err != nil || kind != "application/json") && r.ContentLength != 0 {
		return problem(http.StatusUnsupportedMediaType, "media_type", "send application/json")
	}
	text, err := io.ReadAll(r.Body)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return problem(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than %d bytes", tooBig.Limit)
	case err != nil:
		return problem(http.StatusBadRequest, "unreadable", "the body could not be read")
	case len(text) == 0 && optional:
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	err = dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); errors.Is(more, io.EOF) {
			return nil
		}
		return fault("", "there is something after the object")
	}
	var kind *json.UnmarshalTypeError
	var when *time.ParseError
	switch {
	case errors.As(err, &kind):
		return fault("/"+strings.ReplaceAll(kind.Field, ".", "/"), "is a %s, and must not be", kind.Value)
	case errors.As(err, &when):
		return fault("", "%.60q is no time such as 2026-11-30T18:00:00Z", strings.Trim(when.Value, `"`))
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		name, quoteErr := strconv.Unquote(strings.TrimPrefix(err.Error(), "json: unknown field "))
		if quoteErr != nil {
			name = ""
		}
		return fault(fmt.Sprintf("/%.60s", name), "there is no such field")
	}
	return fault("", "the body is no JSON object")
}

var indexed = regexp.MustCompile(`\[("?)([^\]"]*)"?\]`)

// pointerOf turns "desktops[17]" into "/desktops/17".
func pointerOf(field string) string { return "/" + indexed.ReplaceAllString(field, "/$2") }

// query reads the parameters of a request, each of which must be known.
type query struct {
	values url.Values
	faults []api.Fault
}

func (r *request) query(known ...string) *query {
	q := &query{values: r.URL.Query()}
	for name, values := range q.values {
		switch {
		case !slices.Contains(known, name):
			q.bad(name, "there is no such parameter")
		case len(values) > 1 && name != "state":
			q.bad(name, "is given twice")
		}
	}
	slices.SortFunc(q.faults, func(a, b api.Fault) int { return strings.Compare(a.Pointer, b.Pointer) })
	return q
}

func (q *query) bad(name, format string, args ...any) {
	q.faults = append(q.faults, api.Fault{Pointer: fmt.Sprintf("%.60s", name), Detail: fmt.Sprintf(format, args...)})
}

func (q *query) text(name string) string { return q.values.Get(name) }

func (q *query) time(name string) (t time.Time) {
	if v := q.text(name); v != "" {
		var err error
		if t, err = time.Parse(time.RFC3339, v); err != nil {
			q.bad(name, "%.60q is no time such as 2026-11-30T18:00:00Z", v)
		}
	}
	return t
}

func (q *query) flag(name string) bool {
	switch v := q.text(name); v {
	case "", "false":
		return false
	case "true":
		return true
	default:
		q.bad(name, "%.60q is neither true nor false", v)
		return false
	}
}

const (
	usualPage   = 100
	largestPage = 1000
)

// size is page_size.
func (q *query) size() int {
	v := q.text("page_size")
	if v == "" {
		return usualPage
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > largestPage {
		q.bad("page_size", "%.60q is not 1 to %d", v, largestPage)
		return usualPage
	}
	return n
}

// err is what is wrong, all of it.
func (q *query) err() error {
	if len(q.faults) == 0 {
		return nil
	}
	p := problem(http.StatusBadRequest, api.CodeInvalid, "the query is not valid")
	p.Errors = q.faults[:min(maxFaults, len(q.faults))]
	return p
}
