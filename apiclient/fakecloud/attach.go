package fakecloud

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// maxAttach is the limit of desktops of one attach call.
const maxAttach = 50

// wish is what an attach call wants for one desktop.
type wish struct {
	users []User
	keep  bool // is_clear_data is false; its default is true
}

// attachment is an attach that was accepted and takes effect at due.
type attachment struct {
	wish
	due  time.Time
	end  string // the attach state after it
	call string // the request's id
}

// parseAttach reads an attach call; see parseDetach.
func parseAttach(body []byte) (ids []string, wishes []wish, invalid *reply) {
	var desktops []json.RawMessage
	err := fields(body, map[string]any{"desktops": &desktops})
	for _, raw := range desktops {
		id, w, wrong := readWish(raw)
		ids, wishes = append(ids, id), append(wishes, w)
		if err == nil {
			err = wrong
		}
	}
	switch {
	case err != nil:
		return ids, wishes, invalidParameter(err.Error())
	case len(ids) > maxAttach:
		return ids, wishes, invalidParameter(fmt.Sprintf("desktops: %d, the limit is %d", len(ids), maxAttach))
	}
	return ids, wishes, checkIDs(ids)
}

func readWish(raw []byte) (id string, w wish, err error) {
	var one User
	var infos []json.RawMessage
	var clear *bool
	err = fields(raw, map[string]any{
		"desktop_id": &id, "user_id": &one.ID, "user_name": &one.Name, "user_group": &one.Group,
		"is_clear_data": &clear, "attach_user_infos": &infos,
	})
	if err != nil {
		return id, w, err
	}
	w.keep = clear != nil && !*clear
	users := []User{one}
	if len(infos) > 0 {
		users = make([]User, len(infos))
	}
	for i, info := range infos {
		u := &users[i]
		if err := fields(info, map[string]any{
			"user_id": &u.ID, "user_name": &u.Name, "domain": &u.Domain, "user_group": &u.Group, "type": &u.Type,
		}); err != nil {
			return id, w, err
		}
	}
	for _, u := range users {
		if u.Name == "" || u.Group == "" {
			return id, w, fmt.Errorf("user_name or user_group of %s: empty", id)
		}
		w.users = append(w.users, u)
	}
	return id, w, nil
}

// performAttach starts the attach of every desktop, as a job whose parts say what failed. If
// a desktop is busy, the whole call is refused.
func (x *exchange) performAttach() (rep *reply, effect bool) {
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rec := range x.entered {
		p.settle(rec, now)
		if rep := conflict(rec, "ATTACH_DESKTOP"); rep != nil {
			return rep, false
		}
	}
	work := job{kind: "attachDesktops", begin: now}
	for i, rec := range x.entered {
		sub := subJob{desktop: Desktop{ID: rec.id}, due: now, end: AttachFailed}
		if rec.base != nil {
			sub.desktop = rec.desktop()
		}
		who, code, reason := p.admits(rec, x.wishes[i])
		if code != "" {
			sub.code, sub.reason = code, reason
		} else {
			effect = true
			come := attachment{wish: wish{who, x.wishes[i].keep}, due: now.Add(x.cfg.DetachDelay), call: x.requestID, end: Attached}
			sub.desktop.Users, sub.due = who, come.due.Add(x.cfg.JobLag)
			sub.end = p.awaitUsers(rec, come, now)
		}
		work.subs = append(work.subs, sub)
	}
	return ok(map[string]string{"job_id": p.jobs.add(work, mix(x.cfg.Seed)+uint64(x.number.cloud))}), effect
}

// admits returns the users of a wish as the project knows them, or the error of the part of
// the job. p.mu is held.
func (p *project) admits(rec *record, w wish) (users []User, code, reason string) {
	switch {
	case rec.base == nil:
		return nil, "WKS.00211902", "The desktop does not exist."
	case rec.base.Frozen:
		return nil, CodeFrozen, "The desktop is frozen."
	case rec.base.Type == Pooled:
		return nil, "WKS.00211102", "A desktop of a pool is assigned through its pool."
	case rec.base.Type != Shared && len(rec.desktop().Users) > 0:
		return nil, "WKS.00211102", "The desktop is assigned."
	case rec.base.Type != Shared && len(w.users) > 1:
		return nil, "WKS.00211102", "A desktop of one user."
	}
	p.meetAutomatic(rec)
	for _, u := range w.users {
		if u.Type != "GROUP" {
			one := p.people.find(u)
			if one == nil {
				return nil, "WKS.00170312", "The user does not exist."
			}
			u.ID, u.Domain = one.ID, one.Domain
		}
		users = append(users, u.withDefaults())
	}
	return users, "", ""
}

// awaitUsers starts an attach, which may take effect at once, and returns how it ends. p.mu is
// held.
func (p *project) awaitUsers(r *record, come attachment, now time.Time) (end string) {
	d := r.desktop()
	if len(d.AttachEnds) > 0 {
		come.end, d.AttachEnds = d.AttachEnds[0], d.AttachEnds[1:]
		r.base = &d
	}
	if come.due.After(now) || come.end == Attaching {
		r.coming = &come
	} else {
		p.arrive(r, come)
	}
	return come.end
}

// arrive applies an attachment. p.mu is held.
func (p *project) arrive(r *record, come attachment) {
	before := r.desktop()
	r.coming = nil
	d := before.clone()
	d.AttachState = come.end
	left := p.hadBy(r)
	if come.end == Attached {
		d.Status, d.LoginStatus = Active, "REGISTERED"
		for _, u := range come.users {
			if !slices.ContainsFunc(d.Users, func(o User) bool { return o.ID == u.ID }) {
				d.Users = append(d.Users, u)
			}
		}
		if p.keep {
			p.assigned = append(p.assigned, Assignment{
				DesktopID: r.id, Users: slices.Clone(come.users), Cleared: clears(left, d.Type, come.wish), Time: come.due, RequestID: come.call,
			})
		}
		left = nil
	}
	r.base, r.left = &d, left
	if p.readLag > 0 {
		r.stale = &stale{before, come.due.Add(p.readLag)}
	}
}

// hadBy returns who had a desktop last. p.mu is held.
func (p *project) hadBy(r *record) []User {
	if r.base == autoDetached {
		return Desktop{ID: r.id}.withDefaults().Users
	}
	return r.left
}

// clears reports whether an attach deletes the data of those who had the desktop: that of the
// same user unless the call forbids it, and that of another one in any case.
func clears(left []User, kind string, w wish) bool {
	if len(left) == 0 {
		return false
	}
	stranger := slices.ContainsFunc(w.users, func(u User) bool {
		return !slices.ContainsFunc(left, func(o User) bool { return o.ID == u.ID })
	})
	return !w.keep || stranger && kind != Shared
}

// Assignment is the gain of a desktop by users through an attach call.
type Assignment struct {
	DesktopID string
	Users     []User
	Cleared   bool      // data of those who had the desktop before was deleted
	Time      time.Time // of the effect, by Config.Clock
	RequestID string    // of the call
}

// Assignments returns who really got which desktop of a project by which call, and whether
// data was lost, in the order in which the effects were computed.
func (c *Cloud) Assignments(projectID string) []Assignment {
	return settled(c, projectID, func(p *project) []Assignment { return p.assigned })
}
