package apiclient

import (
	"bytes"
	"encoding/json"
	"errors"
)

// text is a string of a reply that decides nothing, so that a number, a null or
// an object in its place must not make the whole reply unreadable.
type text string

// UnmarshalJSON takes any JSON value; what is not a string stays as written.
func (t *text) UnmarshalJSON(raw []byte) error {
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

func firstText(texts ...text) text {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

var (
	errEmptyReply = errors.New("the reply is empty")
	errNotObject  = errors.New("the reply is not a JSON object")
)

// decodeObject is json.Unmarshal for replies: null and other values that
// Unmarshal would take for an empty struct are errors.
func decodeObject(body []byte, into any) error {
	body = bytes.TrimSpace(body)
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
