package dashboard

import (
	"net/http"
	"slices"
	"strings"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// search is the page of what a text finds, by kind.
type search struct {
	Text                                   string
	People, Operations, Redrives, Desktops table
	MorePeople, MoreOthers                 bool
	More                                   more // of Desktops, if they are the only kind
	Only                                   bool
}

// Found reports whether there is anything.
func (s search) Found() bool {
	return len(s.People.Rows)+len(s.Operations.Rows)+len(s.Redrives.Rows)+len(s.Desktops.Rows) > 0
}

func (v *visit) search() error {
	p := search{Text: strings.TrimSpace(v.param("q")), Only: v.param("only") == "desktops"}
	switch {
	case p.Text == "":
		return v.page(http.StatusOK, "search", "Search", p)
	case p.Only:
		return v.searchDesktops(p)
	}
	found, err := v.api.Find(v.Context(), p.Text)
	if err != nil {
		return err
	}
	if to := theOne(found); to != "" {
		http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
		return nil
	}
	p.MorePeople, p.MoreOthers = found.People.More, found.Operations.More || found.Redrives.More
	p.People = table{Caption: "People", NoFoot: true, Columns: []column{{Name: "Person", Class: "first"}, {Name: "Projects"}}}
	for _, x := range found.People.Items {
		p.People.Rows = append(p.People.Rows, row{Key: x.Name, Cells: []cell{
			mainOf(mainCell{Link: personLink(x.Name), Text: x.Name}), textCell(strings.Join(x.Projects, ", ")),
		}})
	}
	p.Operations = table{Caption: "Operations", NoFoot: true, Columns: []column{{Name: "Operation", Class: "first"}, {Name: "Project"},
		{Name: "Requested by"}, {Name: "State"}, {Name: "Progress", Class: "slim"}, {Name: "Desktops", Class: "num"}, {Name: "Accepted"}}}
	for _, x := range found.Operations.Items {
		op := progressOf(x.Operation)
		p.Operations.Rows = append(p.Operations.Rows, row{Key: x.ID, Cells: []cell{
			operationCell(x.Operation), textCell(x.Project), textCell(x.RequestedBy), operationState(x.Operation, v.d.Now()),
			barCell(op.Bar, share(op.Finished(), op.Total)), numCell(x.Total), v.timeCell(x.AcceptedAt),
		}})
	}
	p.Redrives = table{Caption: "Bulk retries", NoFoot: true, Columns: []column{{Name: "Bulk retry", Class: "first"}, {Name: "Requested by"},
		{Name: "State"}, {Name: "Matched", Class: "num"}, {Name: "Started"}}}
	for _, x := range found.Redrives.Items {
		p.Redrives.Rows = append(p.Redrives.Rows, row{Key: x.ID, Cells: []cell{
			mainOf(mainCell{Link: "/redrives/" + x.ID, Text: x.Reason, ID: x.ID}), textCell(x.RequestedBy), bulkOf(x).state(), numCell(x.Matched),
			v.timeCell(x.CreatedAt),
		}})
	}
	p.People, p.Operations, p.Redrives = v.layOut(p.People), v.layOut(p.Operations), v.layOut(p.Redrives)
	p.Desktops = v.eventsTable(found.Desktops.Items, more{})
	if found.Desktops.More {
		p.More.Next, _ = query("/search", "q", p.Text, "only", "desktops") // fails only for a parameter without a value
	}
	return v.page(http.StatusOK, "search", "Search: "+p.Text, p)
}

// searchDesktops lists only desktops, page by page.
func (v *visit) searchDesktops(p search) error {
	rows, next, err := fill(v.token(), func(size int, token string) ([]api.Event, string, error) {
		return v.api.Search(v.Context(), p.Text, size, token)
	})
	if err != nil {
		return err
	}
	p.Desktops = v.eventsTable(rows, v.more(next, len(rows)))
	return v.page(http.StatusOK, "search", "Search: "+p.Text, p)
}

// theOne is the page of what the text can only mean; empty if it may mean several things.
func theOne(x api.Found) string {
	others := func(of ...int) bool { return slices.Max(of) > 0 }
	operations, redrives, people, desktops := len(x.Operations.Items), len(x.Redrives.Items), len(x.People.Items), len(x.Desktops.Items)
	is := func(s string) bool { return strings.EqualFold(s, x.Query) }
	switch {
	case operations == 1 && !others(redrives, people, desktops) && is(x.Operations.Items[0].ID):
		return "/operations/" + x.Operations.Items[0].ID
	case redrives == 1 && !others(operations, people, desktops) && is(x.Redrives.Items[0].ID):
		return "/redrives/" + x.Redrives.Items[0].ID
	case desktops > 0 && !others(operations, redrives, people) && !x.Desktops.More:
		id := x.Desktops.Items[0].Desktop.ID
		if is(id) && !slices.ContainsFunc(x.Desktops.Items, func(e api.Event) bool { return e.Desktop.ID != id }) {
			to, _ := query("/desktop", "id", id) // fails only for a parameter without a value
			return to
		}
	case people == 1 && !others(operations, redrives) && !x.People.More && is(x.People.Items[0].Name):
		return personLink(x.People.Items[0].Name)
	}
	return ""
}

func personLink(name string) string {
	link, _ := query("/person", "name", name) // fails only for a parameter without a value
	return link
}

// eventsTable lists what operations did with desktops.
func (v *visit) eventsTable(rows []api.Event, page more) table {
	t := table{
		Caption: "Desktops, newest first", Order: "newest first", Page: page, Empty: "No desktops.",
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "State"}, {Name: "Given back by", Class: "ref"}, {Name: "Users"},
			{Name: "Project"}, {Name: "Operation"},
			{Name: "Requested by"}, {Name: "Code"}, {Name: "Since"}},
		NoFoot: page == more{},
	}
	for _, e := range rows {
		d, name, users := e.Desktop, "", textCell(strings.Join(e.Desktop.Expect, ", "))
		if d.Before != nil {
			name, users = d.Before.Name, textCell(usersBefore(d.Before))
		}
		if d.Failure != nil && name == "" {
			name = d.Failure.DesktopName
		}
		t.Rows = append(t.Rows, row{Key: e.Operation.ID + "/" + d.ID, Cells: []cell{
			desktopCell(d.ID, name), stateCell(e.Operation, d.State, d.Note), givenBackCell(d.Desktop), users, textCell(e.Operation.Project),
			linkCell("/operations/"+e.Operation.ID, operationName(e.Operation)), textCell(e.Operation.RequestedBy), failureCell(d.Failure),
			v.timeCell(d.UpdatedAt),
		}})
	}
	return v.layOut(t)
}

// operationName is what people know an operation by.
func operationName(op tasks.Operation) string {
	for _, name := range []string{op.Ticket, op.Reason} {
		if name != "" {
			return name
		}
	}
	return op.ID
}

// person is the page of a user: what the person has now, and what operations did.
type person struct {
	Name    string
	May     bool // read the cloud
	Access  tasks.Access
	Known   bool
	Similar []string
	Unread  []tasks.AccessRead
	Now     table
	History table
	New     string // link to a new operation
}

func (v *visit) person() error {
	p := person{Name: strings.TrimSpace(v.param("name")), May: v.may(access.Producer)}
	if why := tasks.CheckUserName(p.Name); why != "" {
		return invalidField("name", why)
	}
	if p.May && v.token() == "" {
		if err := v.addAccess(&p); err != nil {
			return err
		}
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]api.Event, string, error) {
		return v.api.Search(v.Context(), p.Name, size, token)
	})
	if err != nil {
		return err
	}
	p.History = v.eventsTable(rows, v.more(next, len(rows)))
	p.History.Empty = "No operation named this person."
	return v.page(http.StatusOK, "person", p.Name, p)
}

// addAccess reads the cloud.
func (v *visit) addAccess(p *person) (err error) {
	if p.Access, err = v.api.Access(v.Context(), p.Name); err != nil {
		return err
	}
	p.New, _ = query("/new", "list", p.Name, "names", "users") // fails only for a parameter without a value
	for _, x := range p.Access.Projects {
		p.Known = p.Known || x.Known
		if !x.Read {
			p.Unread = append(p.Unread, x)
		}
		for _, name := range x.Similar {
			if !slices.Contains(p.Similar, name) {
				p.Similar = append(p.Similar, name)
			}
		}
	}
	t := table{
		Caption: "Desktops that list this person now", NoFoot: true,
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "Project"}, {Name: "State"}, {Name: "Users"}, {Name: "Kind"},
			{Name: "Last operation"}},
	}
	for _, d := range p.Access.Items {
		kind := ""
		if d.Pooled {
			kind = "pool"
		}
		t.Rows = append(t.Rows, row{Key: d.Project + "/" + d.DesktopID, Cells: []cell{
			desktopCell(d.DesktopID, d.ComputerName), textCell(d.Project), textCell(d.AttachState), textCell(people(d.Users)), textCell(kind),
			idCell("/operations/"+d.LastOperationID, d.LastOperationID),
		}})
	}
	p.Now = v.layOut(t)
	return nil
}
