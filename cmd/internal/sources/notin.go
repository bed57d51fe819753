package sources

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker/policy"
)

// notIn reads the desktops of everybody who is not in a list.
func (r *Reader) notIn(ctx context.Context, s tasks.Schedule, n tasks.NotIn, lastRows int) (Found, error) {
	stay, err := r.stay(ctx, s, n.File)
	if err != nil {
		return Found{}, err
	}
	expected := lastRows
	if expected <= 0 {
		expected = n.Rows
	}
	switch {
	case stay.users == 0:
		return Found{}, errors.New("the list of those who stay is empty; nobody is detached")
	case stay.users*100 < expected*n.AtLeast:
		return Found{}, fmt.Errorf("the list of those who stay has %d users, and at least %d are required, %d %% of %d; nobody is detached: "+
			"correct the list, or lower at_least for one run if so many have really left",
			stay.users, (expected*n.AtLeast+99)/100, n.AtLeast, expected)
	case expected == 0:
		return Found{Rows: stay.users, Note: fmt.Sprintf("the list of those who stay has %d users; "+
			"nobody is detached the first time, unless the schedule says in rows how many are expected", stay.users)}, nil
	}
	var sel tasks.Selector
	if n.Selector != nil {
		sel = *n.Selector
	}
	j, err := r.judge(ctx, s.Project, sel)
	if err != nil {
		return Found{}, err
	}
	if j.people == nil {
		if err := j.readPeople(ctx); err != nil {
			return Found{}, err
		}
	}
	if !slices.ContainsFunc(j.everybody(), func(p apiclient.Person) bool { return stay.hasAny(formsOf(p)) }) {
		return Found{}, errors.New("nobody of Workspace is in the list of those who stay, so it has other names; nobody is detached: " +
			"name users as Workspace does, in a column user")
	}
	selected := j.user
	j.user = func(u apiclient.User) (bool, doubt) {
		if leaves, why := j.leaves(stay, u); !leaves || selected == nil {
			return leaves, why
		}
		return selected(u)
	}
	found, err := j.fleet(ctx, s)
	found.Rows = stay.users
	return found, err
}

// leaves reports whether a user is known to Workspace, and in no way of writing the name or the
// mail address in the list.
func (j *judge) leaves(stay stayers, u apiclient.User) (bool, doubt) {
	people := j.people[norm.NFC.String(u.Name)]
	forms := policy.UserForms(u.Name)
	for _, p := range people {
		forms = append(forms, formsOf(p)...)
	}
	switch {
	case stay.hasAny(forms):
		return false, ""
	case len(people) == 0:
		return false, unknownUser
	}
	return true, ""
}

// stayers is a list of users who keep their desktops.
type stayers struct {
	forms map[string]bool // in which people may write their names
	users int
}

func (s stayers) hasAny(forms []string) bool {
	return slices.ContainsFunc(forms, func(form string) bool { return s.forms[form] })
}

// stay reads the list of those who stay. A pattern must match one file.
func (r *Reader) stay(ctx context.Context, s tasks.Schedule, file string) (stayers, error) {
	var contents []content
	err := r.contents(ctx, s, file, func(c content) { contents = append(contents, c) })
	switch {
	case err != nil:
		return stayers{}, err
	case len(contents) != 1:
		return stayers{}, fmt.Errorf("the list of those who stay must be one file, and the pattern matches %d; nobody is detached", len(contents))
	case contents[0].err != nil:
		return stayers{}, fmt.Errorf("the list of those who stay, nobody is detached: %w", contents[0].err)
	}
	list, err := parsed(s, contents[0].bytes, true)
	if err != nil {
		return stayers{}, fmt.Errorf("the list of those who stay, nobody is detached: %w", err)
	}
	out, seen := stayers{forms: map[string]bool{}}, map[string]bool{}
	for _, x := range list.Good {
		if x.User == "" {
			return stayers{}, fmt.Errorf("line %d of the list of those who stay names no user; nobody is detached: add a column user", x.Line)
		}
		seen[x.User] = true
		for _, form := range policy.UserForms(x.User) {
			out.forms[form] = true
		}
	}
	out.users = len(seen)
	return out, nil
}
