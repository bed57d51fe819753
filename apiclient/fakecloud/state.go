package fakecloud

import "slices"

// Add adds desktops to a project. It replaces desktops with the same ids.
func (c *Cloud) Add(projectID string, desktops ...Desktop) {
	p := c.openProject(projectID)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range desktops {
		d = d.withDefaults()
		rec := p.records[d.ID]
		if rec == nil {
			rec = &record{id: d.ID}
			p.records[d.ID] = rec
		}
		p.put(rec, &d)
	}
}

// Get returns a desktop as it is now; false: it does not exist.
func (c *Cloud) Get(projectID, id string) (Desktop, bool) {
	var got Desktop
	ok := c.visit(projectID, id, func(_ *project, rec *record) { got = rec.desktop().clone() })
	return got, ok
}

// Desktops returns the desktops of a project as they are now, in the order in
// which they were added.
func (c *Cloud) Desktops(projectID string) []Desktop {
	p := c.openProject(projectID)
	now := c.cfg.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Desktop, 0, len(p.order))
	for _, rec := range p.order {
		p.settle(rec, now)
		all = append(all, rec.desktop().clone())
	}
	return all
}

// Remove deletes a desktop and reports whether it existed. Its counts are kept.
func (c *Cloud) Remove(projectID, id string) bool {
	return c.visit(projectID, id, func(p *project, rec *record) {
		p.forget(rec)
	})
}

// forget deletes a desktop. p.mu is held.
func (p *project) forget(rec *record) {
	rec.base, rec.leaving, rec.coming, rec.stale = nil, nil, nil, nil
	p.order = slices.DeleteFunc(p.order, func(o *record) bool { return o == rec })
}

// vanish deletes desktops of the request's project.
func (x *exchange) vanish(ids []string) {
	p := x.project
	if p == nil || len(ids) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if rec := p.records[id]; rec != nil {
			p.forget(rec)
		}
	}
}

// Update calls change to modify a desktop, and reports whether it exists. A pending detach
// or attach continues unless change modifies the attach state. change must not call the Cloud.
func (c *Cloud) Update(projectID, id string, change func(*Desktop)) bool {
	return c.visit(projectID, id, func(p *project, rec *record) {
		d := rec.desktop().clone()
		was, leaving, coming := d.AttachState, rec.leaving, rec.coming
		change(&d)
		d.ID = id
		p.put(rec, &d)
		if d.AttachState == was {
			rec.leaving, rec.coming = leaving, coming
		}
	})
}

// Attach replaces the users of a desktop and reports whether it exists. A pending detach is
// cancelled.
func (c *Cloud) Attach(projectID, id string, users ...User) bool {
	return c.Update(projectID, id, func(d *Desktop) {
		d.Users, d.AttachState, d.Status, d.LoginStatus = nil, "", Active, "REGISTERED"
		for _, u := range users {
			d.Users = append(d.Users, u.withDefaults())
		}
		*d = d.withDefaults()
	})
}

// visit calls do on a desktop, with its project locked, and reports whether it exists.
func (c *Cloud) visit(projectID, id string, do func(*project, *record)) bool {
	p := c.openProject(projectID)
	now := c.cfg.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.records[id]
	if rec == nil || rec.base == nil {
		return false
	}
	p.settle(rec, now)
	do(p, rec)
	return true
}
