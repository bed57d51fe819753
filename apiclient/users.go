package apiclient

import (
	"context"
	"errors"
	"net/http"
)

// Person is a user of Workspace, with or without a desktop. At least one of ID and Name is
// set; other texts may be empty. All texts are hostile input.
type Person struct {
	ID, Name, Email, Domain string
	Desktops                int  // total_desktops; -1 if absent
	Locked, Disabled        bool // cannot sign in; a value that cannot be read counts as true
	StatusUnread            bool // Locked or Disabled is true because its value cannot be read
}

// usersPerPage makes pages of about 1 MB, at 1 KB for a user.
const usersPerPage = 1000

// Users lists all users of the project with GET /v2/{project_id}/users (ListUsers), in
// pages as DesktopsOf. A list that keeps changing, does not end (after about 100,000
// users) or contradicts itself is an error and never means that a user is unknown.
// Source: ListUsersRequest, whose limit and offset are strings, and UserInfo of
// huaweicloud-sdk-go-v3; https://support.huaweicloud.com/intl/en-us/api-workspace/ListUsers.html
func (c *Client) Users(ctx context.Context) ([]Person, error) {
	return listing[Person]{
		call: usersCall(0, 0),
		key:  personKey,
		read: func(offset int) (page[Person], error) { return c.listUsers(ctx, usersPerPage, offset) },
	}.steady()
}

func personKey(p Person) string { return p.ID + "\x00" + p.Domain + "\x00" + p.Name }

// ProbeUsers verifies the permission to list users by listing one.
func (c *Client) ProbeUsers(ctx context.Context) error {
	_, err := c.listUsers(ctx, 1, 0)
	return err
}

func usersCall(limit, offset int) call {
	return call{op: "ListUsers", method: http.MethodGet, path: "users", query: window(offset, limit), harmless: true}
}

func (c *Client) listUsers(ctx context.Context, limit, offset int) (page[Person], error) {
	var in userPage
	_, err := c.get(ctx, usersCall(limit, offset), &in, func() error { return in.check(offset) })
	return page[Person]{in.people(), in.Total.total()}, err
}

type userPage struct {
	Users []userDetail `json:"users"`
	Total *number      `json:"total_count"`
}

// userDetail has only the fields in use.
type userDetail struct {
	ID       text    `json:"id"`
	Name     text    `json:"user_name"`
	Email    text    `json:"user_email"`
	Domain   text    `json:"domain"`
	Desktops *number `json:"total_desktops"`
	Locked   flag    `json:"locked"`
	Disabled flag    `json:"disabled"`
}

var errNamelessUser = errors.New("a user of the list has neither id nor user_name")

func (p userPage) check(offset int) error {
	return checkList(p.Users, offset, p.Total.total(), func(u userDetail) bool { return u.ID != "" || u.Name != "" }, errNamelessUser)
}

func (p userPage) people() []Person {
	out := make([]Person, len(p.Users))
	for i, u := range p.Users {
		out[i] = Person{
			ID: clip(string(u.ID), maxName), Name: clip(string(u.Name), maxName), Email: clip(string(u.Email), maxName),
			Domain: clip(string(u.Domain), maxName), Desktops: u.Desktops.or(-1),
			Locked: bool(u.Locked.guard), Disabled: bool(u.Disabled.guard), StatusUnread: u.Locked.unread || u.Disabled.unread,
		}
	}
	return out
}
