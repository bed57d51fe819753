package apiclient

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// text is a string in a reply. A number, a null or an object instead of the string must
// not make the whole reply unreadable.
type text string

// UnmarshalJSON accepts any JSON value; a value other than a string stays as written.
func (t *text) UnmarshalJSON(raw []byte) error {
	switch {
	case len(raw) > 0 && raw[0] == '"':
		*t = text(unquoted(raw))
	case string(raw) == "null":
		*t = ""
	default:
		*t = text(shared(raw))
	}
	return nil
}

// unquoted returns the content of a JSON string. What is not UTF-8 becomes U+FFFD.
func unquoted(raw []byte) string {
	if inner := raw[1 : len(raw)-1]; isPlain(inner) {
		return shared(inner)
	}
	content, _ := jsontext.AppendUnquote(nil, raw) // its error says that something was replaced
	return string(content)
}

// isPlain says whether what is between quotes is printable ASCII without escapes, as nearly all
// texts of a list are.
func isPlain(inner []byte) bool {
	for _, c := range inner {
		if c < ' ' || c > '~' || c == '\\' || c == '"' {
			return false
		}
	}
	return true
}

// shared is string(b), without an allocation for what most desktops show.
func shared(b []byte) string {
	switch string(b) {
	case "DEDICATED":
		return "DEDICATED"
	case "ACTIVE":
		return "ACTIVE"
	case "SHUTOFF":
		return "SHUTOFF"
	case "ATTACHED":
		return "ATTACHED"
	case "UNATTACH":
		return "UNATTACH"
	case "DEATTACHED":
		return "DEATTACHED"
	case "UNREGISTER":
		return "UNREGISTER"
	case "REGISTERED":
		return "REGISTERED"
	case "CONNECTED":
		return "CONNECTED"
	case "DISCONNECTED":
		return "DISCONNECTED"
	case "USER":
		return "USER"
	case "false":
		return "false"
	case "true":
		return "true"
	}
	return string(b)
}

func firstText(texts ...text) text {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// textList is a list of texts; what is not a list is none.
type textList []text

// UnmarshalJSONFrom accepts any JSON value.
func (l *textList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*l = nil
	if dec.PeekKind() != jsontext.KindBeginArray {
		return dec.SkipValue()
	}
	return eachItem(dec, func() error {
		if len(*l) == maxListed {
			return errTooMany
		}
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		var t text
		err = t.UnmarshalJSON(raw)
		*l = append(*l, t)
		return err
	})
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
	if s == "" {
		return nil // an error of Atoi would cost more than all of this
	}
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

// UnmarshalJSONFrom accepts any JSON value.
func (t *tags) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*t = tags{}
	if dec.PeekKind() != jsontext.KindBeginArray {
		raw, err := dec.ReadValue()
		t.unread = err == nil && spelled(raw) != ""
		return err
	}
	n := 0
	return eachItem(dec, func() error {
		if n++; n > maxTags {
			t.unread = true
			return dec.SkipValue()
		}
		tag, err := readTag(dec)
		if tag == "" {
			t.unread = true
			return err
		}
		t.list = append(t.list, tag)
		return err
	})
}

// readTag reads one entry; "" is one that says nothing.
func readTag(dec *jsontext.Decoder) (string, error) {
	switch dec.PeekKind() {
	case jsontext.KindString:
		raw, err := dec.ReadValue()
		if err != nil {
			return "", err
		}
		return clip(unquoted(raw), 2*maxName+1), nil
	case jsontext.KindBeginObject:
		var key, value text
		err := eachMember(dec, func(name []byte) any {
			switch string(name) {
			case "key":
				return &key
			case "value":
				return &value
			}
			return nil
		})
		if err != nil || key == "" {
			return "", err
		}
		return clip(string(key), maxName) + "=" + clip(string(value), maxName), nil
	}
	return "", dec.SkipValue()
}

// eachItem reads a list, and has item read each value of it. null is an empty list.
func eachItem(dec *jsontext.Decoder, item func() error) error {
	if begun, err := begin(dec, jsontext.KindBeginArray); !begun {
		return err
	}
	for dec.PeekKind() != jsontext.KindEndArray {
		if err := item(); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// eachMember reads an object, each value into the field of its name; a nil field is skipped. null is an
// empty object. It does what encoding/json does for a struct, in three quarters of the time.
func eachMember(dec *jsontext.Decoder, field func(name []byte) any) error {
	if begun, err := begin(dec, jsontext.KindBeginObject); !begun {
		return err
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		name, err := dec.ReadValue()
		if err != nil {
			return err
		}
		switch into := field(fieldName(name)).(type) {
		case *text: // nearly all
			var raw jsontext.Value
			if raw, err = dec.ReadValue(); err == nil {
				err = into.UnmarshalJSON(raw)
			}
		case nil:
			err = dec.SkipValue()
		default:
			err = json.UnmarshalDecode(dec, into)
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// begin reads the begin of a list or an object; false: it is null, or something else, which is an error.
func begin(dec *jsontext.Decoder, kind jsontext.Kind) (bool, error) {
	got := dec.PeekKind()
	if got != kind && got != jsontext.KindNull && got != jsontext.KindInvalid {
		return false, &json.SemanticError{JSONKind: got, ByteOffset: dec.InputOffset()}
	}
	_, err := dec.ReadToken()
	return err == nil && got == kind, err
}

// fieldName is the name of a member as our fields are called: in lower case. Names in any case match, as in
// encoding/json, and so do the two letters outside of ASCII that have the same lower case.
func fieldName(quoted []byte) []byte {
	name := quoted[1 : len(quoted)-1]
	for _, c := range name {
		if (c < 'a' || c > 'z') && c != '_' {
			return []byte(strings.ToLower(strings.ToUpper(unquoted(quoted))))
		}
	}
	return name
}

var (
	errEmptyReply = errors.New("the reply is empty")
	errNotObject  = errors.New("the reply is not a JSON object")
)

// withoutMark removes a byte order mark, which some gateways put before JSON.
func withoutMark(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\ufeff")) }

// lenient reads replies as encoding/json does, whose version 2 is stricter: names in any case, bytes
// that are not UTF-8, and repeated names, of which the last counts.
var lenient = json.JoinOptions(json.MatchCaseInsensitiveNames(true), jsonv1.MatchCaseSensitiveDelimiter(true),
	jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// decodeObject decodes the one JSON object of a reply. null and other values that would decode as
// an empty struct are errors. It uses encoding/json/v2, which reads a list of desktops in a third of
// the time of version 1.
func decodeObject(body []byte, into any) error {
	body = bytes.TrimSpace(withoutMark(body))
	switch {
	case len(body) == 0:
		return errEmptyReply
	case body[0] != '{':
		return errNotObject
	}
	return harmless(json.Unmarshal(body, into, lenient))
}

// harmless returns an error of decoding without what it quotes of the reply, which may be a secret.
func harmless(err error) error {
	if errors.Is(err, errTooMany) {
		return errTooMany
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("the reply is not JSON at byte %d: %v", syntax.ByteOffset, syntax.Err) //nolint:errorlint // not a network's error
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("the reply has a JSON %s at byte %d, where another kind of value belongs", semantic.JSONKind, semantic.ByteOffset)
	}
	return err
}

// encodeBody is json.Marshal of encoding/json without the escaping of <, > and &.
func encodeBody(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := stdjson.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
