package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks/api"
)

// listParameters carry what a CSV list has no place for.
var listParameters = []string{
	"project", "reason", "ticket", "not_before", "due_at", "deadline", "last_working_day", "zone", "unknown_users", "allow_shared",
	"shutoff_after_detach", "urgent", "validate_only", "user_column", "computer_column", "desktop_column",
}

// decodeRequest reads the body of a request to detach: JSON, or a list as text/csv.
// ignored are the columns of the list that it does not use.
func (r *request) decodeRequest() (in planRequest, ignored []string, err error) {
	defer func() {
		if in.Plan == "" && in.Operation == "" {
			in.UnknownUsers = cmp.Or(in.UnknownUsers, r.key.UnknownUsers)
		}
	}()
	q := r.query(listParameters...)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "text/csv" {
		if err := r.isJSON("application/json, or a list as text/csv"); err != nil {
			return in, nil, err
		}
		for _, name := range listParameters {
			if q.values.Has(name) {
				q.bad(name, "is a parameter of text/csv lists: put it into the body")
			}
		}
		if err := q.err(); err != nil {
			return in, nil, err
		}
		if err := r.decodeJSON(&in, false); err != nil || in.Operation != "" {
			return in, nil, err
		}
		err = r.server.lastDay(&in.OperationRequest, "/last_working_day/date", "/last_working_day/zone")
		return in, nil, err
	}
	for _, name := range listParameters { // not the default: an empty due_at would start at once
		if q.values.Has(name) && q.text(name) == "" {
			q.bad(name, "is empty: leave it out, or give a value")
		}
	}
	base := api.OperationRequest{
		Project: q.text("project"), Reason: q.text("reason"), Ticket: q.text("ticket"), UnknownUsers: q.text("unknown_users"),
		NotBefore: q.start("not_before"), DueAt: q.time("due_at"), Deadline: q.time("deadline"),
		AllowShared: q.flag("allow_shared"), ShutoffAfterDetach: q.flag("shutoff_after_detach"), Urgent: q.flag("urgent"),
		ValidateOnly: q.flag("validate_only"),
	}
	if date, zone := q.text("last_working_day"), q.text("zone"); date != "" {
		base.LastWorkingDay = &api.LastWorkingDay{Date: date, Zone: zone}
	} else if zone != "" {
		q.bad("zone", "is that of last_working_day, which is missing")
	}
	list := leavers.New(base.Project, func(alias string) bool { return slices.Contains(r.server.Store.Projects, alias) && r.maySee(alias) })
	list.Columns = leavers.Columns{User: q.text("user_column"), Computer: q.text("computer_column"), Desktop: q.text("desktop_column")}
	list.AnyDate = slices.ContainsFunc([]string{"not_before", "due_at", "last_working_day"}, q.values.Has)
	if err := q.err(); err != nil {
		return in, nil, err
	}
	text, err := r.read()
	if err != nil {
		return in, nil, err
	}
	if err := list.Read(bytes.NewReader(text)); err != nil {
		return in, nil, unreadableList(err)
	}
	if in.OperationRequest, ignored, err = oneRequest(list, base); err != nil {
		return in, ignored, err
	}
	err = r.server.lastDay(&in.OperationRequest, "last_working_day", "zone")
	return in, ignored, err
}

// planRequest is the body of POST /v1/plans: what POST /v1/operations takes, or an operation
// that waits.
type planRequest struct {
	api.OperationRequest
	Operation string `json:"operation,omitempty"`
}

// oneRequest is the request of a list, which must be valid and of one project.
func oneRequest(list *leavers.List, base api.OperationRequest) (in api.OperationRequest, ignored []string, err error) {
	if list.BadRows > 0 {
		p := problem(http.StatusBadRequest, api.CodeInvalid,
			"the list has invalid rows (%d) and nothing was changed: correct them, then send it again", list.BadRows)
		for _, b := range list.Bad[:min(maxFaults, len(list.Bad))] {
			p.Errors = append(p.Errors, api.Fault{Pointer: fmt.Sprintf("line %d", b.Line), Detail: b.Problem})
		}
		return in, nil, p
	}
	requests := list.Requests(base)
	if len(requests) == 0 {
		return in, nil, fault("", "the list has no rows: it names no desktop, computer or user")
	}
	if len(requests) > 1 {
		var names []string
		for _, r := range requests {
			names = append(names, r.Project)
		}
		return in, nil, fault("", "the list has rows of several projects, %s: send a list for each", strings.Join(names, ", "))
	}
	return requests[0], list.Unknown, nil
}

func unreadableList(err error) error {
	var unclear *leavers.ColumnError
	if errors.As(err, &unclear) {
		return fault(unclear.What+"_column", "%v (- for none)", err)
	}
	return fault("", "%v", err)
}
