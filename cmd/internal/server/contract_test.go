package server

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi/datamodel"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

type object = map[string]any

// document is the contract. Places in it are JSON pointers that begin with #.
type document struct {
	root object

	mu       sync.Mutex
	compiler *jsonschema.Compiler
}

var theContract = sync.OnceValue(func() *document {
	text, _ := contract()
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem:///contract", closed(root, partsOf(root))); err != nil {
		panic(err)
	}
	return &document{root: root.(object), compiler: c}
})

// closed is the contract with its open lists of codes as enumerations, and without further
// fields: clients accept other codes and fields, but the server must send none that the
// contract lacks.
func closed(v any, parts map[string]bool) any {
	switch v := v.(type) {
	case object:
		out := object{}
		_, whole := v["properties"]
		_, composed := v["allOf"]
		if _, said := v["additionalProperties"]; (whole || composed) && !said {
			out["unevaluatedProperties"] = false
		}
		for k, x := range v {
			if k == "x-extensible-enum" {
				k = "enum"
			}
			inner := closed(x, parts)
			if o, ok := inner.(object); ok && parts[k] {
				delete(o, "unevaluatedProperties")
			}
			out[k] = inner
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = closed(x, parts)
		}
		return out
	}
	return v
}

// partsOf are the names of the schemas that others are composed of.
func partsOf(v any) map[string]bool {
	parts := map[string]bool{}
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case object:
			for _, x := range list(v["allOf"]) {
				parts[path.Base(x.(object)["$ref"].(string))] = true
			}
			for _, x := range v {
				look(x)
			}
		case []any:
			for _, x := range v {
				look(x)
			}
		}
	}
	look(v)
	return parts
}

var (
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// at goes on from a place.
func at(place string, keys ...string) string {
	for _, k := range keys {
		place += "/" + escape.Replace(k)
	}
	return place
}

// get reads what is at a place; nil if there is nothing.
func (d *document) get(place string) any {
	var v any = d.root
	for _, k := range strings.Split(place, "/")[1:] {
		k = unescape.Replace(k)
		switch x := v.(type) {
		case object:
			v = x[k]
		case []any:
			i, err := strconv.Atoi(k)
			if err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// follow goes to where a place refers to, if it is a reference and nothing else.
func (d *document) follow(place string) string {
	if o, ok := d.get(place).(object); ok && len(o) == 1 {
		if ref, ok := o["$ref"].(string); ok {
			return ref
		}
	}
	return place
}

// keys of the object at a place, sorted.
func (d *document) keys(place string) []string {
	o, _ := d.get(place).(object)
	return slices.Sorted(maps.Keys(o))
}

func (d *document) schema(t *testing.T, place string) *jsonschema.Schema {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	fragment := strings.ReplaceAll(url.PathEscape(strings.TrimPrefix(place, "#")), "%2F", "/")
	s, err := d.compiler.Compile("mem:///contract#" + fragment)
	require.NoError(t, err, place)
	return s
}

// validate holds a value against the schema at a place.
func (d *document) validate(t *testing.T, place string, v any, why string) {
	t.Helper()
	require.NoError(t, d.schema(t, place).Validate(v), "%s: %v", why, v)
}

func parse(t *testing.T, text string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err, text)
	return v
}

// operation is the place of a row of the table of routes.
func operationOf(rt route) string { return at("#/paths", rt.path, strings.ToLower(rt.method)) }

// response is the place of what is said of a status; it fails where nothing is.
func (d *document) response(t *testing.T, method, path string, status int) (place string) {
	t.Helper()
	asked := method
	if method == http.MethodHead {
		asked = http.MethodGet
	}
	found, _, allowed := match(routes, asked, path)
	switch {
	case found != nil:
		place = d.follow(at(operationOf(*found), "responses", strconv.Itoa(status)))
	case len(allowed) > 0:
		require.Equal(t, http.StatusMethodNotAllowed, status)
		place = d.follow("#/x-unlisted/method")
	default:
		require.Equal(t, http.StatusNotFound, status)
		place = "#/x-unlisted/path"
	}
	require.NotNil(t, d.get(place), "%s %s answers %d, which is not documented", method, path, status)
	return place
}

// usual headers are not documented one by one.
var usual = []string{
	"Cache-Control", "Connection", "Content-Security-Policy", "Content-Length", "Content-Type", "Date", "Ratelimit", "Ratelimit-Policy", "X-Accel-Buffering",
	"X-Content-Type-Options",
}

// check holds an answer against the contract.
func (d *document) check(t *testing.T, method, path string, a answer) {
	t.Helper()
	u, err := url.Parse(path)
	require.NoError(t, err)
	place := d.response(t, method, u.EscapedPath(), a.status)
	why := fmt.Sprintf("%s %s answers %d %.500s", method, path, a.status, a.body)
	for _, name := range d.keys(at(place, "headers")) {
		if d.get(at(d.follow(at(place, "headers", name)), "required")) != true && a.header.Get(name) == "" {
			continue
		}
		require.Contains(t, a.header, http.CanonicalHeaderKey(name), why)
		d.validate(t, at(d.follow(at(place, "headers", name)), "schema"), a.header.Get(name), why)
	}
	for name := range a.header {
		documented := slices.ContainsFunc(d.keys(at(place, "headers")), func(s string) bool { return http.CanonicalHeaderKey(s) == name })
		require.True(t, documented || slices.Contains(usual, name), "%s, with the header %s, which is not documented", why, name)
	}
	kinds := d.keys(at(place, "content"))
	if len(kinds) == 0 || method == http.MethodHead {
		require.Empty(t, a.body, why)
		return
	}
	kind := a.header.Get("Content-Type")
	if u.Path == "/metrics" {
		kind, _, _ = strings.Cut(kind, ";") // Prometheus' format says its version there
	}
	require.Contains(t, kinds, kind, why)
	var v any = a.body
	if strings.HasSuffix(kind, "json") {
		v = parse(t, a.body)
	}
	d.validate(t, at(place, "content", kind, "schema"), v, why)
	if kind == "application/problem+json" {
		d.checkProblem(t, place, v.(object), why)
	}
}

// checkProblem holds a problem against the codes of its answer, and the explanation of its code.
func (d *document) checkProblem(t *testing.T, place string, p object, why string) {
	t.Helper()
	code := p["code"].(string)
	require.Contains(t, d.get(at(place, "x-codes")), code, why)
	require.Equal(t, d.get(at("#/x-problems", code, "status")), p["status"], why)
	require.Equal(t, "/docs#problem-"+code, p["type"], why)
}

// operations calls f for every operation of the document.
func (d *document) operations(f func(rt route, place string)) {
	for _, path := range d.keys("#/paths") {
		for _, method := range d.keys(at("#/paths", path)) {
			if place := at("#/paths", path, method); method != "parameters" {
				role, _ := d.get(at(place, "x-role")).(string)
				f(route{method: strings.ToUpper(method), path: path, role: access.Role(role)}, place)
			}
		}
	}
}

// parameters gives the places of an operation's parameters in the query, the path
// or the header.
func (d *document) parameters(rt route, in string) (places []string) {
	for _, list := range []string{at("#/paths", rt.path, "parameters"), at(operationOf(rt), "parameters")} {
		all, _ := d.get(list).([]any)
		for i := range all {
			if place := d.follow(at(list, strconv.Itoa(i))); d.get(at(place, "in")) == in {
				places = append(places, place)
			}
		}
	}
	return places
}

func (d *document) names(places []string) (out []string) {
	for _, p := range places {
		out = append(out, d.get(at(p, "name")).(string))
	}
	slices.Sort(out)
	return out
}

func TestContractIsOpenAPI(t *testing.T) {
	t.Parallel()
	d := theContract()
	meta, err := jsonschema.UnmarshalJSON(strings.NewReader(datamodel.OpenAPI31SchemaData))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("mem:///meta", meta))
	s, err := c.Compile("mem:///meta")
	require.NoError(t, err)
	require.NoError(t, s.Validate(d.root))
	wrong := maps.Clone(d.root)
	wrong["pathes"] = object{}
	require.Error(t, s.Validate(wrong), "the meta-schema refuses what is wrong")
	// It says nothing of what schemas are.
	d.walk("#", func(place string, v any) {
		if ref, ok := v.(object)["$ref"].(string); ok {
			require.NotNil(t, d.get(ref), "%s refers to nothing", place)
		}
		for k, x := range v.(object) {
			require.NotNil(t, x, "%s: %s is a part of a text that should be in quotes", place, k)
		}
	})
	for _, name := range d.keys("#/components/schemas") {
		d.schema(t, at("#/components/schemas", name))
		require.NotEmpty(t, d.get(at("#/components/schemas", name, "description")), name)
	}
	names := map[string]bool{}
	d.operations(func(rt route, place string) {
		id := d.get(at(place, "operationId")).(string)
		require.False(t, names[id], id)
		names[id] = true
		require.NotEmpty(t, d.get(at(place, "summary")), place)
		require.NotEmpty(t, d.get(at(place, "description")), place)
		require.Equal(t, d.names(d.parameters(rt, "path")), variables(rt.path), "%s has all variables of its path", place)
	})
}

func variables(path string) (out []string) {
	for part := range strings.SplitSeq(path, "/") {
		if name, _, _ := strings.Cut(part, ":"); strings.HasPrefix(name, "{") {
			out = append(out, strings.Trim(name, "{}"))
		}
	}
	return out
}

// walk calls f for every object of the document.
func (d *document) walk(place string, f func(place string, v any)) {
	switch v := d.get(place).(type) {
	case object:
		f(place, v)
		for k := range v {
			d.walk(at(place, k), f)
		}
	case []any:
		for i := range v {
			d.walk(at(place, strconv.Itoa(i)), f)
		}
	}
}

// The table of routes and the contract are the same, both ways, roles included.
func TestContractHasEveryRoute(t *testing.T) {
	t.Parallel()
	d := theContract()
	documented, served := map[string]string{}, map[string]string{}
	d.operations(func(rt route, place string) {
		documented[rt.method+" "+rt.path] = string(rt.role)
		security, said := d.get(at(place, "security")).([]any)
		require.Equal(t, rt.role == "", said && len(security) == 0, "%s takes a key if it takes a role", place)
	})
	for _, rt := range routes {
		served[rt.method+" "+rt.path] = string(rt.role)
	}
	require.Equal(t, served, documented)
}

// Every parameter that a route knows is in the contract, and the other way round.
func TestContractHasEveryParameter(t *testing.T) {
	t.Parallel()
	d, b := theContract(), newBench(t)
	d.operations(func(rt route, place string) {
		if rt.role == "" {
			require.Empty(t, d.parameters(rt, "query"), "what needs no key passes over parameters")
			return
		}
		path := strings.NewReplacer("{id}", "nowhere", "{desktop}", "d1", "{alias}", "hq").Replace(rt.path)
		a := b.do(b.key[rt.role], rt.method, path+"?nonsense=1", "")
		require.Equal(t, http.StatusBadRequest, a.status, place)
		i := slices.IndexFunc(a.problem(t).Errors, func(f api.Fault) bool { return f.Pointer == "nonsense" })
		require.GreaterOrEqual(t, i, 0, a.body)
		_, known, ok := strings.Cut(a.problem(t).Errors[i].Detail, "known: ")
		require.True(t, ok)
		var names []string
		if known != "none" {
			names = strings.Split(known, ", ")
		}
		slices.Sort(names)
		require.Equal(t, names, d.names(d.parameters(rt, "query")), place)
	})
}

// Examples are what their schemas say.
func TestContractExamples(t *testing.T) {
	t.Parallel()
	d, n := theContract(), 0
	d.walk("#", func(place string, v any) {
		o := v.(object)
		if o["schema"] == nil {
			return
		}
		if example, has := o["example"]; has {
			n++
			d.validate(t, at(place, "schema"), example, place)
		}
		for _, name := range d.keys(at(place, "examples")) {
			n++
			d.validate(t, at(place, "schema"), d.get(at(place, "examples", name, "value")), at(place, name))
		}
	})
	require.Greater(t, n, 60)
	d.walk("#", func(place string, v any) {
		for _, name := range d.keys(at(place, "x-invalid-examples")) {
			require.Error(t, d.schema(t, at(place, "schema")).Validate(d.get(at(place, "x-invalid-examples", name, "value"))), "%s %s", place, name)
		}
	})
	d.walk("#", func(place string, v any) {
		if s, ok := v.(object)["schema"].(object); ok && strings.Contains(place, "/content/application") && s["additionalProperties"] != true {
			require.NotEmpty(t, d.keys(at(place, "examples")), "%s has no example", place)
		}
	})
}
