package apiclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/detachd/detachd/apiclient/desktopid"
)

// Desktop holds the fields of GET /v2/{project_id}/desktops/detail that matter for
// detaching. Unknown values are passed on unchanged; all texts are hostile input.
type Desktop struct {
	ID           string
	ComputerName string
	Type         string    // DEDICATED, SHARED, POOLED
	Status       string    // ACTIVE, SHUTOFF, ERROR, HIBERNATED, …
	TaskStatus   string    // empty when idle
	Process      int       // progress of a running task in percent; -1 without a task
	AttachState  string    // ATTACHED, UNATTACH, DEATTACHED, DEATTACHING, …
	LoginStatus  string    // UNREGISTER, REGISTERED, CONNECTED, DISCONNECTED
	Created      time.Time // zero: not shown
	// Users is attach_user_infos. If that is empty and the desktop is ATTACHED, it is
	// user_name, user_list and user_group_list, each once; on other desktops user_name may be
	// the user who was detached.
	Users       []User
	Frozen      bool
	Maintenance bool
	Tags        []string // "key=value", at most 100
	TagsUnread  bool     // the reply has tags that are not in Tags
	RequestID   string   // of the reply that contained the desktop
}

// User is a user or a group attached to a desktop; Type is USER or GROUP.
type User struct {
	ID, Name, Domain, Group, Type string
}

// Identity is the result of Client.Probe.
type Identity struct {
	RequestID  string
	ServerTime time.Time // the Date header; zero if absent
}

// desktopsPerPage fits all desktops that one call may name, and keeps a page far below
// maxReplyBytes. The API allows 500.
const desktopsPerPage = MaxDesktopsPerCall

// Desktops reads 1 to MaxDesktopsPerCall desktops by their ids, without duplicates
// (ListDesktopsDetail). The result contains only desktops of ids, in their order and
// spelling (UUIDs match in every spelling, see desktopid.Parse). A desktop that is not in
// it does not exist in the project: it was missing from two lists, because ids missing
// from the first are requested again.
//
// A list is read page by page, each with its own time-out. A list that keeps changing,
// does not end or contradicts itself is an error and never counts as missing desktops,
// see DesktopsOf. Each query stays below 6 KiB. A query refused with a 4xx other than
// 401, 403 and 429 is split in half; an id refused alone is an *Error with About.
//
// API reference: https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktopsDetail.html
func (c *Client) Desktops(ctx context.Context, ids []string) ([]Desktop, error) {
	if err := checkIDs(ids); err != nil {
		return nil, localError(listCall(nil), err)
	}
	found := make(map[string]*Desktop, len(ids))
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

// InPool returns those of up to 100 desktops that belong to a pool, in no order. What else is
// read of a desktop does not say which pool it belongs to; the query parameter pool_id does.
//
// API reference: https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktopsDetail.html
func (c *Client) InPool(ctx context.Context, pool string, ids []string) ([]string, error) {
	if err := checkIDs(ids); err != nil {
		return nil, localError(listCall(nil), err)
	}
	found := map[string]*Desktop{}
	err := inParts("desktop_id", ids, func(filter url.Values) error {
		filter.Set("pool_id", pool)
		return c.collect(ctx, filter, found)
	})
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Keys(found)), nil
}

// collect adds the desktops whose ids are in filter to found.
func (c *Client) collect(ctx context.Context, filter url.Values, found map[string]*Desktop) error {
	ids := filter["desktop_id"]
	wanted := make(map[string]int, len(ids))
	for i, id := range ids {
		wanted[desktopid.Canonical(id)] = i
	}
	// Other desktops must not prolong the reading once all of wanted are found.
	enough := func(list []Desktop) bool {
		seen, n := make([]bool, len(ids)), 0
		for i := range list {
			if at, is := wanted[list[i].ID]; is && !seen[at] {
				seen[at] = true
				n++
			}
		}
		return n == len(ids)
	}
	list, err := c.steadyList(ctx, filter, enough)
	for i := range list {
		if at, is := wanted[list[i].ID]; is {
			list[i].ID = ids[at] // as the caller spells it
			found[ids[at]] = &list[i]
		}
	}
	return err
}

// maxFilterName is the most characters of a name in user_names.
const maxFilterName = 36

// DesktopsOf lists every desktop, once, that the cloud associates with any of 1 to 100
// user names without duplicates (ListDesktopsDetail). The documentation does not say
// whether the filters user_names and user_name (for names of more than 36 characters, one
// per request) are exact. The result may contain desktops of other users: compare Users.
// A user's name does not find access through a group.
//
// When a desktop is detached during the reading, the desktops after it move up, possibly
// to the previous page. Each page therefore starts with the last desktop of the previous
// page, and a list that has changed is read again. Errors are those of Desktops, with the
// name in About.
//
// API reference: https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktopsDetail.html
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

// DesktopsNamed lists every desktop, once, that has any of 1 to 100 computer names
// without duplicates (ListDesktopsDetail). The documentation does not say whether the
// filter computer_names is exact: compare ComputerName. Reading and errors are those of
// DesktopsOf. Source: computer_names of ListDesktopsDetailRequest in
// huaweicloud-sdk-go-v3; https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktopsDetail.html
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

// desktopSet is a list of desktops without duplicates.
type desktopSet struct {
	list []Desktop
	seen map[string]bool
}

// add reads the desktops that match the filter key=names into set.
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

// steadyList reads a complete list of desktops, or until enough returns true.
func (c *Client) steadyList(ctx context.Context, filter url.Values, enough func([]Desktop) bool) ([]Desktop, error) {
	filter.Set("limit", strconv.Itoa(desktopsPerPage))
	return listing[Desktop]{
		call:   listCall(filter),
		key:    func(d Desktop) string { return d.ID },
		enough: enough,
		read: func(offset int) (page[Desktop], error) {
			filter.Set("offset", strconv.Itoa(offset))
			in, r, err := c.listDesktops(ctx, filter)
			return page[Desktop]{in.desktops(r), in.Total.total()}, err
		},
	}.steady()
}

func checkNames(whose string, names []string) error {
	if len(names) == 0 || len(names) > MaxDesktopsPerCall {
		return fmt.Errorf("%d %s names: want 1 to %d", len(names), whose, MaxDesktopsPerCall)
	}
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			return fmt.Errorf("%s name %q is empty or repeated", whose, name)
		}
	}
	return nil
}

func inOrder(ids []string, found map[string]*Desktop) []Desktop {
	out := slices.Grow([]Desktop(nil), len(found))
	for _, id := range ids {
		if d, ok := found[id]; ok {
			out = append(out, *d)
		}
	}
	return out
}

// Probe verifies endpoint, credentials and project by listing one desktop. It changes
// nothing.
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
	offset, _ := strconv.Atoi(query.Get("offset")) // absent: 0
	var page desktopPage
	r, err := c.get(ctx, listCall(query), &page, func() error { return page.check(offset) })
	return page, r, err
}

type desktopPage struct {
	Desktops desktopList `json:"desktops"`
	Total    *number     `json:"total_count"`
}

// maxListed bounds the desktops of a page, and the users of a desktop. It is ample: the API has at
// most 1000 of the first, and 500 of the second in a call.
const maxListed = 5000

// errTooMany keeps a reply of a few megabytes from becoming hundreds of them.
var errTooMany = fmt.Errorf("the reply lists too many items: more than %d", maxListed)

// desktopList decodes a list one desktop at a time, as the list in between would take more memory
// than its result.
type desktopList []Desktop

// UnmarshalJSONFrom accepts a list, and null.
func (l *desktopList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var list []Desktop
	if dec.PeekKind() == jsontext.KindBeginArray {
		list = make([]Desktop, 0, desktopsPerPage)
	}
	var d desktopDetail
	err := eachItem(dec, func() error {
		if len(list) == maxListed {
			return errTooMany
		}
		d = desktopDetail{Process: noNumber, Users: d.Users[:0]} // their memory is used again
		err := eachMember(dec, d.field)
		list = append(list, d.desktop())
		return err
	})
	*l = list
	return err
}

var (
	errNoList       = errors.New("the reply has no list")
	errListMissing  = errors.New("the list is empty although total_count is not 0")
	errNamelessItem = errors.New("a desktop of the list has no desktop_id")
)

// checkList rejects replies that would wrongly count as an empty list, and items without a name.
// With a total, null is an empty list.
func checkList[T any](list []T, offset int, total *int, named func(T) bool, nameless error) error {
	switch {
	case list == nil && total == nil:
		return errNoList
	case len(list) == 0 && offset == 0 && total != nil && *total != 0:
		return errListMissing
	case slices.ContainsFunc(list, func(item T) bool { return !named(item) }):
		return nameless
	}
	return nil
}

func (p desktopPage) check(offset int) error {
	return checkList(p.Desktops, offset, p.Total.total(), func(d Desktop) bool { return d.ID != "" }, errNamelessItem)
}

// desktops returns the desktops of a page that came with r.
func (p desktopPage) desktops(r reply) []Desktop {
	id := clip(requestID(r.header, ""), maxName)
	for i := range p.Desktops {
		p.Desktops[i].RequestID = id
	}
	return p.Desktops
}

// desktopDetail has only the fields in use. "addresses" is a trap: an object in the SDK,
// an array in the published example.
type desktopDetail struct {
	ID, ComputerName, Type, Status, TaskStatus, AttachState, LoginStatus, Created, UserName text

	Process             number
	Users               userList
	UserList, GroupList textList // read only if Users is empty so far
	Frozen, Maintenance guard
	Tags                tags
}

func (d *desktopDetail) field(name []byte) any {
	switch string(name) {
	case "desktop_id":
		return &d.ID
	case "computer_name":
		return &d.ComputerName
	case "desktop_type":
		return &d.Type
	case "status":
		return &d.Status
	case "task_status":
		return &d.TaskStatus
	case "process":
		return &d.Process
	case "attach_state":
		return &d.AttachState
	case "login_status":
		return &d.LoginStatus
	case "created":
		return &d.Created
	case "user_name":
		return &d.UserName
	case "attach_user_infos":
		return &d.Users
	case "user_list":
		if len(d.Users) == 0 {
			return &d.UserList
		}
	case "user_group_list":
		if len(d.Users) == 0 {
			return &d.GroupList
		}
	case "is_freeze":
		return &d.Frozen
	case "in_maintenance_mode":
		return &d.Maintenance
	case "tags":
		return &d.Tags
	}
	return nil
}

type attachedUser struct{ ID, Name, Domain, Group, Type text }

func (u *attachedUser) field(name []byte) any {
	switch string(name) {
	case "user_id":
		return &u.ID
	case "user_name":
		return &u.Name
	case "domain":
		return &u.Domain
	case "user_group":
		return &u.Group
	case "type":
		return &u.Type
	}
	return nil
}

// userList is attach_user_infos.
type userList []attachedUser

// UnmarshalJSONFrom accepts a list, and null.
func (l *userList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*l = (*l)[:0]
	return eachItem(dec, func() error {
		if len(*l) == maxListed {
			return errTooMany
		}
		*l = append(*l, attachedUser{})
		return eachMember(dec, (*l)[len(*l)-1].field)
	})
}

func (d *desktopDetail) desktop() Desktop {
	out := Desktop{
		ID:           desktopid.Canonical(string(d.ID)),
		Process:      int(d.Process),
		ComputerName: clip(string(d.ComputerName), maxName),
		Type:         clip(string(d.Type), maxName),
		Status:       clip(string(d.Status), maxName),
		TaskStatus:   clip(string(d.TaskStatus), maxName),
		AttachState:  clip(string(d.AttachState), maxName),
		LoginStatus:  clip(string(d.LoginStatus), maxName),
		Frozen:       bool(d.Frozen),
		Maintenance:  bool(d.Maintenance),
		Tags:         d.Tags.list,
		TagsUnread:   d.Tags.unread,
	}
	if at, err := time.Parse(time.RFC3339, string(d.Created)); err == nil {
		out.Created = at
	}
	if len(d.Users) > 0 {
		out.Users = make([]User, len(d.Users))
	}
	for i, u := range d.Users {
		out.Users[i] = User{
			ID:     clip(string(u.ID), maxName),
			Name:   clip(string(u.Name), maxName),
			Domain: clip(string(u.Domain), maxName),
			Group:  clip(string(u.Group), maxName),
			Type:   clip(string(u.Type), maxName),
		}
	}
	if len(out.Users) == 0 && d.AttachState == "ATTACHED" {
		out.Users = d.usersByName()
	}
	return out
}

// usersByName are the users of a desktop without attach_user_infos. All of them have to be seen: a
// call that names nobody takes the desktop from each.
func (d *desktopDetail) usersByName() (out []User) {
	shown := map[text]bool{"": true}
	add := func(names textList, kind string) {
		for _, name := range names {
			if !shown[name] {
				shown[name] = true
				out = append(out, User{Name: clip(string(name), maxName), Type: kind})
			}
		}
	}
	add(d.GroupList, "GROUP") // first: user_name may be one of them
	add(textList{d.UserName}, "")
	add(d.UserList, "")
	return out
}
