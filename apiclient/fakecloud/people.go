package fakecloud

import (
	"math"
	"strings"
)

// Person is a user of Workspace, with or without a desktop.
type Person struct {
	ID                  string // defaults to one made from Name
	Name, Email, Domain string
	Locked, Disabled    bool
}

// personKey identifies a person.
type personKey struct{ name, domain string }

// people are the users of a project, in the order in which they became known.
type people struct {
	known map[personKey]int
	list  []Person
}

// meet adds p, or the email of p to a known person.
func (ps *people) meet(p Person) {
	if p.ID == "" {
		p.ID = "id-" + p.Name
	}
	if ps.known == nil {
		ps.known = map[personKey]int{}
	}
	key := personKey{p.Name, p.Domain}
	i, known := ps.known[key]
	if !known {
		ps.known[key] = len(ps.list)
		ps.list = append(ps.list, p)
		return
	}
	if p.Email != "" {
		ps.list[i].Email = p.Email
	}
}

// find returns the person who is a user of a request, by id if it has one; nil: nobody is.
func (ps *people) find(u User) *Person {
	for i, p := range ps.list {
		if u.ID != "" && p.ID == u.ID || u.ID == "" && p.Name == u.Name && (u.Domain == "" || u.Domain == p.Domain) {
			return &ps.list[i]
		}
	}
	return nil
}

func (ps *people) meetAll(users []User) {
	for _, u := range users {
		if u.Type != "GROUP" {
			ps.meet(Person{ID: u.ID, Name: u.Name, Domain: u.Domain})
		}
	}
}

// AddPeople adds users to a project. Users of desktops are added automatically and stay.
func (c *Cloud) AddPeople(projectID string, people ...Person) {
	p := c.openProject(projectID)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range people {
		p.people.meet(one)
	}
}

// UpdatePeople calls change on every user of a project, and removes those for whom it returns
// false. Their desktops keep them.
func (c *Cloud) UpdatePeople(projectID string, change func(*Person) bool) {
	p := c.openProject(projectID)
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.people.list
	p.people = people{}
	for _, one := range old {
		if change(&one) {
			p.people.meet(one)
		}
	}
}

// personView is an entry of the list of users.
type personView struct {
	ID       string   `json:"id"`
	SID      string   `json:"sid"`
	Name     string   `json:"user_name"`
	Email    string   `json:"user_email"`
	Phone    *string  `json:"user_phone"`
	Desktops int      `json:"total_desktops"`
	Locked   bool     `json:"locked"`
	Disabled bool     `json:"disabled"`
	Groups   []string `json:"group_names"`
	Domain   string   `json:"domain"`
}

// listUsers is GET users. Without a limit it returns all.
func (x *exchange) listUsers() *reply {
	win, bad := pageOf(x.r.URL.Query(), math.MaxInt, 0)
	if bad != nil {
		return bad
	}
	if x.cfg.MaxPage > 0 {
		win.limit = min(win.limit, x.cfg.MaxPage)
	}
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	desktops := map[personKey]int{}
	for _, rec := range p.order {
		p.settle(rec, now)
		p.meetAutomatic(rec)
		for _, u := range rec.desktop().Users {
			if u.Type != "GROUP" {
				desktops[personKey{u.Name, u.Domain}]++
			}
		}
	}
	views := []personView{}
	for _, one := range cut(p.people.list, win) {
		views = append(views, personView{
			ID: one.ID, SID: "S-1-5-21-" + strings.TrimPrefix(one.ID, "id-"), Name: one.Name, Email: one.Email,
			Locked: one.Locked, Disabled: one.Disabled,
			Desktops: desktops[personKey{one.Name, one.Domain}], Groups: []string{}, Domain: one.Domain,
		})
	}
	return ok(map[string]any{"users": views, "total_count": len(p.people.list)})
}

// meetAutomatic adds the user of an automatically created desktop. Doing so on creation
// would be too slow for a million desktops. p.mu is held.
func (p *project) meetAutomatic(rec *record) {
	if rec.base == autoAttached || rec.base == autoDetached {
		p.people.meetAll(Desktop{ID: rec.id}.withDefaults().Users)
	}
}
