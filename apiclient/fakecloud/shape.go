package fakecloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf16"
)

// Shape is a way in which a reply may differ from Huawei's SDK for Go and mean the same.
// Services of this kind have shown each of them.
type Shape string

// Shapes. Those of Config.Shapes are applied together to every 200.
const (
	Nulls            Shape = "nulls"              // empty values are null
	Omitted          Shape = "omitted"            // empty values are absent
	UnknownFields    Shape = "unknown fields"     // every object has fields of a later version
	NumbersAsStrings Shape = "numbers as strings" // "5"
	Floats           Shape = "floats"             // 5.0
	BoolsAsStrings   Shape = "bools as strings"   // "true"
	AddressList      Shape = "address list"       // addresses is a list, as in the published example
	NoTotal          Shape = "no total"           // total_count, or count, is null
	ByteOrderMark    Shape = "byte order mark"    // before the body
	EscapedText      Shape = "escaped text"       // every character of a text is \uXXXX
)

// AllShapes lists them.
var AllShapes = []Shape{
	Nulls, Omitted, UnknownFields, NumbersAsStrings, Floats, BoolsAsStrings, AddressList, NoTotal, ByteOrderMark, EscapedText,
}

// shapes are the wanted shapes of a reply.
type shapes []Shape

func (s shapes) has(one Shape) bool { return slices.Contains(s, one) }

// of returns a body in the shapes.
func (s shapes) of(body []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if len(s) == 0 || dec.Decode(&v) != nil {
		return body
	}
	out := &bytes.Buffer{}
	if s.has(ByteOrderMark) {
		out.WriteString("\ufeff")
	}
	s.write(out, s.change("", v))
	return out.Bytes()
}

// change returns a value, which is the field name, in the shapes.
func (s shapes) change(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if name == "addresses" && s.has(AddressList) {
			return []any{map[string]any{"address": "192.168.0.10", "version": 4}}
		}
		for k, field := range v {
			switch field = s.change(k, field); {
			case field == nil && s.has(Omitted):
				delete(v, k)
			default:
				v[k] = field
			}
		}
		if s.has(UnknownFields) {
			v["x_new"] = map[string]any{"desktop_id": "not-this-one", "list": []any{map[string]any{}}}
			v["deprecated_"] = nil
		}
		return v
	case []any:
		for i := range v {
			v[i] = s.change("", v[i])
		}
		// Without a total only an empty list says that there is nothing.
		list := name == "desktops" || name == "users" || name == "items"
		if len(v) == 0 && s.empties() && (!list || !s.has(NoTotal)) {
			return nil
		}
	case string:
		if v == "" && s.empties() {
			return nil
		}
	case json.Number:
		if (name == "total_count" || name == "count") && s.has(NoTotal) {
			return nil
		}
		if s.has(Floats) {
			v += ".0"
		}
		if s.has(NumbersAsStrings) {
			return v.String()
		}
		return v
	case bool:
		switch {
		case !v && s.empties(): // absent: no
			return nil
		case s.has(BoolsAsStrings):
			return strconv.FormatBool(v)
		}
	}
	return v
}

func (s shapes) empties() bool { return s.has(Nulls) || s.has(Omitted) }

// write encodes a value of change.
func (s shapes) write(out *bytes.Buffer, v any) {
	switch v := v.(type) {
	case map[string]any:
		before := byte('{')
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out.WriteByte(before)
			out.Write(marshal(k)) // names are not escaped
			out.WriteByte(':')
			s.write(out, v[k])
			before = ','
		}
		if before == '{' {
			out.WriteByte('{')
		}
		out.WriteByte('}')
	case []any:
		out.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			s.write(out, item)
		}
		out.WriteByte(']')
	case string:
		if !s.has(EscapedText) {
			out.Write(marshal(v))
			return
		}
		out.WriteByte('"')
		for _, unit := range utf16.Encode([]rune(v)) {
			fmt.Fprintf(out, `\u%04x`, unit)
		}
		out.WriteByte('"')
	default:
		out.Write(marshal(v))
	}
}
