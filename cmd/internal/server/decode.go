package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/detachd/detachd/tasks/api"
)

// decode reads a body strictly: one JSON object without unknown or repeated
// fields, names in their exact case. An empty body is an empty object where
// optional says so. A parameter is refused: who sends ?validate_only=true must not
// be taken to want the deed. It is decoded by what Go's encoding/json became in version 2,
// as version 1 names neither the element of a list nor a time that it refuses.
func (r *request) decode(into any, optional bool) error {
	if err := r.query().err(); err != nil {
		return err
	}
	return r.decodeJSON(into, optional)
}

func (r *request) decodeJSON(into any, optional bool) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); (err != nil || kind != "application/json") && r.ContentLength != 0 {
		return problem(http.StatusUnsupportedMediaType, "media_type", "send application/json")
	}
	text, err := r.read()
	if err != nil {
		return err
	}
	if len(text) == 0 && optional {
		return nil
	}
	return decodeText(text, into)
}

func decodeText(text []byte, into any) error {
	// null would pass as an object that says nothing.
	if begins := bytes.TrimLeft(text, " \t\r\n"); len(begins) > 0 && begins[0] != '{' {
		return fault("", "the body is no JSON object")
	}
	err := json.Unmarshal(text, into, json.RejectUnknownMembers(true), json.WithUnmarshalers(times))
	var syntax *jsontext.SyntacticError
	var meaning *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return fault(short(syntax.JSONPointer), "is there twice")
	case errors.As(err, &syntax):
		return fault(short(syntax.JSONPointer), "is no JSON at byte %d: %.100v", syntax.ByteOffset, syntax.Err)
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &meaning):
		return fault(short(meaning.JSONPointer), "there is no such field")
	case errors.As(err, &meaning):
		return fault(short(meaning.JSONPointer), "is not %s", wanted(meaning.GoType))
	}
	return fault("", "the body is no JSON object")
}

// times reads times as api.ParseTime does.
var times = json.UnmarshalFromFunc(func(dec *jsontext.Decoder, t *time.Time) error {
	if dec.PeekKind() != '"' {
		return errors.ErrUnsupported // by this, and so treated as any time is
	}
	var text string
	err := json.UnmarshalDecode(dec, &text)
	if err == nil {
		*t, err = api.ParseTime(text)
	}
	return err
})

// wanted names what a type takes, for people.
func wanted(t reflect.Type) string {
	if t == nil {
		return "what it has to be"
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		return "a time such as 2026-11-30T18:00:00+08:00"
	case reflect.TypeFor[api.NotBefore]():
		return `a time such as 2026-11-30T18:00:00+08:00, or "now"`
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Int:
		return "a whole number"
	}
	return "an object"
}

// short cuts a pointer at a part's end, as who sends nonsense decides how long it is.
func short(p jsontext.Pointer) string {
	const longest = 200
	if len(p) <= longest {
		return string(p)
	}
	if cut := strings.LastIndexByte(string(p[:longest]), '/'); cut > 0 {
		return string(p[:cut])
	}
	return strings.ToValidUTF8(string(p[:60]), "")
}

var indexed = regexp.MustCompile(`^([a-z_]+)\[(.+)\]$`)

// pointerOf turns "desktops[17]" into "/desktops/17". Fields are named as
// tasks.Request has them.
func pointerOf(field string) string {
	name, index := field, ""
	if m := indexed.FindStringSubmatch(field); m != nil {
		name, index = m[1], m[2]
	}
	switch name {
	case "idempotency_key":
		return "Idempotency-Key" // a header
	case "expect":
		name = "expected_users"
	}
	p := jsontext.Pointer("").AppendToken(name)
	if index != "" {
		if id, err := strconv.Unquote(index); err == nil {
			index = id
		}
		p = p.AppendToken(index)
	}
	return string(p)
}

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
			q.bad(name, "there is no such parameter; known: %s", cmp.Or(strings.Join(known, ", "), "none"))
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
		// A + that was not escaped has become a space.
		if t, err = api.ParseTime(strings.Replace(v, " ", "+", 1)); err != nil {
			q.bad(name, "%.60q is no time such as 2026-11-30T18:00:00Z", v)
		}
	}
	return t
}

// start is time, or the word now.
func (q *query) start(name string) api.NotBefore {
	if q.text(name) == "now" {
		return api.NotBefore{Now: true}
	}
	return api.NotBefore{At: q.time(name)}
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

// whole is a whole number, 0 or more; without one it is the default.
func (q *query) whole(name string, def int) int {
	v := q.text(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		q.bad(name, "%.60q is no whole number, 0 or more", v)
		return def
	}
	return n
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
