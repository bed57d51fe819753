package apiclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
)

// text is a string in a reply. A number, a null or an object instead of the string must
// not make the whole reply unreadable.
type text string

// UnmarshalJSON accepts any JSON value; a value other than a string stays as written.
func (t *text) UnmarshalJSON(raw []byte) error {
	if plain, ok := plainString(raw); ok {
		*t = text(plain)
		return nil
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil {
		*t = text(raw)
		return nil
	}
	*t = ""
	if s != nil {
		*t = text(*s)
	}
	return nil
}

// plainString reads a string of printable ASCII without escapes. Nearly all of the about
// 2,000 strings of a list are plain, and this takes a quarter of json.Unmarshal's time.
func plainString(raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c < ' ' || c > '~' || c == '\\' || c == '"' {
			return nil, false
		}
	}
	return inner, true
}

func firstText(texts ...text) text {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// spelled returns a value as text, without the quotes of a string.
func spelled(raw []byte) string {
	var t text
	_ = t.UnmarshalJSON(raw) // it accepts everything
	return string(t)
}

// number is a whole number, possibly in a string; any other value is noNumber.
type number int

const noNumber number = -1

// UnmarshalJSON accepts any JSON value.
func (n *number) UnmarshalJSON(b []byte) error {
	*n = noNumber
	s := spelled(b)
	if i, err := strconv.Atoi(s); err == nil && i >= 0 {
		*n = number(i)
	} else if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f <= math.MaxInt32 && f == math.Trunc(f) {
		*n = number(f)
	}
	return nil
}

// or returns n, or fallback if n is nil or noNumber.
func (n *number) or(fallback int) int {
	if n == nil || *n == noNumber {
		return fallback
	}
	return int(*n)
}

// total returns n, or nil without a number.
func (n *number) total() *int {
	i := n.or(-1)
	if i < 0 {
		return nil
	}
	return &i
}

// guard is a boolean that forbids something, possibly in a string. An absent one, null and ""
// are false; a value that is not understood forbids.
type guard bool

// UnmarshalJSON accepts any JSON value.
func (g *guard) UnmarshalJSON(b []byte) error {
	switch strings.ToLower(spelled(b)) {
	case "", "false", "0":
		*g = false
	default:
		*g = true
	}
	return nil
}

// flag is a guard that says whether its value was understood.
type flag struct {
	guard  guard
	unread bool
}

// UnmarshalJSON accepts any JSON value.
func (f *flag) UnmarshalJSON(b []byte) error {
	f.unread = !slices.Contains([]string{"", "false", "0", "true", "1"}, strings.ToLower(spelled(b)))
	return f.guard.UnmarshalJSON(b)
}

// maxTags is ample: the cloud allows 20 tags for a desktop.
const maxTags = 100

// tags decodes [{"key":"k","value":"v"}] as "k=v". A string in the list stays as it is. Any
// other entry, one beyond maxTags, and a value that is not a list, is skipped and unread.
type tags struct {
	list   []string
	unread bool
}

// UnmarshalJSON accepts any JSON value.
func (t *tags) UnmarshalJSON(b []byte) error {
	*t = tags{}
	var items []json.RawMessage
	if json.Unmarshal(b, &items) != nil {
		t.unread = spelled(b) != ""
		return nil
	}
	t.unread = len(items) > maxTags
	for _, raw := range items[:min(len(items), maxTags)] {
		var tag struct {
			Key   text `json:"key"`
			Value text `json:"value"`
		}
		var plain string
		switch {
		case json.Unmarshal(raw, &plain) == nil && plain != "":
			t.list = append(t.list, clip(plain, 2*maxName+1))
		case decodeObject(raw, &tag) == nil && tag.Key != "":
			t.list = append(t.list, clip(string(tag.Key), maxName)+"="+clip(string(tag.Value), maxName))
		default:
			t.unread = true
		}
	}
	return nil
}

var (
	errEmptyReply = errors.New("the reply is empty")
	errNotObject  = errors.New("the reply is not a JSON object")
)

// withoutMark removes a byte order mark, which some gateways put before JSON.
func withoutMark(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\ufeff")) }

// decodeObject is json.Unmarshal for replies: null and other values that Unmarshal would
// decode as an empty struct are errors.
func decodeObject(body []byte, into any) error {
	body = bytes.TrimSpace(withoutMark(body))
	switch {
	case len(body) == 0:
		return errEmptyReply
	case body[0] != '{':
		return errNotObject
	}
	return json.Unmarshal(body, into)
}

// encodeBody is json.Marshal without the escaping of <, > and &.
func encodeBody(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
