package fakecloud

import (
	"math"
	"strings"
)

// Person is a user whom Workspace knows, with or without a desktop.
type Person struct {
	ID                  string // default made from Name
	Name, Email, Domain string
}

// personKey is what tells people apart.
type personKey struct{ name, domain string }

// people are those that a project knows, in the order in which it came to know them.
type people struct {
	known map[personKey]int
	list  []Person
}

// meet notes p; what is known of somebody already is only added to.
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

func (ps *people) meetAll(users []User) {
	for _, u := range users {
		if u.Type != "GROUP" {
			ps.meet(Person{ID: u.ID, Name: u.Name, Domain: u.Domain})
		}
	}
}

// AddPeople makes users known to a project who need not have a desktop. Whoever was
// on a desktop is known by that, and stays so.
func (c *Cloud) AddPeople(projectID string, people ...Person) {
	p := c.openProject(projectID)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range people {
		p.people.meet(one)
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

// listUsers is GET users. Without a limit it gives all.
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
			Desktops: desktops[personKey{one.Name, one.Domain}], Groups: []string{}, Domain: one.Domain,
		})
	}
	return ok(map[string]any{"users": views, "total_count": len(p.people.list)})
}

// meetAutomatic notes the user of a desktop that was made automatically, which is
// too much to do for each of a million. p.mu is held.
func (p *project) meetAutomatic(rec *record) {
	if rec.base == autoAttached || rec.base == autoDetached {
		p.people.meetAll(Desktop{ID: rec.id}.withDefaults().Users)
	}
}
