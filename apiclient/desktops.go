package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Desktop is what GET /v2/{project_id}/desktops/detail tells of a desktop, as
// far as detaching is concerned. Unknown values are passed on as they are; all
// texts are hostile input.
type Desktop struct {
	ID           string
	ComputerName string
	Type         string // DEDICATED, SHARED, POOLED
	Status       string // ACTIVE, SHUTOFF, ERROR, HIBERNATED, …
	TaskStatus   string // empty when idle
	Process      int    // progress of a running task in percent, -1 when there is none
	AttachState  string // ATTACHED, UNATTACH, DEATTACHED, DEATTACHING, …
	// Users is attach_user_infos. Of a desktop that is ATTACHED and lists none
	// it is user_name, which on any other may be the user that was taken off.
	Users       []User
	Frozen      bool
	Maintenance bool
	// Tags are those of the desktop as "key=value", the first 100 of them.
	Tags      []string
	RequestID string // of the reply that told it; a text of the cloud
}

// User is a user or a group attached to a desktop.
type User struct {
	ID, Name, Domain, Group, Type string
}

// Identity is the answer of Client.Probe.
type Identity struct {
	RequestID  string
	ServerTime time.Time // the Date header; zero when absent
}

// A page of that many holds every desktop one call may name, and stays far below
// maxReplyBytes. The API allows 500.
const desktopsPerPage = MaxDesktopsPerCall

// Desktops reads the named desktops, 1 to MaxDesktopsPerCall ids without
// duplicates, with GET /v2/{project_id}/desktops/detail (ListDesktopsDetail). A
// desktop that is not in the result does not exist in the project (any more):
// it was in neither of two lists, as those that a first list leaves out are
// asked for once more by themselves. Those found are in the order of ids, and
// none that was not asked for is among them. Lists are read steadily as those of
// DesktopsOf, page by page, each with a time-out of its own: one that goes on
// moving, does not end or contradicts itself is an error, never taken for missing
// desktops. Ids are asked for in as many requests as keep each below 6 KiB, and
// where the cloud refuses them with a 4xx (401, 403 and 429 apart) in halves; an id
// that is refused alone is an *Error with About.
func (c *Client) Desktops(ctx context.Context, ids []string) ([]Desktop, error) {
	if err := checkIDs(ids); err != nil {
		return nil, localError(listCall(nil), err)
	}
	found := make(map[string]Desktop, len(ids))
	missing := ids
	for range 2 {
		err := inParts("desktop_id", missing, func(filter url.Values) error {
			return c.collect(ctx, filter, found)
		})
		if err != nil {
			return nil, err
		}
		missing = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, ok := found[id]; return ok })
		if len(missing) == 0 {
			break
		}
	}
	return inOrder(ids, found), nil
}

// collect puts the desktops of a list that filter names by id into found.
func (c *Client) collect(ctx context.Context, filter url.Values, found map[string]Desktop) error {
	wanted := map[string]bool{}
	for _, id := range filter["desktop_id"] {
		wanted[id] = true
	}
	// What was not asked for must not prolong the reading once all are there.
	enough := func(list []Desktop) bool {
		seen := map[string]bool{}
		for _, d := range list {
			if wanted[d.ID] {
				seen[d.ID] = true
			}
		}
		return len(seen) == len(wanted)
	}
	list, err := c.steadyList(ctx, filter, enough)
	for _, d := range list {
		if wanted[d.ID] {
			found[d.ID] = d
		}
	}
	return err
}

// maxFilterName is the longest name that user_names takes.
const maxFilterName = 36

// DesktopsOf lists every desktop that the cloud associates with any of the
// names, 1 to 100 without duplicates, over all pages, each desktop once. The
// documentation does not say whether the filters user_names and user_name, which
// takes the names of more than 36 characters one by one, are exact: desktops of
// others may be in the result, and the caller has to compare Users. Access
// through a group is not found by a user's name. Who is detached while the list is
// read leaves it, and what follows moves up, over the border of two pages: each
// page therefore begins with the last desktop of the one before it, and a list
// that has moved is begun again. One that goes on moving, does not end or
// contradicts itself is an error, never taken for "no desktop". Many or long names
// are asked for in parts, and a name that is refused alone is an *Error with About,
// as the ids of Desktops.
func (c *Client) DesktopsOf(ctx context.Context, names []string) ([]Desktop, error) {
	if err := checkNames("user", names); err != nil {
		return nil, localError(listCall(nil), err)
	}
	var short, long []string
	for _, name := range names {
		if utf8.RuneCountInString(name) > maxFilterName {
			long = append(long, name)
		} else {
			short = append(short, name)
		}
	}
	all := desktopSet{seen: map[string]bool{}}
	for _, name := range long {
		if err := c.add(ctx, &all, "user_name", []string{name}); err != nil {
			return nil, err
		}
	}
	if err := c.add(ctx, &all, "user_names", short); err != nil {
		return nil, err
	}
	return all.list, nil
}

// DesktopsNamed lists every desktop whose computer has any of the names, 1 to 100
// without duplicates, over all pages, each desktop once. The documentation does not
// say whether the filter computer_names is exact: others may be in the result, and
// the caller has to compare ComputerName. It reads as DesktopsOf does, and its
// errors are the same. Source: computer_names of ListDesktopsDetailRequest in
// huaweicloud-sdk-go-v3.
func (c *Client) DesktopsNamed(ctx context.Context, names []string) ([]Desktop, error) {
	if err := checkNames("computer", names); err != nil {
		return nil, localError(listCall(nil), err)
	}
	all := desktopSet{seen: map[string]bool{}}
	if err := c.add(ctx, &all, "computer_names", names); err != nil {
		return nil, err
	}
	return all.list, nil
}

// desktopSet is desktops, each once.
type desktopSet struct {
	list []Desktop
	seen map[string]bool
}

// add reads the list filtered by the names under key into set.
func (c *Client) add(ctx context.Context, set *desktopSet, key string, names []string) error {
	return inParts(key, names, func(filter url.Values) error {
		list, err := c.steadyList(ctx, filter, nil)
		for _, d := range list {
			if !set.seen[d.ID] {
				set.seen[d.ID] = true
				set.list = append(set.list, d)
			}
		}
		return err
	})
}

// steadyList reads a whole list of desktops, or as much as is enough.
func (c *Client) steadyList(ctx context.Context, filter url.Values, enough func([]Desktop) bool) ([]Desktop, error) {
	filter.Set("limit", strconv.Itoa(desktopsPerPage))
	return listing[Desktop]{
		call:   listCall(filter),
		key:    func(d Desktop) string { return d.ID },
		enough: enough,
		read: func(offset int) (page[Desktop], error) {
			filter.Set("offset", strconv.Itoa(offset))
			in, r, err := c.listDesktops(ctx, filter)
			return page[Desktop]{in.desktops(r), in.Total}, err
		},
	}.steady()
}

func checkNames(whose string, names []string) error {
	if len(names) == 0 || len(names) > MaxDesktopsPerCall {
		return fmt.Errorf("%d %s names: 1 to %d may be asked for", len(names), whose, MaxDesktopsPerCall)
	}
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			return fmt.Errorf("%s name %q is empty or given twice", whose, name)
		}
	}
	return nil
}

func inOrder(ids []string, found map[string]Desktop) []Desktop {
	var out []Desktop
	for _, id := range ids {
		if d, ok := found[id]; ok {
			out = append(out, d)
		}
	}
	return out
}

// Probe reads one desktop of the project and so shows whether endpoint,
// credentials and project go together. It changes nothing.
func (c *Client) Probe(ctx context.Context) (Identity, error) {
	_, r, err := c.listDesktops(ctx, url.Values{"limit": {"1"}})
	if err != nil {
		return Identity{}, err
	}
	id := Identity{RequestID: clip(requestID(r.header, ""), maxName)}
	if at, err := http.ParseTime(r.header.Get("Date")); err == nil {
		id.ServerTime = at
	}
	return id, nil
}

func listCall(query url.Values) call {
	return call{op: "ListDesktopsDetail", method: http.MethodGet, path: "desktops/detail", query: query, harmless: true}
}

func (c *Client) listDesktops(ctx context.Context, query url.Values) (desktopPage, reply, error) {
	list := listCall(query)
	r, err := c.do(ctx, list)
	if err != nil {
		return desktopPage{}, reply{}, err
	}
	var page desktopPage
	err = decodeObject(r.body, &page)
	if err == nil {
		offset, _ := strconv.Atoi(query.Get("offset")) // absent: 0
		err = page.check(offset)
	}
	if err != nil {
		return desktopPage{}, reply{}, newError(list, r, err)
	}
	return page, r, nil
}

type desktopPage struct {
	Desktops []desktopDetail `json:"desktops"`
	Total    *int            `json:"total_count"`
}

var (
	errNoList       = errors.New("the reply has no list")
	errListMissing  = errors.New("the list is empty although total_count is not 0")
	errNamelessItem = errors.New("a desktop of the list has no desktop_id")
)

// checkList refuses what would read as "these are gone" and is not.
func checkList(absent bool, length, offset int, total *int) error {
	empty := total != nil && *total == 0
	if absent && !empty {
		return errNoList
	}
	if length == 0 && offset == 0 && total != nil && !empty {
		return errListMissing
	}
	return nil
}

func (p desktopPage) check(offset int) error {
	if err := checkList(p.Desktops == nil, len(p.Desktops), offset, p.Total); err != nil {
		return err
	}
	for _, d := range p.Desktops {
		if d.ID == "" {
			return errNamelessItem
		}
	}
	return nil
}

// desktops are those of a page, which came with r.
func (p desktopPage) desktops(r reply) []Desktop {
	id := clip(requestID(r.header, ""), maxName)
	out := make([]Desktop, len(p.Desktops))
	for i, item := range p.Desktops {
		out[i] = item.desktop()
		out[i].RequestID = id
	}
	return out
}

// desktopDetail leaves out what is not used. Of that, "addresses" is a trap: an
// object in the SDK, an array in the published example.
type desktopDetail struct {
	ID           text    `json:"desktop_id"`
	ComputerName text    `json:"computer_name"`
	Type         text    `json:"desktop_type"`
	Status       text    `json:"status"`
	TaskStatus   text    `json:"task_status"`
	Process      *number `json:"process"`
	AttachState  text    `json:"attach_state"`
	UserName     text    `json:"user_name"`
	Users        []struct {
		ID     text `json:"user_id"`
		Name   text `json:"user_name"`
		Domain text `json:"domain"`
		Group  text `json:"user_group"`
		Type   text `json:"type"`
	} `json:"attach_user_infos"`
	Frozen      bool `json:"is_freeze"`
	Maintenance bool `json:"in_maintenance_mode"`
	Tags        tags `json:"tags"`
}

func (d desktopDetail) desktop() Desktop {
	out := Desktop{
		ID:           string(d.ID),
		Process:      d.Process.or(-1),
		ComputerName: clip(string(d.ComputerName), maxName),
		Type:         clip(string(d.Type), maxName),
		Status:       clip(string(d.Status), maxName),
		TaskStatus:   clip(string(d.TaskStatus), maxName),
		AttachState:  clip(string(d.AttachState), maxName),
		Frozen:       d.Frozen,
		Maintenance:  d.Maintenance,
		Tags:         d.Tags,
	}
	for _, u := range d.Users {
		out.Users = append(out.Users, User{
			ID:     clip(string(u.ID), maxName),
			Name:   clip(string(u.Name), maxName),
			Domain: clip(string(u.Domain), maxName),
			Group:  clip(string(u.Group), maxName),
			Type:   clip(string(u.Type), maxName),
		})
	}
	if len(out.Users) == 0 && d.UserName != "" && d.AttachState == "ATTACHED" {
		out.Users = []User{{Name: clip(string(d.UserName), maxName)}}
	}
	return out
}
