package server

import (
	"bytes"
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

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// decode reads a body strictly: one JSON object without unknown or repeated fields, names
// in their exact case. If optional, an empty body is an empty object. Query parameters are
// refused: ?validate_only=true must not trigger the real operation. It uses encoding/json/v2,
// because version 1 reports neither the index of an element nor the time that it refuses.
func (r *request) decode(into any, optional bool) error {
	if err := r.query().err(); err != nil {
		return err
	}
	return r.decodeJSON(into, optional)
}

// isJSON refuses a body of another type; send says what is taken instead.
func (r *request) isJSON(send string) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); (err != nil || kind != "application/json") && r.ContentLength != 0 {
		return problem(http.StatusUnsupportedMediaType, "media_type", "the body has another type; nothing was changed: send %s", send)
	}
	return nil
}

func (r *request) decodeJSON(into any, optional bool) error {
	if err := r.isJSON("application/json"); err != nil {
		return err
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
	// null would pass as an empty object.
	if begins := bytes.TrimLeft(text, " \t\r\n"); len(begins) > 0 && begins[0] != '{' {
		return fault("", "the body is not a JSON object")
	}
	err := json.Unmarshal(text, into, json.RejectUnknownMembers(true), json.WithUnmarshalers(times))
	var syntax *jsontext.SyntacticError
	var meaning *json.SemanticError
	switch {
	case err == nil:
		return checkEmpty(text, into)
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return fault(short(syntax.JSONPointer), "is given twice")
	case errors.As(err, &syntax):
		return fault(short(syntax.JSONPointer), "is not valid JSON at byte %d: %.100v", syntax.ByteOffset, syntax.Err)
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &meaning):
		return fault(short(meaning.JSONPointer), "is an unknown field%s",
			alternative(meaning.JSONPointer.LastToken(), jsonNames(meaning.GoType)))
	case errors.As(err, &meaning):
		return fault(short(meaning.JSONPointer), "is not %s", wanted(meaning.GoType))
	}
	return fault("", "the body is not a JSON object")
}

// narrowing are the fields of bodies that narrow what is done. Somebody's variable that came out
// empty must not make it all.
var narrowing = map[reflect.Type]*regexp.Regexp{
	reflect.TypeFor[*api.ApproveRequest]():      regexp.MustCompile(`^/plan$`),
	reflect.TypeFor[*api.CancellationRequest](): regexp.MustCompile(`^/(filter/.*|matched)$`),
	reflect.TypeFor[*api.DismissRequest]():      regexp.MustCompile(`^/(filter/.*|matched)$`),
	reflect.TypeFor[*api.KeyRequest]():          regexp.MustCompile(`^/desktops_per_(hour|day)$`),
	reflect.TypeFor[*api.RecallRequest]():       regexp.MustCompile(`^/(source|ticket|project)$`),
	reflect.TypeFor[*api.RedriveRequest]():      regexp.MustCompile(`^/filter/`),
	reflect.TypeFor[*api.RetryRequest]():        regexp.MustCompile(`^/code$`),
	reflect.TypeFor[*api.ScheduleRequest]():     regexp.MustCompile(`^/source/(not_in/)?selector/(pool|tag|computer|user)$`),
}

// nullable are the fields that may be null, as programs send their records: nothing more is detached
// by it, and nothing earlier.
var (
	nullable            = regexp.MustCompile(`^/(reason|ticket|owner)$`)
	nullableOfOperation = regexp.MustCompile(
		`^/(reason|ticket|desktops|users|computers|unknown_users|allow_shared|shutoff_after_detach|urgent|deadline)$`)
)

// checkEmpty refuses values that would count as omitted: null, unless the field is nullable, and an
// empty text or 0 in a field that narrows. text has been decoded.
func checkEmpty(text []byte, into any) error {
	narrow, null := narrowing[reflect.TypeOf(into)], nullable
	switch into.(type) {
	case *api.OperationRequest, *planRequest:
		null = nullableOfOperation
	}
	if narrow == nil && !bytes.Contains(text, []byte("null")) {
		return nil
	}
	for dec := jsontext.NewDecoder(bytes.NewReader(text)); ; {
		token, err := dec.ReadToken()
		if err != nil {
			return nil // the end
		}
		what, at := "", dec.StackPointer()
		switch kind := token.Kind(); {
		case kind == 'n' && !null.MatchString(string(at)):
			what = "null"
		case narrow == nil || !narrow.MatchString(string(at)):
		case kind == '"' && token.String() == "":
			what = "empty"
		case kind == '0' && strings.TrimPrefix(token.String(), "-") == "0":
			what = "0"
		}
		if what != "" {
			return fault(short(at), "is %s: leave it out, or give a value", what)
		}
	}
}

// times decodes times with api.ParseTime.
var times = json.UnmarshalFromFunc(func(dec *jsontext.Decoder, t *time.Time) error {
	if dec.PeekKind() != '"' {
		return errors.ErrUnsupported // so it falls back to the default, which refuses it
	}
	var text string
	err := json.UnmarshalDecode(dec, &text)
	if err == nil {
		*t, err = api.ParseTime(text)
	}
	return err
})

// wanted says what a field of the type takes, for people.
func wanted(t reflect.Type) string {
	if t == nil {
		return "of the right type"
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		return "a time such as 2026-11-30T18:00:00+08:00"
	case reflect.TypeFor[tasks.Duration]():
		return "a length of time such as 90m, 12h or 30d"
	case reflect.TypeFor[api.NotBefore]():
		return `a time such as 2026-11-30T18:00:00+08:00, or "now"`
	case reflect.TypeFor[api.Since]():
		return "a time such as 2026-11-30T18:00:00+08:00, or a duration such as 30d"
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

// short cuts a long pointer between segments: the caller decides how long it is.
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

var indexed = regexp.MustCompile(`^([a-z_.]+)\[(.+)\]$`)

// pointerOf turns the name of a field of tasks.Request, such as "desktops[17]" or
// "source.users[3]", into a JSON pointer, "/desktops/17" or "/source/users/3".
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
	p := jsontext.Pointer("")
	for part := range strings.SplitSeq(name, ".") {
		p = p.AppendToken(part)
	}
	if index != "" {
		if id, err := strconv.Unquote(index); err == nil {
			index = id
		}
		p = p.AppendToken(index)
	}
	return string(p)
}

// query has the parameters of a request, all of which must be readable and known.
type query struct {
	values url.Values
	faults []api.Fault
	token  error // of page_token
}

func (r *request) query(known ...string) *query {
	values, err := url.ParseQuery(r.URL.RawQuery) // URL.Query drops what it cannot read, such as validate_only=true;x
	q := &query{values: values}
	if err != nil {
		q.bad("", "cannot be read, %v: within a value write %%25 for %%, %%3B for ; and %%26 for &", err)
	}
	for name, values := range q.values {
		switch {
		case !slices.Contains(known, name):
			q.bad(name, "is an unknown parameter%s", alternative(name, known))
		case len(values) > 1 && name != "state":
			q.bad(name, "is given twice")
		}
	}
	if sealed := q.text("page_token"); sealed != "" && slices.Contains(known, "page_token") {
		var place string
		place, q.token = r.openToken(sealed)
		q.values.Set("page_token", place)
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
		// An unescaped + arrives as a space.
		if t, err = api.ParseTime(strings.Replace(v, " ", "+", 1)); err != nil {
			q.bad(name, "%.60q is not a time such as 2026-11-30T18:00:00Z", v)
		}
	}
	return t
}

// start is a time, or the word now.
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

// whole is a whole number, 0 or more; def if there is none.
func (q *query) whole(name string, def int) int {
	v := q.text(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		q.bad(name, "%.60q is not a whole number, 0 or more", v)
		return def
	}
	return n
}

const (
	defaultPage = 100
	largestPage = 1000
)

// size is page_size.
func (q *query) size() int {
	v := q.text("page_size")
	if v == "" {
		return defaultPage
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > largestPage {
		q.bad("page_size", "%.60q is not 1 to %d", v, largestPage)
		return defaultPage
	}
	return n
}

// err reports all that is wrong with the query.
func (q *query) err() error {
	if len(q.faults) == 0 {
		return q.token
	}
	p := problem(http.StatusBadRequest, api.CodeInvalid, "the query is invalid: correct the parameters, then send it again")
	p.Errors = q.faults[:min(maxFaults, len(q.faults))]
	return p
}
