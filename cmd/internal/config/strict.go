package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// knownKeys refuses keys that no field has, each by its path and line. The
// decoder's own strictness does not reach through a type with an UnmarshalYAML
// of its own, and names no path.
func knownKeys(text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	if len(doc.Content) == 0 {
		return nil
	}
	var errs []error
	check(doc.Content[0], reflect.TypeFor[Config](), "", func(n *yaml.Node, path string) {
		errs = append(errs, fmt.Errorf("line %d: %s: no such key", n.Line, path))
	})
	return errors.Join(errs...)
}

func check(n *yaml.Node, t reflect.Type, path string, unknown func(*yaml.Node, string)) {
	switch {
	case n.Kind == yaml.AliasNode:
		check(n.Alias, t, path, unknown)
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, e := range n.Content {
			check(e, t.Elem(), fmt.Sprintf("%s[%d]", path, i), unknown)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			at := strings.TrimPrefix(path+"."+key.Value, ".")
			if f, ok := fieldOf(t, key.Value); ok {
				check(n.Content[i+1], f, at, unknown)
			} else {
				unknown(key, at)
			}
		}
	}
}

func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for f := range t.Fields() {
		if f.Tag.Get("yaml") == key {
			return f.Type, true
		}
	}
	return nil, false
}
