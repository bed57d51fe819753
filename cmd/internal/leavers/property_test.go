package leavers

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// respell writes a name of a column in another way that means the same.
func respell(t *rapid.T, name string) string {
	between := rapid.SampledFrom([]string{"", " ", "_", "-", ".", "  "}).Draw(t, "between")
	var out strings.Builder
	first, rest := unicode.ToLower, unicode.ToLower
	for i, r := range rapid.SampledFrom([]norm.Form{norm.NFC, norm.NFD}).Draw(t, "form").String(name) {
		begins := i == 0
		if r == ' ' || r == '-' {
			out.WriteString(between)
			begins = true
		}
		if begins { // not each letter: departMent would be a word of its own, depart
			cases := rapid.SampledFrom([][2]func(rune) rune{
				{unicode.ToLower, unicode.ToLower}, {unicode.ToUpper, unicode.ToLower}, {unicode.ToUpper, unicode.ToUpper},
			}).Draw(t, "case")
			first, rest = cases[0], cases[1]
		}
		if r != ' ' && r != '-' {
			out.WriteRune(first(r))
			first = rest
		}
	}
	return rapid.SampledFrom([]string{"", " ", "\u00a0"}).Draw(t, "before") + out.String()
}

// spellID writes an id in another way that means the same.
func spellID(t *rapid.T, id string) string {
	if rapid.Bool().Draw(t, "upper id") {
		id = strings.ToUpper(id)
	}
	return strings.Replace(rapid.SampledFrom([]string{"%", "{%}", "urn:uuid:%", " %", "%\u00a0", "\u200b%"}).Draw(t, "spelling"), "%", id, 1)
}

var (
	userHeaders = strings.Split("user,user name,login,account,sAMAccountName,userPrincipalName,UPN,e-mail,employee,owner,assigned to,Benutzer,Benutzername,Mitarbeiter,Anmeldename,Besitzer,"+
		"utilisateur,nom d'utilisateur,identifiant,employé,propriétaire,compte,courriel,usuario,nombre de usuario,empleado,cuenta,propietario,correo,用户,用户名,使用者,员工,账号,帐号,登录名", ",")
	computerHeaders = strings.Split("computer,computer name,host name,workstation,machine,VM,VM name,PC,asset,device,desktop name,计算机名,主机名,Rechner,ordinateur,equipo", ",")
	desktopHeaders  = strings.Split("desktop id,desktop,id", ",")
	otherHeaders    = strings.Split("note,department,employee id,employee number,SID,object id,mail nickname,cost center,hire date,reason,备注,Abteilung", ",")
)

// generated is a list as somebody may write it, and what has to come of each row.
type generated struct {
	text   string
	header []string
	want   []Leaver
	bad    []int // lines
}

func generate(t *rapid.T) (g generated) {
	kind := rapid.SampledFrom([]string{"desktop", "computer", "user"}).Draw(t, "kind")
	guarded := kind == "user" || rapid.Bool().Draw(t, "guarded")
	type column struct{ name, is string }
	var columns []column
	if kind != "user" {
		columns = append(columns, column{respell(t, rapid.SampledFrom(map[string][]string{"desktop": desktopHeaders, "computer": computerHeaders}[kind]).Draw(t, "subject")), kind})
	}
	if guarded {
		headers := userHeaders
		if kind == "user" { // TestPeopleOfTickets has the others
			headers = slices.DeleteFunc(slices.Clone(headers), func(name string) bool { return relations[fold(name)] })
		}
		columns = append(columns, column{respell(t, rapid.SampledFrom(headers).Draw(t, "user header")), "user"})
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(otherHeaders), 0, 3, rapid.ID).Draw(t, "others") {
		columns = append(columns, column{respell(t, name), "other"})
	}
	columns = rapid.Permutation(columns).Draw(t, "order")
	comma := rapid.SampledFrom([]string{",", ";", "\t", "|"}).Draw(t, "comma")
	if len(columns) == 1 {
		comma = "," // nothing in the header tells another
	}
	lineEnd := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line end")

	var out strings.Builder
	line := 1
	write := func(text string) {
		line += strings.Count(text, "\n")
		out.WriteString(text)
	}
	cell := func(s string) string {
		if strings.ContainsAny(s, comma+"\"\n") || strings.HasPrefix(s, " ") || rapid.IntRange(0, 3).Draw(t, "quoted") == 0 {
			return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
		return s
	}
	if rapid.Bool().Draw(t, "type line") {
		write("#TYPE System.Data.DataRow\n")
	}
	if rapid.Bool().Draw(t, "sep line") {
		write("sep=" + comma + "\n")
	}
	var heads []string
	for _, c := range columns {
		heads = append(heads, cell(c.name))
		g.header = append(g.header, strings.TrimSpace(c.name))
	}
	write(strings.Join(heads, comma) + "\n")

	firsts, named := map[string]bool{}, map[[2]string]bool{} // row → guarded; row and guard
	for range rapid.IntRange(0, 8).Draw(t, "rows") {
		begins := line
		fault := rapid.SampledFrom([]string{"", "", "", "", "spoilt", "hole", "short", "long", "control"}).Draw(t, "fault")
		n := rapid.IntRange(0, 5).Draw(t, "which")
		x := Leaver{Line: begins, Project: "hq"}
		user := ""
		if guarded && (kind == "user" || rapid.IntRange(0, 3).Draw(t, "with user") > 0) {
			user = rapid.SampledFrom([]string{"ann", "mia.leaver", "corp\\bob", "zoe\u0308", "zo\u00eb", "a, b", "x|y;z", "ann@corp.example", "ann\u200b", "Ann \"A\" Lee", "张三", "-1"}).Draw(t, "user")
		}
		written := map[string]string{"user": user}
		x.User = norm.NFC.String(user)
		switch kind {
		case "desktop":
			x.Desktop = fmt.Sprintf("5c1a%04d-0000-4000-8000-00000000000a", n)
			written["desktop"] = spellID(t, x.Desktop)
		case "computer":
			x.Computer = fmt.Sprintf("WS-%04d", n)
			written["computer"] = x.Computer
		}
		good := true
		switch {
		case fault == "spoilt" && kind == "desktop":
			written["desktop"], good = rapid.SampledFrom([]string{"7.0E+13", "7,00E+13", `="5c1a"`, "'5c1a", "#NAME?", "a b"}).Draw(t, "spoilt"), false
		case fault == "hole" && (kind != "user" || len(columns) > 1):
			written[kind] = ""
			good = false
		case fault == "control" && user != "":
			written["user"], good = "a\tb", false
			if comma == "\t" {
				written["user"] = "a\x01b"
			}
		}
		var cells []string
		blank := true
		for _, c := range columns {
			text := written[c.is]
			if c.is == "other" {
				text = rapid.SampledFrom([]string{"", "x", "14\" screen", "two\nlines", "a" + comma + "b", "true", "2026-01-30"}).Draw(t, "other")
			}
			blank = blank && strings.TrimSpace(text) == ""
			cells = append(cells, cell(text))
		}
		if fault == "short" && len(cells) > 1 && written[columns[0].is] != "" {
			cells, good = cells[:len(cells)-1], false
		}
		if fault == "long" {
			cells, good = append(cells, "more"), false
			blank = false
		}
		write(strings.Join(cells, comma) + "\n")
		if blank {
			continue
		}
		if good {
			guard := x.guard()
			before, known := firsts[x.row()]
			switch {
			case named[[2]string{x.row(), guard}]:
				continue
			case known && before != (guard != ""):
				good = false
			default:
				firsts[x.row()], named[[2]string{x.row(), guard}] = guard != "", true
				g.want = append(g.want, x)
			}
		}
		if !good {
			g.bad = append(g.bad, begins)
		}
	}
	g.text = strings.ReplaceAll(out.String(), "\n", lineEnd)
	return g
}

// Every row of a list ends as a row of a request, of the desktop or computer that it
// names, from whom it names, or is refused by its line.
func TestEveryRowIsTakenOrNamed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := generate(t)
		encode := rapid.SampledFrom([]string{"UTF-8", "UTF-8 with a mark", "UTF-16LE with a mark", "UTF-16BE with a mark", "UTF-16LE without a one", "UTF-16BE without a one"}).Draw(t, "encoding")
		l, err := readList("hq", encodings[encode](g.text))
		if err != nil {
			t.Fatalf("%q: %v", g.text, err)
		}
		var bad []int
		for _, b := range l.Bad {
			bad = append(bad, b.Line)
		}
		if !slices.Equal(g.want, l.Good) || !slices.Equal(g.bad, bad) {
			t.Fatalf("%q\nwant %+v and lines %v\n got %+v and %v", g.text, g.want, g.bad, l.Good, l.Bad)
		}
		ofRequests(t, l)
	})
}

// ofRequests holds what is asked for against what the list says: neither more nor less,
// each with its guards.
func ofRequests(t *rapid.T, l *List) {
	asked, guards := map[[2]string]bool{}, map[[3]string]bool{}
	for _, r := range l.Requests(api.OperationRequest{}) {
		add := func(row string) {
			asked[[2]string{r.Project, row}] = true
			for _, user := range r.ExpectedUsers[row] {
				guards[[3]string{r.Project, row, user}] = true
			}
			delete(r.ExpectedUsers, row)
		}
		for _, id := range r.Desktops {
			add(id)
		}
		for _, name := range r.Computers {
			add(tasks.ComputerRow(name))
		}
		for _, name := range r.Users {
			asked[[2]string{r.Project, tasks.UserRow(name)}] = true
		}
		if len(r.ExpectedUsers) > 0 {
			t.Fatalf("guards of nothing that is asked for: %v", r.ExpectedUsers)
		}
	}
	for _, x := range l.Good {
		if !asked[[2]string{x.Project, x.row()}] || x.guard() != "" && !guards[[3]string{x.Project, x.row(), x.guard()}] {
			t.Fatalf("%+v is not asked for", x)
		}
	}
	for key := range guards {
		if !slices.ContainsFunc(l.Good, func(x Leaver) bool { return [3]string{x.Project, x.row(), x.guard()} == key }) {
			t.Fatalf("%v is in no row", key)
		}
	}
}

// A column of people beside desktops or computers is compared or asked about,
// whatever it is called.
func TestNoGuardIsPassedOver(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		subject := respell(t, rapid.SampledFrom(append(slices.Clone(desktopHeaders), computerHeaders...)).Draw(t, "subject"))
		guard := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) string { return respell(t, rapid.SampledFrom(userHeaders).Draw(t, "known")) }),
			rapid.Custom(func(t *rapid.T) string {
				return rapid.SampledFrom(peopleParts).Draw(t, "part") + rapid.StringMatching(`[ _]?[xq]{0,3}`).Draw(t, "rest")
			}),
			rapid.StringMatching(`[xzqjw]{1,8}`), // a language that nobody has thought of
		).Draw(t, "guard")
		names := []string{subject, guard}
		if rapid.Bool().Draw(t, "second") {
			names = append(names, respell(t, rapid.SampledFrom(userHeaders).Draw(t, "second name")))
		}
		quoted := make([]string, len(names))
		for i, name := range names {
			quoted[i] = `"` + name + `"`
		}
		l, err := readList("hq", strings.Join(quoted, ",")+"\nd1"+strings.Repeat(",ann", len(names)-1)+"\n")
		var unclear *ColumnError
		switch {
		case errors.As(err, &unclear):
		case err != nil:
			t.Fatalf("%q: %v", names, err)
		case len(l.Good) != 1 || l.Good[0].User != "ann":
			t.Fatalf("%q: %+v, ignored %q", names, l.Good, l.Unknown)
		case slices.ContainsFunc(l.Unknown, func(name string) bool { return meaningOf(name)&(isUser|mayBeUser) != 0 }):
			t.Fatalf("%q: ignored %q", names, l.Unknown)
		}
	})
}

// FuzzRows: whatever a file has in it, no line of it is lost between two rows, and
// every row is taken, refused by its line, or says what another one says.
func FuzzRows(f *testing.F) {
	for _, seed := range []string{
		"desktop_id,user,note\nd1,ann,\"x\ny\"\n\n,,\nd2,\"bob\"\n", "id\n\"a\"\"b\"\n", "id,u\nd1,\"x\" y\nd2,z\"\n", "sep=;\nid;user\nd1;ann", "#TYPE x\nuser\nann\nann\n", "id\r\"a\nb\"\r\n",
		"made by hr\n| user | x |\n|---|---|\n| ann | left |\n| bob | stays |\n",
	} {
		f.Add(seed)
	}
	for _, file := range []string{"mixed.txt", "ordinary.txt"} {
		for _, s := range samples(f, file) {
			f.Add(s.text)
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		text, err := Text(strings.NewReader(raw))
		if err != nil {
			return
		}
		c := tableOf(text)
		lines := strings.Split(text, "\n")
		head, _ := c.next()
		rows, filled, columns := 0, map[string]bool{}, map[string]int{}
		for _, name := range head.cells {
			columns[strings.TrimSpace(name)]++
		}
		for at := c.line; ; {
			r, err := c.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				if l, readErr := readList("hq", raw); readErr == nil {
					t.Fatalf("%q cannot be told apart, and is read as %+v", raw, l.Good)
				}
				return
			}
			for ; at < r.line; at++ {
				if strings.Trim(lines[at-1], " \t\"\v\f\u0085\u00a0,;|"+string(c.comma)) != "" && strings.TrimFunc(lines[at-1], func(r rune) bool { return unicode.IsSpace(r) || r == c.comma || r == '"' }) != "" &&
					!isRule(strings.Split(strings.ReplaceAll(lines[at-1], `"`, ""), string(c.comma))) {
					t.Fatalf("line %d of %q is in no row", at, text)
				}
			}
			h := headerOf(head)
			again := r.repeats(h) || r.isFooter(len(h.names))
			for i, cell := range r.cells[:min(len(r.cells), len(head.cells))] {
				if cell = strings.TrimSpace(cell); r.problem == "" && !again && cell != "" && !isFlag(cell) && !isCross(cell) {
					filled[strings.TrimSpace(head.cells[i])] = true
				}
			}
			at = r.line + 1 + len(r.inner)
			rows++
		}
		l, err := readList("hq", raw)
		if err != nil {
			return
		}
		same := rows - len(l.Good) - l.BadRows
		if same < 0 {
			t.Fatalf("%d rows of %q are %d good and %d bad", rows, raw, len(l.Good), l.BadRows)
		}
		again := New("hq", known)
		for _, x := range l.Good {
			if err := again.Add(x); err != nil || again.BadRows > 0 {
				t.Fatalf("%+v is good once: %v %v", x, err, again.Bad)
			}
		}
		if !slices.Equal(again.Good, l.Good) {
			t.Fatalf("%+v says the same as another row", l.Good)
		}
		for _, name := range l.Unknown {
			if filled[name] && columns[name] == 1 && meaningOf(name)&(isUser|mayBeUser) != 0 {
				t.Fatalf("%q was ignored", name)
			}
		}
	})
}
