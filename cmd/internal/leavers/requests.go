package leavers

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks/api"
)

// Requests makes a request of each project's rows, in the order in which the
// projects are first named. base is what all of them have.
func (l *List) Requests(base api.OperationRequest) (out []api.OperationRequest) {
	at := map[string]int{}
	listed := map[[2]string]bool{}
	for _, x := range l.Good {
		i, known := at[x.Project]
		if !known {
			i = len(out)
			at[x.Project] = i
			out = append(out, base)
			out[i].Project = x.Project
		}
		r := &out[i]
		switch {
		case x.Desktop == "":
			r.Users = append(r.Users, x.User)
			continue
		case x.User != "":
			if r.ExpectedUsers == nil {
				r.ExpectedUsers = map[string][]string{}
			}
			r.ExpectedUsers[x.Desktop] = append(r.ExpectedUsers[x.Desktop], x.User)
		}
		if key := [2]string{x.Project, x.Desktop}; !listed[key] {
			listed[key] = true
			r.Desktops = append(r.Desktops, x.Desktop)
		}
	}
	return out
}

// Line is the line of the row that a pointer into one of its Requests is about, for
// example /desktops/17; 0 where it is about none.
func (l *List) Line(r api.OperationRequest, pointer string) int {
	field, place, _ := strings.Cut(strings.TrimPrefix(pointer, "/"), "/")
	n, err := strconv.Atoi(place)
	of := func(match func(Leaver) bool) int {
		i := slices.IndexFunc(l.Good, func(x Leaver) bool { return x.Project == r.Project && match(x) })
		if i < 0 {
			return 0
		}
		return l.Good[i].Line
	}
	switch {
	case field == "desktops" && err == nil && n >= 0 && n < len(r.Desktops):
		return of(func(x Leaver) bool { return x.Desktop == r.Desktops[n] })
	case field == "users" && err == nil && n >= 0 && n < len(r.Users):
		return of(func(x Leaver) bool { return x.Desktop == "" && x.User == r.Users[n] })
	case field == "expected_users" && place != "":
		return of(func(x Leaver) bool { return x.Desktop == place || strings.HasPrefix(place, x.Desktop+"/") })
	}
	return 0
}

// WriteCSV writes the rows so that Read reads the same list again. It has either
// desktops or users.
func (l *List) WriteCSV(to io.Writer) error {
	w := csv.NewWriter(to)
	users := len(l.Good) > 0 && l.Good[0].Desktop == ""
	columns := []string{"desktop_id", "user", "project"}
	if users {
		columns = columns[1:]
	}
	rows := [][]string{columns}
	for _, x := range l.Good {
		row := []string{x.Desktop, x.User, x.Project}
		if users {
			row = row[1:]
		}
		rows = append(rows, row)
	}
	return w.WriteAll(rows)
}
