package fakecloud

import (
	"slices"
	"sync"
	"time"
)

// project holds the desktops and jobs of one project under one lock. The lock of faults may
// be taken while it is held, never the other way round. It is never held together with the
// cloud's.
type project struct {
	id         string
	autoCreate bool

	mu       sync.Mutex
	records  map[string]*record
	order    []*record // existing desktops as added, for paging
	jobs     jobs
	overlap  []string
	people   people
	removed  []Removal
	assigned []Assignment
	keep     bool          // whether removed and assigned are filled
	readLag  time.Duration // Config.ReadLag
}

// record holds what is known about an id that was in a request. It is small, because a load
// test makes a million of them: automatically created desktops share one Desktop value
// while they are alike.
type record struct {
	id       string
	base     *Desktop // replaced, never modified; nil: no such desktop
	leaving  *detachment
	coming   *attachment
	left     []User // who had it last, and whose data is on it; not of automatic ones
	stale    *stale
	accepted int32
	vain     int32
	reads    int32
	inFlight int32
	overlaps bool
}

// stale is the state of a desktop that lists show until a time after a change.
type stale struct {
	shown Desktop
	until time.Time
}

// The two most common states of automatically created desktops. record.desktop adds id,
// names and users.
var (
	autoAttached = &Desktop{Type: Dedicated, Status: Active, LoginStatus: "REGISTERED", AttachState: Attached}
	autoDetached = &Desktop{Type: Dedicated, Status: Shutoff, LoginStatus: "UNREGISTER", AttachState: Detached}
)

// detachment is a detach that was accepted and takes effect at due.
type detachment struct {
	due     time.Time
	call    string // the request's id
	end     string // the attach state after it
	users   []User // the users to remove; nil: all
	shutoff *bool
}

func (p *detachment) takes(u User) bool {
	return p.users == nil || slices.ContainsFunc(p.users, func(o User) bool {
		return o.Name == u.Name && o.Type == u.Type && (o.Domain == "" || o.Domain == u.Domain)
	})
}

// power returns the status of a desktop after its last user was removed.
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

// plain reports whether the detachment has the most common effect.
func (p *detachment) plain() bool {
	return p.end == Detached && p.users == nil && (p.shutoff == nil || *p.shutoff)
}

// find returns the record of id and creates it if necessary. p.mu is held.
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

// put gives rec the state d and cancels its detachment. p.mu is held.
func (p *project) put(rec *record, d *Desktop) {
	if rec.base == nil {
		p.order = append(p.order, rec)
	}
	rec.base, rec.leaving, rec.coming, rec.stale = d, nil, nil, nil
	p.people.meetAll(d.Users)
}

// settle applies what is due by now. p.mu is held.
func (p *project) settle(r *record, now time.Time) {
	if r.base == nil {
		return
	}
	if r.leaving != nil && r.leaving.end != Detaching && !now.Before(r.leaving.due) {
		p.finish(r, *r.leaving)
	}
	if r.coming != nil && r.coming.end != Attaching && !now.Before(r.coming.due) {
		p.arrive(r, *r.coming)
	}
	if until := r.base.TaskUntil; !until.IsZero() && !now.Before(until) {
		d := *r.base
		d.TaskStatus, d.TaskUntil, d.Process = "", time.Time{}, nil
		r.base = &d
	}
}

// finish applies a detachment. p.mu is held.
func (p *project) finish(r *record, pend detachment) {
	before := r.desktop()
	r.leaving = nil
	if r.base == autoAttached && pend.plain() {
		r.base = autoDetached
	} else {
		d := r.desktop().without(pend)
		r.base = &d
		p.people.meetAll(before.Users) // of an automatic one they were not met yet
		p.people.meetAll(d.Users)
		if len(d.Users) == 0 {
			r.left = before.Users
		}
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

// shown returns the desktop as a list shows it. p.mu is held.
func (p *project) shown(r *record, now time.Time) Desktop {
	p.settle(r, now)
	if r.stale != nil && now.Before(r.stale.until) {
		return r.stale.shown
	}
	return r.desktop()
}

// desktop returns the state of an existing, settled record. The caller must not modify
// what it points to.
func (r *record) desktop() Desktop {
	d := *r.base
	if r.base == autoAttached || r.base == autoDetached {
		d.ID = r.id
		d = d.withDefaults()
	}
	if r.leaving != nil {
		d.AttachState = Detaching
	}
	if r.coming != nil {
		d.AttachState = Attaching
	}
	return d
}

// accept starts a detach of a desktop that is not busy. It takes effect at once if due is
// not after now. p.mu is held.
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
		later := pend // a copy, so that pend stays off the heap
		r.leaving = &later
		return
	}
	p.finish(r, pend)
}

// enter records that a detach or attach call has ids, each once, and which of them are in another
// call that has not ended.
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
