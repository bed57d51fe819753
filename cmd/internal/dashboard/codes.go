package dashboard

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks/api"
)

// codes is the page that explains error codes and readings.
type codes struct {
	Text    string // searched
	Unknown string // a code that a link leads to and no table has
	Tables  []codeTable
	None    bool
}

// codeTable is a table of the page.
type codeTable struct {
	ID, Head string
	Table    table
}

// statusText formats a row's HTTP status. A single digit stands for its whole class.
func statusText(n int) string {
	switch {
	case n == 0:
		return "any"
	case n < 10:
		return strconv.Itoa(n) + "xx"
	}
	return strconv.Itoa(n)
}

func (v *visit) codes() error {
	c, err := v.api.Codes(v.Context())
	if err != nil {
		return err
	}
	p := codes{Text: strings.TrimSpace(v.param("q"))}
	known := map[string]bool{}
	// The first row of a code has its anchor.
	anchor := func(code string) string {
		if known[code] {
			return ""
		}
		known[code] = true
		return code
	}
	class := func(name string) cell { return cell{Kind: "special", V: name, Blank: name == "", By: name} }
	tables := []codeTable{
		{"codes-head", "Codes", table{Caption: "Codes, the first matching row applies", Columns: []column{
			{Name: "Code"}, {Name: "Refused by", Class: "prose"}, {Name: "Status"}, {Name: "Class"}, {Name: "What it means", Class: "prose"},
			{Name: "What you can do", Class: "prose"}}}},
		{"readings-head", "What a desktop reading means", table{Caption: "Readings", Columns: []column{
			{Name: "Reading"}, {Name: "Before sending", Class: "prose"}, {Name: "After an unknown outcome", Class: "prose"},
			{Name: "After the cloud accepted it", Class: "prose"}, {Name: "Code"}, {Name: "What it means", Class: "prose"},
			{Name: "What you can do", Class: "prose"}}}},
		{"classes-head", "Classes", table{Caption: "Classes", Columns: []column{
			{Name: "Class"}, {Name: "What detachd does", Class: "prose"}, {Name: "What you can do", Class: "prose"}}}},
	}
	for _, x := range c.Codes {
		by := "the cloud (" + x.Of + ")"
		if x.Of == "worker" {
			by = "the worker"
		}
		name := mainOf(mainCell{Text: "any"})
		if x.Code != "" {
			name = mainOf(mainCell{ID: x.Code})
		}
		tables[0].Table.Rows = append(tables[0].Table.Rows, row{ID: anchor(x.Code), Cells: []cell{
			name, textCell(by), textCell(statusText(x.Status)), class(x.Class), textCell(x.Why), textCell(x.Advice)}})
	}
	for _, x := range c.Readings {
		tables[1].Table.Rows = append(tables[1].Table.Rows, row{ID: anchor(x.Code), Cells: []cell{
			mainOf(mainCell{Text: x.Reads}), textCell(x.Before), textCell(x.Unknown), textCell(x.After), codeCell(x.Code, ""), textCell(x.Why),
			textCell(x.Advice)}})
	}
	for _, x := range c.Classes {
		tables[2].Table.Rows = append(tables[2].Table.Rows, row{ID: "class-" + x.Class, Cells: []cell{
			mainOf(mainCell{Text: x.Class}), textCell(x.Does), textCell(x.Advice)}})
	}
	if code := v.param("code"); !known[code] {
		p.Unknown = code
	}
	p.None = p.Text != ""
	for _, t := range tables {
		t.Table.Fixed, t.Table.NoFoot = true, true
		t.Table.Rows = rowsWith(t.Table.Rows, p.Text)
		t.Table = v.layOut(t.Table)
		p.Tables, p.None = append(p.Tables, t), p.None && len(t.Table.Rows) == 0
	}
	return v.page(http.StatusOK, "codes", "What error codes mean", p)
}

// rowsWith are the rows in which a cell has a text, in any case of its letters.
func rowsWith(rows []row, text string) (out []row) {
	text = strings.ToLower(text)
	for _, r := range rows {
		for _, c := range r.Cells {
			if strings.Contains(strings.ToLower(c.By), text) {
				out = append(out, r)
				break
			}
		}
	}
	return out
}

// meanings explains codes and classes by the tables of the workers.
type meanings struct {
	codes   map[string]string
	advices map[string]string // by code, if it has its own
	classes map[string]api.Class
}

// advice says what a person can do about a code.
func (m meanings) advice(code, class string) string {
	return cmp.Or(m.advices[code], m.classes[class].Advice)
}

func (v *visit) meanings() (meanings, error) {
	c, err := v.api.Codes(v.Context())
	m := meanings{map[string]string{}, map[string]string{}, map[string]api.Class{}}
	// The first row of a code applies. Rows about single desktops go before rows about calls.
	for _, of := range []string{"worker", "desktop", "call"} {
		for _, x := range c.Codes {
			if x.Of == of && x.Code != "" {
				m.codes[x.Code] = cmp.Or(m.codes[x.Code], x.Why)
				m.advices[x.Code] = cmp.Or(m.advices[x.Code], x.Advice)
			}
		}
	}
	for _, x := range c.Readings {
		if x.Code != "" {
			m.codes[x.Code] = cmp.Or(m.codes[x.Code], x.Why)
			m.advices[x.Code] = cmp.Or(m.advices[x.Code], x.Advice)
		}
	}
	for _, x := range c.Classes {
		m.classes[x.Class] = x
	}
	return m, err
}
