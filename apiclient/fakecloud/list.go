package fakecloud

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// window is the requested part of a list.
type window struct{ offset, limit int }

// pageOf reads offset and limit. maxOffset 0: no limit. The reply is that to invalid values.
func pageOf(query url.Values, maxLimit, maxOffset int) (window, *reply) {
	w := window{limit: maxLimit}
	for _, p := range []struct {
		name  string
		value *int
		most  int
	}{{"limit", &w.limit, maxLimit}, {"offset", &w.offset, maxOffset}} {
		given := query.Get(p.name)
		if given == "" {
			continue
		}
		n, err := strconv.Atoi(given)
		if err != nil || n < 0 || (p.most > 0 && n > p.most) {
			return w, invalidParameter(fmt.Sprintf("%s: %q", p.name, given))
		}
		*p.value = n
	}
	return w, nil
}

// cut returns the window of list, never nil.
func cut[T any](list []T, w window) []T {
	from := min(w.offset, len(list))
	to := min(from+w.limit, len(list))
	return list[from:to:to]
}

// maxPage is the maximum number of desktops of one page, and the default.
const maxPage = 500

// showDesktop is GET desktops/{desktop_id}.
func (x *exchange) showDesktop() *reply {
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.find(x.pathID)
	p.settle(rec, now)
	if rec.base == nil {
		return fail(http.StatusNotFound, "WKS.00211902", "The desktop "+x.pathID+" does not exist.")
	}
	rec.reads++
	return ok(map[string]any{"desktop": viewOf(p.shown(rec, now))})
}

// listDesktops is GET desktops/detail.
func (x *exchange) listDesktops() *reply {
	query := x.r.URL.Query()
	win, bad := pageOf(query, maxPage, 0)
	if bad != nil {
		return bad
	}
	for _, name := range []string{"desktop_id", "user_names", "computer_names"} {
		if n := len(query[name]); n > maxDesktops {
			return invalidParameter(fmt.Sprintf("%s: %d, the limit is %d", name, n, maxDesktops))
		}
	}
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.order
	if ids := query["desktop_id"]; len(ids) > 0 {
		found = p.named(ids)
	}
	if keep := filterOf(query, x.cfg); keep != nil {
		found = p.selectRecords(found, keep, now)
	}
	if x.omit != "" {
		found = slices.DeleteFunc(slices.Clone(found), func(rec *record) bool { return rec.id == x.omit })
	}
	if query.Get("sort_field") == "created" && query.Get("sort_type") == "DESC" {
		found = slices.Clone(found)
		slices.Reverse(found)
	}
	if x.cfg.MaxPage > 0 {
		win.limit = min(win.limit, x.cfg.MaxPage)
	}
	views := []desktopView{}
	for _, rec := range cut(found, win) {
		views = append(views, viewOf(p.shown(rec, now)))
	}
	return ok(map[string]any{"desktops": views, "total_count": len(found)})
}

// maxBriefPage is the maximum number of desktops of one page without details, and the default.
const maxBriefPage = 1000

// briefView is SimpleDesktopInfo of the SDK: the fields that matter.
type briefView struct {
	ID     string    `json:"desktop_id"`
	Name   string    `json:"computer_name"`
	Type   string    `json:"desktop_type"`
	Status string    `json:"status"`
	User   string    `json:"user_name"`
	Tags   []tagView `json:"tags"`
	PoolID *string   `json:"pool_id"`
}

// listBriefly is GET desktops.
func (x *exchange) listBriefly() *reply {
	query := x.r.URL.Query()
	win, bad := pageOf(query, maxBriefPage, 0)
	if bad != nil {
		return bad
	}
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.order
	if keep := filterOf(query, x.cfg); keep != nil {
		found = p.selectRecords(found, keep, now)
	}
	if x.cfg.MaxPage > 0 {
		win.limit = min(win.limit, x.cfg.MaxPage)
	}
	views := []briefView{}
	for _, rec := range cut(found, win) {
		d := viewOf(p.shown(rec, now))
		brief := briefView{ID: d.ID, Name: d.ComputerName, Type: d.Type, Status: d.Status, User: d.UserName, Tags: d.Tags}
		if pool := rec.desktop().PoolID; pool != "" {
			brief.PoolID = &pool
		}
		views = append(views, brief)
	}
	return ok(map[string]any{"desktops": views, "total_count": len(found)})
}

// named returns the existing desktops of ids. p.mu is held.
func (p *project) named(ids []string) []*record {
	var found []*record
	for _, id := range ids {
		rec := p.find(id)
		if rec.base != nil && !slices.Contains(found, rec) {
			rec.reads++
			found = append(found, rec)
		}
	}
	return found
}

// selectRecords returns the records that keep accepts. p.mu is held.
func (p *project) selectRecords(from []*record, keep func(*Desktop) bool, now time.Time) []*record {
	var kept []*record
	for _, rec := range from {
		if d := p.shown(rec, now); keep(&d) {
			kept = append(kept, rec)
		}
	}
	return kept
}

// filterOf makes one filter of a query; nil: no filter.
func filterOf(query url.Values, cfg Config) func(*Desktop) bool {
	var all []func(*Desktop) bool
	if names := query["user_names"]; len(names) > 0 {
		all = append(all, func(d *Desktop) bool { return d.hasUser(names, cfg.FuzzyUserNames) })
	} else if name := query.Get("user_name"); name != "" {
		all = append(all, func(d *Desktop) bool { return d.hasUser([]string{name}, true) })
	}
	if v := query.Get("status"); v != "" {
		all = append(all, func(d *Desktop) bool { return d.Status == v })
	}
	if v := query.Get("desktop_type"); v != "" {
		all = append(all, func(d *Desktop) bool { return d.Type == v })
	}
	if v := query.Get("pool_id"); v != "" {
		all = append(all, func(d *Desktop) bool { return slices.Contains(strings.Split(v, ","), d.PoolID) })
	}
	if names := query["computer_names"]; len(names) > 0 {
		all = append(all, func(d *Desktop) bool { return matches(d.ComputerName, names, cfg.FuzzyComputerNames) })
	}
	if v := query.Get("computer_name"); v != "" {
		all = append(all, func(d *Desktop) bool { return strings.Contains(d.ComputerName, v) })
	}
	if v := query.Get("user_attached"); v != "" {
		all = append(all, func(d *Desktop) bool { return (len(d.Users) > 0) == (v == "true") })
	}
	if all == nil {
		return nil
	}
	return func(d *Desktop) bool {
		return !slices.ContainsFunc(all, func(keep func(*Desktop) bool) bool { return !keep(d) })
	}
}

func (d *Desktop) hasUser(names []string, fuzzy bool) bool {
	return slices.ContainsFunc(d.Users, func(u User) bool { return matches(u.Name, names, fuzzy) })
}

// matches reports whether s is one of names, or contains one if fuzzy.
func matches(s string, names []string, fuzzy bool) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return s == name || (fuzzy && strings.Contains(strings.ToLower(s), strings.ToLower(name)))
	})
}
