package server

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"go.yaml.in/yaml/v3"
)

var (
	//go:embed docs.html
	docsHTML string
	//go:embed docs.css
	docsCSS string
)

// docsPage is the document as a page of plain HTML, and its ETag.
var docsPage = sync.OnceValues(func() (page []byte, etag string) {
	var document yaml.Node
	if err := yaml.Unmarshal(contractYAML, &document); err != nil {
		panic(err) // tests read it
	}
	d := docs{node{&document}.first()}
	var out bytes.Buffer
	err := template.Must(template.New("docs").Funcs(template.FuncMap{"markdown": markdown}).Parse(docsHTML)).Execute(&out, d)
	if err != nil {
		panic(err)
	}
	return out.Bytes(), fmt.Sprintf(`"%.8x"`, sha256.Sum256(out.Bytes()))
})

// docsPolicy lets the page have its own style and nothing else.
var docsPolicy = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(docsCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
})

// docs is GET /docs. Its script-free page has no way to send a key, so it needs none.
func (s *server) docs(r *request) error {
	page, etag := docsPage()
	h := r.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", docsPolicy())
	h.Set("Cache-Control", "max-age=300")
	h.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		r.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = r.w.Write(page)
	return nil
}

var commonMark = goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

// markdown renders a description. Raw HTML in it is dropped.
func markdown(text string) (template.HTML, error) {
	var out bytes.Buffer
	err := commonMark.Convert([]byte(text), &out)
	return template.HTML(rowHeader.ReplaceAllString(tables.Replace(out.String()), "<tr>\n<th scope=\"row\">$1</th>")), err
}

// Tables have headers for screen readers. A wide one scrolls by itself, also with the keyboard.
var (
	tables = strings.NewReplacer("<table>", `<div class="scroll" role="group" aria-label="Table" tabindex="0"><table>`,
		"</table>", "</table></div>", "<th>", `<th scope="col">`)
	rowHeader = regexp.MustCompile(`<tr>\n<td>(.*?)</td>`)
)

// node is a place in the document, whose maps keep their order.
type node struct{ *yaml.Node }

func (n node) first() node { return node{n.Content[0]}.real() }

// real is what an alias stands for.
func (n node) real() node {
	if n.Node != nil && n.Kind == yaml.AliasNode {
		return node{n.Alias}
	}
	return n
}

// member is a name and value of a map.
type member struct {
	Name  string
	Value node
}

func (n node) members() (out []member) {
	if n.Node == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, member{n.Content[i].Value, node{n.Content[i+1]}.real()})
	}
	return out
}

func (n node) list() (out []node) {
	if n.Node == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	for _, x := range n.Content {
		out = append(out, node{x}.real())
	}
	return out
}

// at goes to a member of members; a node without a Node if there is none.
func (n node) at(keys ...string) node {
	for _, key := range keys {
		found := node{}
		for _, m := range n.members() {
			if m.Name == key {
				found = m.Value
			}
		}
		n = found
	}
	return n
}

// Text is a scalar, and the texts of a list.
func (n node) Text() string {
	if n.Node == nil {
		return ""
	}
	if n.Kind == yaml.SequenceNode {
		var all []string
		for _, x := range n.list() {
			all = append(all, x.Text())
		}
		return strings.Join(all, ", ")
	}
	return n.Value
}

// JSON is an example.
func (n node) JSON() (string, error) {
	if n.Node != nil && n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		return n.Value, nil // a list in CSV
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return "", err
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return strings.TrimSpace(out.String()), err
}

// docs is what the page shows of the document.
type docs struct{ root node }

func (d docs) CSS() template.CSS   { return template.CSS(docsCSS) }
func (d docs) Title() string       { return d.root.at("info", "title").Text() }
func (d docs) Summary() string     { return d.root.at("info", "summary").Text() }
func (d docs) Description() string { return d.root.at("info", "description").Text() }

// follow goes to what a reference refers to.
func (d docs) follow(n node) node {
	if ref := n.at("$ref").Text(); ref != "" {
		return d.root.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return n
}

// docsTag is a group of operations.
type docsTag struct {
	Name, Description string
	Operations        []docsOperation
}

// docsOperation is a method of a path.
type docsOperation struct {
	ID, Method, Path, Role, Summary, Description string
	Parameters                                   []docsField
	Bodies                                       []docsBody
	Answers                                      []docsAnswer
}

// docsField is a parameter, or a field of a schema.
type docsField struct {
	Name, Where string
	Required    bool
	Type        []docsLink
	Text        string
}

// docsLink is a text, which may lead to a place of the page.
type docsLink struct{ Text, To string }

// docsBody is one media type of a request or an answer.
type docsBody struct {
	Kind     string
	Type     []docsLink
	Examples []docsExample
}

type docsExample struct{ Title, Text string }

// docsAnswer is an answer with a status.
type docsAnswer struct {
	Status, Text string
	Headers      []string
	Codes        []string
	Bodies       []docsBody
}

func (d docs) Tags() (out []docsTag, err error) {
	for _, tag := range d.root.at("tags").list() {
		t := docsTag{Name: tag.at("name").Text(), Description: tag.at("description").Text()}
		for _, p := range d.root.at("paths").members() {
			for _, m := range p.Value.members() {
				if m.Value.at("tags").Text() != t.Name {
					continue
				}
				op, err := d.operation(p, m)
				if err != nil {
					return nil, fmt.Errorf("%s %s: %w", m.Name, p.Name, err)
				}
				t.Operations = append(t.Operations, op)
			}
		}
		out = append(out, t)
	}
	return out, nil
}

func (d docs) operation(p, m member) (op docsOperation, err error) {
	op = docsOperation{
		ID: m.Value.at("operationId").Text(), Method: strings.ToUpper(m.Name), Path: p.Name, Role: m.Value.at("x-role").Text(),
		Summary: m.Value.at("summary").Text(), Description: m.Value.at("description").Text(),
	}
	for _, x := range append(p.Value.at("parameters").list(), m.Value.at("parameters").list()...) {
		x = d.follow(x)
		f := d.field(x.at("name").Text(), x.at("schema"))
		f.Where, f.Required = x.at("in").Text(), x.at("required").Text() == "true"
		f.Text = strings.TrimSpace(x.at("description").Text() + " " + f.Text)
		op.Parameters = append(op.Parameters, f)
	}
	if op.Bodies, err = d.bodies(d.follow(m.Value.at("requestBody")).at("content")); err != nil {
		return op, err
	}
	for _, a := range m.Value.at("responses").members() {
		x := d.follow(a.Value)
		answer := docsAnswer{Status: a.Name, Text: x.at("description").Text()}
		for _, h := range x.at("headers").members() {
			answer.Headers = append(answer.Headers, h.Name)
		}
		for _, code := range x.at("x-codes").list() {
			answer.Codes = append(answer.Codes, code.Text())
		}
		if answer.Bodies, err = d.bodies(x.at("content")); err != nil {
			return op, err
		}
		op.Answers = append(op.Answers, answer)
	}
	return op, nil
}

func (d docs) bodies(content node) (out []docsBody, err error) {
	for _, c := range content.members() {
		b := docsBody{Kind: c.Name, Type: d.typeOf(c.Value.at("schema"))}
		for _, x := range c.Value.at("examples").members() {
			e := docsExample{Title: x.Value.at("summary").Text()}
			if e.Text, err = x.Value.at("value").JSON(); err != nil {
				return nil, err
			}
			b.Examples = append(b.Examples, e)
		}
		out = append(out, b)
	}
	return out, nil
}

// typeOf says what a schema takes.
func (d docs) typeOf(s node) []docsLink {
	if ref := s.at("$ref").Text(); ref != "" {
		name := path.Base(ref)
		return []docsLink{{name, "#schema-" + name}}
	}
	if either := s.at("oneOf").list(); len(either) > 0 {
		var out []docsLink
		for i, x := range either {
			if i > 0 {
				out = append(out, docsLink{Text: " or "})
			}
			out = append(out, d.typeOf(x)...)
		}
		return out
	}
	switch kind := s.at("type").Text(); {
	case kind == "array":
		return append([]docsLink{{Text: "list of "}}, d.typeOf(s.at("items"))...)
	case kind == "object" && s.at("additionalProperties").members() != nil:
		return append([]docsLink{{Text: "map of "}}, d.typeOf(s.at("additionalProperties"))...)
	default:
		return []docsLink{{Text: kind}}
	}
}

// docsLimits are the keywords that the page names, in order.
var docsLimits = []struct{ key, text string }{
	{"enum", "One of"}, {"x-extensible-enum", "One of these, or others in later versions"}, {"const", "Always"}, {"default", "Default"},
	{"minimum", "At least"}, {"maximum", "At most"}, {"minLength", "Characters, at least"}, {"maxLength", "Characters, at most"},
	{"minItems", "Items, at least"}, {"maxItems", "Items, at most"}, {"format", "Format"}, {"pattern", "Pattern"},
}

func (d docs) field(name string, s node) docsField {
	f := docsField{Name: name, Type: d.typeOf(s)}
	texts := []string{s.at("description").Text()}
	for _, limit := range docsLimits {
		if v := s.at(limit.key).Text(); v != "" {
			texts = append(texts, limit.text+": `"+v+"`.")
		}
	}
	f.Text = strings.TrimSpace(strings.Join(texts, "\n\n"))
	return f
}

// docsSchema is a schema with its fields, if it is of an object.
type docsSchema struct {
	docsField
	Parts  []docsLink // schemas whose fields it has too
	Fields []docsField
}

func (d docs) Schemas() (out []docsSchema) {
	for _, m := range d.root.at("components", "schemas").members() {
		s := docsSchema{docsField: d.field(m.Name, m.Value)}
		var required []string
		for _, x := range m.Value.at("required").list() {
			required = append(required, x.Text())
		}
		for _, part := range m.Value.at("allOf").list() {
			s.Parts = append(s.Parts, d.typeOf(part)...)
		}
		for _, p := range m.Value.at("properties").members() {
			f := d.field(p.Name, p.Value)
			f.Required = slices.Contains(required, p.Name)
			s.Fields = append(s.Fields, f)
		}
		out = append(out, s)
	}
	return out
}

// docsProblem is a code of problems.
type docsProblem struct{ Code, Status, Text string }

func (d docs) Problems() (out []docsProblem) {
	for _, m := range d.root.at("x-problems").members() {
		out = append(out, docsProblem{Code: m.Name, Status: m.Value.at("status").Text(), Text: m.Value.at("text").Text()})
	}
	return out
}
