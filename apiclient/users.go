package apiclient

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
)

// Person is a user whom Workspace knows, with or without a desktop. All texts are
// hostile input; any but one of ID and Name may be empty.
type Person struct {
	ID, Name, Email, Domain string
	Desktops                int // total_desktops; -1 when the reply does not say
}

// usersPerPage: a user is about 1 KB of a reply.
const usersPerPage = 1000

// Users lists every user of the project with GET /v2/{project_id}/users
// (ListUsers), over all pages, steadily as DesktopsOf does. It changes nothing. A
// list that goes on moving, does not end (after about 100,000 users) or contradicts
// itself is an error, never taken for "not known". Source: ListUsersRequest and
// UserInfo of huaweicloud-sdk-go-v3, whose limit and offset are strings.
func (c *Client) Users(ctx context.Context) ([]Person, error) {
	return listing[Person]{
		call: usersCall(0, 0),
		key:  func(p Person) string { return p.ID + "\x00" + p.Name },
		read: func(offset int) (page[Person], error) { return c.listUsers(ctx, usersPerPage, offset) },
	}.steady()
}

// ProbeUsers reads one user and so shows whether the credentials may list them.
func (c *Client) ProbeUsers(ctx context.Context) error {
	_, err := c.listUsers(ctx, 1, 0)
	return err
}

func usersCall(limit, offset int) call {
	query := url.Values{"limit": {strconv.Itoa(limit)}, "offset": {strconv.Itoa(offset)}}
	return call{op: "ListUsers", method: http.MethodGet, path: "users", query: query, harmless: true}
}

func (c *Client) listUsers(ctx context.Context, limit, offset int) (page[Person], error) {
	read := usersCall(limit, offset)
	r, err := c.do(ctx, read)
	if err != nil {
		return page[Person]{}, err
	}
	var in userPage
	if err = decodeObject(r.body, &in); err == nil {
		err = in.check(offset)
	}
	if err != nil {
		return page[Person]{}, newError(read, r, err)
	}
	return page[Person]{in.people(), in.Total}, nil
}

type userPage struct {
	Users []userDetail `json:"users"`
	Total *int         `json:"total_count"`
}

// userDetail leaves out what is not used.
type userDetail struct {
	ID       text    `json:"id"`
	Name     text    `json:"user_name"`
	Email    text    `json:"user_email"`
	Domain   text    `json:"domain"`
	Desktops *number `json:"total_desktops"`
}

var errNamelessUser = errors.New("a user of the list has neither id nor user_name")

func (p userPage) check(offset int) error {
	if err := checkList(p.Users == nil, len(p.Users), offset, p.Total); err != nil {
		return err
	}
	for _, u := range p.Users {
		if u.ID == "" && u.Name == "" {
			return errNamelessUser
		}
	}
	return nil
}

func (p userPage) people() []Person {
	out := make([]Person, len(p.Users))
	for i, u := range p.Users {
		out[i] = Person{
			ID: clip(string(u.ID), maxName), Name: clip(string(u.Name), maxName), Email: clip(string(u.Email), maxName),
			Domain: clip(string(u.Domain), maxName), Desktops: u.Desktops.or(-1),
		}
	}
	return out
}
