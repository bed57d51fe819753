package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/tasks"
)

// problem is a fault of a key such as "projects[0].alias". Its text has no value that may be
// a secret in the wrong place.
type problem struct{ key, text string }

// problems are in the order in which they were found.
type problems []problem

func (ps *problems) add(key, format string, args ...any) {
	*ps = append(*ps, problem{key, fmt.Sprintf(format, args...)})
}

// about reports whether a problem concerns key, a part of it, or what it is a part of.
func (ps problems) about(key string) bool {
	return slices.ContainsFunc(ps, func(p problem) bool { return within(p.key, key) || within(key, p.key) })
}

func within(key, whole string) bool {
	rest, ok := strings.CutPrefix(key, whole)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// sources maps a key to the source of its value: "line 3", or an environment variable.
type sources map[string]string

// of returns the source of key, or of the nearest key that contains it, as a prefix.
func (s sources) of(key string) string {
	for {
		if from, ok := s[key]; ok {
			return from + ": "
		}
		i := strings.LastIndexAny(key, ".[")
		if i < 0 {
			return ""
		}
		key = key[:i]
	}
}

// strict checks YAML against the type it is decoded into. The decoder's own strict mode
// names no path, quotes the values that it refuses, and does not check types with their own
// UnmarshalYAML. What cannot be decoded is removed from the document, so that the rest can
// be checked as well.
type strict struct {
	wrong problems
	from  sources
}

func (s *strict) check(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" && t != reflect.TypeFor[time.Time]() { // a schedule whose start is empty would begin at once
		return
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	want := ""
	switch {
	case t == reflect.TypeFor[SecretRef]():
		s.checkSecret(n, path)
		return
	case t == reflect.TypeFor[time.Time]():
		// The decoder takes a time without an offset to be in UTC, whatever the zone of a schedule.
		if _, err := time.Parse(time.RFC3339, n.Value); n.Kind != yaml.ScalarNode || err != nil {
			want = "is not a time with an offset such as 2026-11-30T18:00:00+08:00"
		}
	case t == reflect.TypeFor[tasks.Duration]():
		if n.Decode(new(tasks.Duration)) != nil {
			want = "is not a duration such as 90m, 12h or 30d"
		}
	case t == reflect.TypeFor[time.Duration]():
		if _, err := time.ParseDuration(n.Value); n.Kind != yaml.ScalarNode || n.Tag != "!!str" || err != nil {
			want = "is not a duration such as 30s, 5m or 2160h"
		}
	case t.Kind() == reflect.Struct:
		if n.Kind == yaml.MappingNode {
			s.checkKeys(n, t, path)
			return
		}
		want = "must be a mapping with keys"
	case t.Kind() == reflect.Slice:
		if n.Kind == yaml.SequenceNode {
			s.checkItems(n, t.Elem(), path)
			return
		}
		want = "must be a list: start each item with a dash"
	case n.Kind != yaml.ScalarNode && projectCredentials.MatchString(path):
		want = "must be the name of one of credentials: move this to the top-level key credentials, with a name"
	case n.Kind != yaml.ScalarNode:
		want = "must be a single value"
	case n.Decode(reflect.New(t).Interface()) != nil:
		switch t.Kind() {
		case reflect.Int:
			want = "is not a whole number"
		case reflect.Bool:
			want = "is neither true nor false"
		default:
			want = "is not a number"
		}
	}
	if want != "" {
		s.wrong.add(path, "%s", want)
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
}

func (s *strict) checkKeys(n *yaml.Node, t reflect.Type, path string) {
	seen := map[string]bool{}
	var known []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		if seen[key.Value] {
			s.wrong.add(at, "already defined here, and repeated on line %d", key.Line)
			continue
		}
		seen[key.Value] = true
		s.from[at] = fmt.Sprintf("line %d", key.Line)
		field, ok := fieldOf(t, key.Value)
		if !ok || key.Kind != yaml.ScalarNode {
			s.wrong.add(at, "no such key%s", moved[key.Value])
			continue
		}
		narrows := t == reflect.TypeFor[tasks.Selector]() || field == reflect.TypeFor[*tasks.Selector]()
		if narrows && (value.Tag == "!!null" || value.Kind == yaml.ScalarNode && value.Value == "") {
			s.wrong.add(at, "is empty, which would select all: remove the key, or give a value")
		}
		known = append(known, key, value)
		s.check(value, field, at)
	}
	n.Content = known
}

func (s *strict) checkItems(n *yaml.Node, t reflect.Type, path string) {
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		s.from[at] = fmt.Sprintf("line %d", item.Line)
		if item.Tag == "!!null" {
			s.wrong.add(at, "is empty")
		} else {
			s.check(item, t, at)
		}
		if item.Tag == "!!null" { // the decoder would skip it and renumber the others
			*item = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
			if t.Kind() == reflect.Struct {
				*item = yaml.Node{Kind: yaml.MappingNode}
			}
		}
	}
}

var projectCredentials = regexp.MustCompile(`^projects\[\d+\]\.credentials$`)

// moved says where keys of earlier versions are now.
var moved = map[string]string{
	"calls_per_second": ": use calls_per_minute in credentials",
	"reads_per_second": ": use reads_per_minute in credentials",
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkSecret rejects a secret in the file, and one in place of a variable's name.
func (s *strict) checkSecret(n *yaml.Node, path string) {
	before := len(s.wrong)
	var ref SecretRef
	if n.Kind != yaml.MappingNode {
		s.wrong.add(path, "a secret must not be in the configuration: write {env: NAME} or {file: PATH}")
	} else if s.checkKeys(n, reflect.TypeFor[SecretRef](), path); len(s.wrong) == before {
		switch err := n.Decode(&ref); {
		case err != nil || (ref.Env == "") == (ref.File == ""):
			s.wrong.add(path, "set either env or file")
		case ref.Env != "" && !variableName.MatchString(ref.Env):
			s.wrong.add(path+".env", "is not the name of an environment variable; do not write the secret itself here")
		}
	}
	if len(s.wrong) > before {
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
}

func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for f := range t.Fields() {
		if tag := f.Tag.Get("yaml"); tag == key && tag != "-" {
			return f.Type, true
		}
	}
	return nil, false
}
