package leavers

import (
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// Requests makes one request for each project, in the order in which the list names
// them. All start from base.
func (l *List) Requests(base api.OperationRequest) (out []api.OperationRequest) {
	at := map[string]int{}
	listed := map[rowKey]bool{}
	for _, x := range l.Good {
		i, known := at[x.Project]
		if !known {
			i = len(out)
			at[x.Project] = i
			out = append(out, base)
			out[i].Project = x.Project
		}
		r := &out[i]
		if guard := x.guard(); guard != "" {
			if r.ExpectedUsers == nil {
				r.ExpectedUsers = map[string][]string{}
			}
			r.ExpectedUsers[x.row()] = append(r.ExpectedUsers[x.row()], guard)
		}
		key := rowKey{x.Project, x.row()}
		if listed[key] {
			continue
		}
		listed[key] = true
		switch {
		case x.Desktop != "":
			r.Desktops = append(r.Desktops, x.Desktop)
		case x.Computer != "":
			r.Computers = append(r.Computers, x.Computer)
		default:
			r.Users = append(r.Users, x.User)
		}
	}
	return out
}

// Line is the line of the row behind a pointer into one of its Requests, for example
// /desktops/17; 0 if there is none.
func (l *List) Line(r api.OperationRequest, pointer string) int {
	parts := strings.Split(pointer, "/")
	if len(parts) < 3 {
		return 0
	}
	field, place := parts[1], unescape.Replace(parts[2])
	var row string
	if field == "expected_users" {
		row = place
	} else if n, err := strconv.Atoi(place); err == nil {
		nth := func(list []string, row func(string) string) string {
			if n < 0 || n >= len(list) {
				return ""
			}
			return row(list[n])
		}
		switch field {
		case "desktops":
			row = nth(r.Desktops, func(id string) string { return id })
		case "computers":
			row = nth(r.Computers, tasks.ComputerRow)
		case "users":
			row = nth(r.Users, tasks.UserRow)
		}
	}
	if i := slices.IndexFunc(l.Good, func(x Leaver) bool { return x.Project == r.Project && x.row() == row }); i >= 0 {
		return l.Good[i].Line
	}
	return 0
}

// unescape undoes the escaping of JSON pointers.
var unescape = strings.NewReplacer("~1", "/", "~0", "~")
