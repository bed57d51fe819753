package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	RequestID   string // of the reply that told it; a text of the cloud
}

// User is a user or a group attached to a desktop.
type User struct {
	ID, Name, Group, Type string
}

// Identity is the answer of Client.Probe.
type Identity struct {
	RequestID  string
	ServerTime time.Time // the Date header; zero when absent
}

const (
	// A page of that many holds every desktop one call may name, and stays far
	// below maxReplyBytes. The API allows 500.
	desktopsPerPage = MaxDesktopsPerCall
	maxDesktopPages = 100
)

// Desktops reads the named desktops, 1 to MaxDesktopsPerCall ids without
// duplicates, with GET /v2/{project_id}/desktops/detail (ListDesktopsDetail). A
// desktop that is not in the result does not exist in the project (any more):
// it was in neither of two lists, as those that a first list leaves out are
// asked for once more by themselves. Those found are in the order of ids, and
// none that was not asked for is among them. The list is read page by page, each
// with a time-out of its own; a list that does not end or that contradicts
// itself is an error, never taken for missing desktops.
func (c *Client) Desktops(ctx context.Context, ids []string) ([]Desktop, error) {
	if err := checkIDs(ids); err != nil {
		return nil, localError(listCall(nil), err)
	}
	found := make(map[string]Desktop, len(ids))
	missing := ids
	for range 2 {
		wanted := make(map[string]bool, len(missing))
		for _, id := range missing {
			wanted[id] = true
		}
		err := c.eachDesktop(ctx, url.Values{"desktop_id": missing}, func(d Desktop) (more bool) {
			if wanted[d.ID] {
				found[d.ID] = d
			}
			return len(found) < len(ids)
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
// contradicts itself is an error, never taken for "no desktop".
func (c *Client) DesktopsOf(ctx context.Context, names []string) ([]Desktop, error) {
	if err := checkNames(names); err != nil {
		return nil, localError(listCall(nil), err)
	}
	var short []string
	var filters []url.Values
	for _, name := range names {
		if utf8.RuneCountInString(name) > maxFilterName {
			filters = append(filters, url.Values{"user_name": {name}})
		} else {
			short = append(short, name)
		}
	}
	if len(short) > 0 {
		filters = append(filters, url.Values{"user_names": short})
	}
	var out []Desktop
	seen := map[string]bool{}
	for _, filter := range filters {
		list, err := c.steadyList(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if !seen[d.ID] {
				seen[d.ID] = true
				out = append(out, d)
			}
		}
	}
	return out, nil
}

// maxBeginnings is how often a list that moves is begun.
const maxBeginnings = 5

// steadyList reads a whole list that did not move meanwhile.
func (c *Client) steadyList(ctx context.Context, filter url.Values) ([]Desktop, error) {
	for range maxBeginnings {
		list, moved, err := c.wholeList(ctx, filter)
		if err != nil || !moved {
			return list, err
		}
	}
	return nil, localError(listCall(nil), fmt.Errorf("the list changed whenever it was read, %d times", maxBeginnings))
}

func (c *Client) wholeList(ctx context.Context, filter url.Values) (list []Desktop, moved bool, err error) {
	filter.Set("limit", strconv.Itoa(desktopsPerPage))
	var total *int
	for range maxDesktopPages {
		filter.Set("offset", strconv.Itoa(max(0, len(list)-1)))
		page, r, err := c.listDesktops(ctx, filter)
		if err != nil {
			return nil, false, err
		}
		if total == nil {
			total = page.Total
		}
		items := page.desktops(r)
		if len(list) > 0 {
			if len(items) == 0 || items[0].ID != list[len(list)-1].ID || (total == nil) != (page.Total == nil) || total != nil && *total != *page.Total {
				return nil, true, nil
			}
			items = items[1:]
		}
		list = append(list, items...)
		if len(items) == 0 && total != nil && len(list) < *total {
			return nil, true, nil
		}
		if len(items) == 0 || page.lastAt(len(list)) {
			return list, false, nil
		}
	}
	return nil, false, localError(listCall(nil), fmt.Errorf("the list does not end after %d pages", maxDesktopPages))
}

func checkNames(names []string) error {
	if len(names) == 0 || len(names) > MaxDesktopsPerCall {
		return fmt.Errorf("%d user names: 1 to %d may be asked for", len(names), MaxDesktopsPerCall)
	}
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			return fmt.Errorf("user name %q is empty or given twice", name)
		}
	}
	return nil
}

// eachDesktop goes through the pages of a list until use wants no more.
func (c *Client) eachDesktop(ctx context.Context, filter url.Values, use func(Desktop) (more bool)) error {
	filter.Set("limit", strconv.Itoa(desktopsPerPage))
	for offset, pages := 0, 0; ; pages++ {
		if pages == maxDesktopPages {
			return localError(listCall(nil), fmt.Errorf("the list does not end after %d pages", pages))
		}
		filter.Set("offset", strconv.Itoa(offset))
		page, r, err := c.listDesktops(ctx, filter)
		if err != nil {
			return err
		}
		more := true
		for _, d := range page.desktops(r) {
			more = use(d)
		}
		offset += len(page.Desktops)
		if !more || page.lastAt(offset) {
			return nil
		}
	}
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
		err = page.check(query.Get("offset"))
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
	errNoList       = errors.New("the reply has no list of desktops")
	errListMissing  = errors.New("the list is empty although total_count is not 0")
	errNamelessItem = errors.New("a desktop of the list has no desktop_id")
)

// check refuses what would read as "these desktops are gone" and is not.
func (p desktopPage) check(offset string) error {
	empty := p.Total != nil && *p.Total == 0
	if p.Desktops == nil && !empty {
		return errNoList
	}
	if len(p.Desktops) == 0 && offset == "0" && p.Total != nil && !empty {
		return errListMissing
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

// lastAt reports whether nothing follows the first n desktops.
func (p desktopPage) lastAt(n int) bool {
	return len(p.Desktops) == 0 || p.Total != nil && n >= *p.Total
}

// desktopDetail leaves out what is not used. Of that, "addresses" is a trap: an
// object in the SDK, an array in the published example.
type desktopDetail struct {
	ID           text     `json:"desktop_id"`
	ComputerName text     `json:"computer_name"`
	Type         text     `json:"desktop_type"`
	Status       text     `json:"status"`
	TaskStatus   text     `json:"task_status"`
	Process      *percent `json:"process"`
	AttachState  text     `json:"attach_state"`
	UserName     text     `json:"user_name"`
	Users        []struct {
		ID    text `json:"user_id"`
		Name  text `json:"user_name"`
		Group text `json:"user_group"`
		Type  text `json:"type"`
	} `json:"attach_user_infos"`
	Frozen      bool `json:"is_freeze"`
	Maintenance bool `json:"in_maintenance_mode"`
}

func (d desktopDetail) desktop() Desktop {
	out := Desktop{
		ID:           string(d.ID),
		Process:      -1,
		ComputerName: clip(string(d.ComputerName), maxName),
		Type:         clip(string(d.Type), maxName),
		Status:       clip(string(d.Status), maxName),
		TaskStatus:   clip(string(d.TaskStatus), maxName),
		AttachState:  clip(string(d.AttachState), maxName),
		Frozen:       d.Frozen,
		Maintenance:  d.Maintenance,
	}
	if d.Process != nil {
		out.Process = int(*d.Process)
	}
	for _, u := range d.Users {
		out.Users = append(out.Users, User{
			ID:    clip(string(u.ID), maxName),
			Name:  clip(string(u.Name), maxName),
			Group: clip(string(u.Group), maxName),
			Type:  clip(string(u.Type), maxName),
		})
	}
	if len(out.Users) == 0 && d.UserName != "" && d.AttachState == "ATTACHED" {
		out.Users = []User{{Name: clip(string(d.UserName), maxName)}}
	}
	return out
}

// percent is a number that may come as text; what is neither is no progress.
type percent int

func (p *percent) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(b), `"`))
	if err != nil {
		n = -1
	}
	*p = percent(n)
	return nil
}
