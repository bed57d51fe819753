package fakecloud

import (
	"slices"
	"sync"
	"time"
)

// project holds the desktops and jobs of one project under one lock. Its lock
// may be held while the faults' lock is taken, never the other way round, and
// never together with the cloud's.
type project struct {
	id         string
	autoCreate bool

	mu      sync.Mutex
	records map[string]*record
	order   []*record // those that exist, as they were added: what paging walks
	jobs    jobs
	overlap []string
	people  people
	removed []Removal
	keep    bool          // removed is kept
	readLag time.Duration // Config.ReadLag
}

// record is what is known about an id that somebody mentioned. It is kept
// small, as a load test makes a million of them: desktops that were made
// automatically share one Desktop value as long as they are alike.
type record struct {
	id       string
	base     *Desktop // never written to, only replaced; nil: no such desktop
	leaving  *detachment
	stale    *stale
	accepted int32
	vain     int32
	reads    int32
	inFlight int32
	overlaps bool
}

// stale is what lists show of a desktop for a while after it has changed.
type stale struct {
	shown Desktop
	until time.Time
}

// The two states most automatic desktops are in. Their ids, names and users
// are filled in by record.desktop.
var (
	autoAttached = &Desktop{Type: Dedicated, Status: Active, LoginStatus: "REGISTERED", AttachState: Attached}
	autoDetached = &Desktop{Type: Dedicated, Status: Shutoff, LoginStatus: "UNREGISTER", AttachState: Detached}
)

// detachment is a detach that was accepted and takes effect at due.
type detachment struct {
	due     time.Time
	call    string // the request's id
	end     string // the attach state it leads to
	users   []User // the users to take off; nil: all
	shutoff *bool
}

func (p *detachment) takes(u User) bool {
	return p.users == nil || slices.ContainsFunc(p.users, func(o User) bool {
		return o.Name == u.Name && o.Type == u.Type && (o.Domain == "" || o.Domain == u.Domain)
	})
}

// power is the status of a desktop whose last user was taken off.
func (p *detachment) power(kind string) string {
	off := kind != Shared
	if p.shutoff != nil {
		off = *p.shutoff
	}
	if off {
		return Shutoff
	}
	return Active
}

// plain reports that the detachment does to a desktop what most do.
func (p *detachment) plain() bool {
	return p.end == Detached && p.users == nil && (p.shutoff == nil || *p.shutoff)
}

// find returns what is known about id, from now on something. p.mu is held.
func (p *project) find(id string) *record {
	rec := p.records[id]
	if rec == nil {
		rec = &record{id: id}
		p.records[id] = rec
		if p.autoCreate {
			p.put(rec, autoAttached)
		}
	}
	return rec
}

// put gives rec the state d, whatever it was doing. p.mu is held.
func (p *project) put(rec *record, d *Desktop) {
	if rec.base == nil {
		p.order = append(p.order, rec)
	}
	rec.base, rec.leaving, rec.stale = d, nil, nil
	p.people.meetAll(d.Users)
}

// settle does what became due until now. p.mu is held.
func (p *project) settle(r *record, now time.Time) {
	if r.base == nil {
		return
	}
	if r.leaving != nil && r.leaving.end != Detaching && !now.Before(r.leaving.due) {
		p.finish(r, *r.leaving)
	}
	if until := r.base.TaskUntil; !until.IsZero() && !now.Before(until) {
		d := *r.base
		d.TaskStatus, d.TaskUntil, d.Process = "", time.Time{}, nil
		r.base = &d
	}
}

// finish lets a detachment take effect. p.mu is held.
func (p *project) finish(r *record, pend detachment) {
	before := r.desktop()
	r.leaving = nil
	if r.base == autoAttached && pend.plain() {
		r.base = autoDetached
	} else {
		d := r.desktop().without(pend)
		r.base = &d
		p.people.meetAll(d.Users)
	}
	if p.readLag > 0 {
		r.stale = &stale{before, pend.due.Add(p.readLag)}
	}
	if !p.keep || pend.end != Detached {
		return
	}
	for _, u := range before.Users {
		if pend.takes(u) {
			p.removed = append(p.removed, Removal{DesktopID: r.id, User: u, Time: pend.due, RequestID: pend.call})
		}
	}
}

// shown is the desktop as a list shows it. p.mu is held.
func (p *project) shown(r *record, now time.Time) Desktop {
	p.settle(r, now)
	if r.stale != nil && now.Before(r.stale.until) {
		return r.stale.shown
	}
	return r.desktop()
}

// desktop is the state of a settled record that exists. What it points to must
// not be written to.
func (r *record) desktop() Desktop {
	d := *r.base
	if r.base == autoAttached || r.base == autoDetached {
		d.ID = r.id
		d = d.withDefaults()
	}
	if r.leaving != nil {
		d.AttachState = Detaching
	}
	return d
}

// accept starts a detach of a desktop that is not busy. It takes effect at
// once when due is not after now. p.mu is held.
func (p *project) accept(r *record, pend detachment, now time.Time) {
	r.accepted++
	if r.base.unattached() {
		r.vain++
		return
	}
	pend.end = Detached
	if len(r.base.DetachEnds) > 0 {
		d := *r.base
		pend.end, d.DetachEnds = d.DetachEnds[0], d.DetachEnds[1:]
		r.base = &d
	}
	if pend.due.After(now) || pend.end == Detaching {
		later := pend // its own variable, so that pend stays off the heap
		r.leaving = &later
		return
	}
	p.finish(r, pend)
}

// enter notes that a detach call names ids, each once, and which of them are in
// another call that is not over.
func (p *project) enter(ids []string) []*record {
	recs := make([]*record, len(ids))
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, id := range ids {
		rec := p.find(id)
		recs[i] = rec
		rec.inFlight++
		if rec.inFlight > 1 && !rec.overlaps {
			rec.overlaps = true
			p.overlap = append(p.overlap, id)
		}
	}
	return recs
}

func (p *project) leave(recs []*record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rec := range recs {
		rec.inFlight--
	}
}
