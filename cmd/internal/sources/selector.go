package sources

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// selected reads the desktops that a selector matches.
func (r *Reader) selected(ctx context.Context, s tasks.Schedule, sel tasks.Selector) (Found, error) {
	j, err := r.judge(ctx, s.Project, sel)
	if err != nil {
		return Found{}, err
	}
	return j.fleet(ctx, s)
}

// doubt is why a desktop that may match is not selected: a reading does not show what decides.
type doubt string

const (
	noUser       doubt = "no user is shown, or not one that can be named"
	hasGroup     doubt = "a group has access"
	notShown     doubt = "its use, or when it was made, is not shown"
	perhapsInUse doubt = "it may be in use now"
	usedByOther  doubt = "the last to use it was another than its user"
	perhapsKnown doubt = "its user may be one that is written differently"
	unknownUser  doubt = "whether its user exists, or is locked, is not shown"
	isProtected  doubt = "a rule protects it"
)

// judge decides about the desktops of one project by what was read of it.
type judge struct {
	sel     tasks.Selector
	pattern string // of computers; see tasks.Fold
	read    Fleet

	project string
	rules   *record.Protections
	pools   map[string]string // protected pool, by desktop

	pool  map[string]bool            // the desktops of sel.Pool
	usage map[string]apiclient.Usage // of the desktops that were idle for sel.UnusedDays
	since time.Time                  // the beginning of these days

	people map[string][]apiclient.Person // by name
	forms  map[string]bool               // in which people may write the names of all of them

	// user decides about a user; nil: any is selected. With a doubt it is false.
	user func(u apiclient.User) (bool, doubt)
}

// judge reads what a selector needs but the desktops.
func (r *Reader) judge(ctx context.Context, project string, sel tasks.Selector) (*judge, error) {
	read, err := r.cfg.Fleet(project)
	if err != nil {
		return nil, err
	}
	j := &judge{sel: sel, pattern: tasks.Fold(sel.Computer), read: read, project: project, pools: map[string]string{}}
	if j.rules, err = read.Protections(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	for _, pool := range j.rules.Pools(project) {
		for id, err := range read.Pool(ctx, pool) {
			if err != nil {
				return nil, ofCloud(err)
			}
			j.pools[id] = pool
		}
	}
	if sel.Pool != "" {
		j.pool = map[string]bool{}
		for id, err := range read.Pool(ctx, sel.Pool) {
			if err != nil {
				return nil, ofCloud(err)
			}
			j.pool[id] = true
		}
	}
	if sel.UnusedDays > 0 {
		// The cloud adds a day up at 02:00 of the next one.
		until := r.cfg.Now().UTC().Add(-6 * time.Hour).Truncate(24 * time.Hour)
		j.since, j.usage = until.AddDate(0, 0, -sel.UnusedDays), map[string]apiclient.Usage{}
		for u, err := range read.Usage(ctx, j.since, until, sel.UnusedDays) {
			if err != nil {
				return nil, ofCloud(err)
			}
			j.usage[u.DesktopID] = u
		}
	}
	switch sel.User {
	case "":
		return j, nil
	case tasks.UserLocked:
		j.user = j.locked
	case tasks.UserMissing:
		j.user = j.missing
	default:
		return nil, fmt.Errorf("this version cannot select users who are %q", sel.User)
	}
	return j, j.readPeople(ctx)
}

// readPeople adds all users to those who are known already.
func (j *judge) readPeople(ctx context.Context) error {
	if j.people == nil {
		j.people, j.forms = map[string][]apiclient.Person{}, map[string]bool{}
	}
	for p, err := range j.read.People(ctx) {
		if err != nil {
			return ofCloud(err)
		}
		name := norm.NFC.String(p.Name)
		j.people[name] = append(j.people[name], p)
		for _, form := range formsOf(p) {
			j.forms[form] = true
		}
	}
	return nil
}

// everybody is all users.
func (j *judge) everybody() (out []apiclient.Person) {
	for _, people := range j.people {
		out = append(out, people...)
	}
	return out
}

func formsOf(p apiclient.Person) []string {
	return append(policy.UserForms(p.Name), policy.UserForms(p.Email)...)
}

// fleet judges every desktop. Where users decide, they are read once more after the desktops: who
// came meanwhile was not in the first list, and one who is absent from a list may have been
// missed.
func (j *judge) fleet(ctx context.Context, s tasks.Schedule) (Found, error) {
	doubts := map[doubt]int{}
	judged := func(d apiclient.Desktop) []string {
		users, why := j.desktop(d)
		if why != "" {
			doubts[why]++
		}
		return users
	}
	var candidates []apiclient.Desktop
	known, absent := 0, 0
	for d, err := range j.read.Fleet(ctx) {
		if err != nil {
			return Found{}, ofCloud(err)
		}
		if len(judged(d)) > 0 {
			candidates = append(candidates, d)
		}
		for _, u := range d.Users {
			switch {
			case policy.IsGroup(u):
			case len(j.people[norm.NFC.String(u.Name)]) > 0:
				known++
			default:
				absent++
			}
		}
	}
	if j.sel.User == tasks.UserMissing && absent > known {
		return Found{}, fmt.Errorf("%d users of desktops are in the list of Workspace's users and %d are not, so it is probably not complete; "+
			"nobody is detached: the credentials need workspace:users:list for all enterprise projects", known, absent)
	}
	if j.people != nil && len(candidates) > 0 {
		if err := j.readPeople(ctx); err != nil {
			return Found{}, err
		}
	}
	expect := map[string][]string{}
	for _, d := range candidates {
		if users := judged(d); len(users) > 0 {
			expect[tasks.CanonicalDesktopID(d.ID)] = users
		}
	}
	ids := slices.Sorted(maps.Keys(expect)) // so that each process makes the same of the same fleet
	return Found{Lists: []List{{Requests: split(base(s), ids, nil, nil, expect)}}, Rows: len(ids), Note: noteOf(doubts)}, nil
}

func noteOf(doubts map[doubt]int) string {
	if len(doubts) == 0 {
		return ""
	}
	n, parts := 0, []string{}
	for why, count := range doubts {
		n += count
		parts = append(parts, fmt.Sprintf("%s: %d", why, count))
	}
	slices.Sort(parts)
	return fmt.Sprintf("%d desktops may match and were not selected (%s)", n, strings.Join(parts, "; "))
}

// maxExpect is the largest number of users that a request may expect on a desktop.
const maxExpect = 500

// desktop returns the users who are to lose a desktop. Of a SHARED one these may be some of
// them; another one is selected only if all of its users are.
func (j *judge) desktop(d apiclient.Desktop) (users []string, why doubt) {
	if d.AttachState != "ATTACHED" || tasks.CheckDesktopID(d.ID) != "" || !j.matches(d) {
		return nil, ""
	}
	if unused, why := j.unused(d); !unused {
		return nil, why
	}
	shared := d.Type == "SHARED"
	if len(d.Users) == 0 || len(d.Users) > maxExpect {
		return nil, noUser
	}
	for _, u := range d.Users {
		isUser, doubted := u.Type == "" || u.Type == "USER", doubt("")
		selected := true
		switch {
		case policy.IsGroup(u):
			selected, doubted = false, hasGroup
		case !isUser || tasks.CheckUserName(u.Name) != "":
			selected, doubted = false, noUser
		case j.user != nil:
			selected, doubted = j.user(u)
		}
		name := norm.NFC.String(u.Name)
		switch {
		case selected && !slices.Contains(users, name):
			users = append(users, name)
		case !selected && (!shared || j.user == nil):
			return nil, doubted
		case !selected:
			why = cmp.Or(why, doubted)
		}
	}
	switch {
	case len(users) == 0:
		return nil, why
	case j.protected(d, users):
		return nil, isProtected
	}
	return users, ""
}

func (j *judge) protected(d apiclient.Desktop, losing []string) bool {
	_, is := j.rules.Desktop(record.Protectable{
		Project: j.project, ID: tasks.CanonicalDesktopID(d.ID), ComputerName: d.ComputerName, PoolID: j.pools[d.ID], Tags: d.Tags,
		TagsUnread: d.TagsUnread, Losing: losing,
	})
	return is
}

// matches reports what a desktop shows by itself.
func (j *judge) matches(d apiclient.Desktop) bool {
	if j.sel.Pool != "" && !j.pool[d.ID] {
		return false
	}
	if j.sel.Tag != "" && !slices.ContainsFunc(d.Tags, j.isTag) {
		return false
	}
	if j.sel.Computer == "" {
		return true
	}
	match, err := path.Match(j.pattern, tasks.Fold(d.ComputerName))
	return err == nil && match && d.ComputerName != ""
}

// isTag reports whether a tag of a desktop is the tag of the selector, or has its key.
func (j *judge) isTag(tag string) bool {
	tag, want := norm.NFC.String(tag), norm.NFC.String(j.sel.Tag)
	return tag == want || strings.HasPrefix(tag, want+"=")
}

// unused reports whether a desktop was not used for as long as the selector says.
func (j *judge) unused(d apiclient.Desktop) (bool, doubt) {
	if j.sel.UnusedDays == 0 {
		return true, ""
	}
	u, listed := j.usage[d.ID]
	switch {
	case !listed, u.Used > 0: // it was used since
		return false, ""
	case u.Used < 0, u.Idle < time.Duration(j.sel.UnusedDays)*24*time.Hour, d.Created.IsZero(), d.Created.After(j.since):
		return false, notShown
	case d.LoginStatus != "REGISTERED" && d.LoginStatus != "UNREGISTER":
		return false, perhapsInUse
	case u.LastUser != "" && !slices.ContainsFunc(d.Users, func(x apiclient.User) bool { return alike(x.Name, u.LastUser) }):
		return false, usedByOther
	}
	return true, ""
}

func alike(a, b string) bool {
	forms := policy.UserForms(b)
	return slices.ContainsFunc(policy.UserForms(a), func(form string) bool { return slices.Contains(forms, form) })
}

// locked reports whether every user of Workspace of this name is locked or disabled.
func (j *judge) locked(u apiclient.User) (bool, doubt) {
	people := j.people[norm.NFC.String(u.Name)]
	if len(people) == 0 || slices.ContainsFunc(people, func(p apiclient.Person) bool { return p.StatusUnread }) {
		return false, unknownUser
	}
	return !slices.ContainsFunc(people, func(p apiclient.Person) bool { return !p.Locked && !p.Disabled }), ""
}

// missing reports whether Workspace has no user of this name, nor one that may be written so.
func (j *judge) missing(u apiclient.User) (bool, doubt) {
	switch {
	case len(j.people) == 0: // an empty list of users is that of a permission, not of a company
		return false, unknownUser
	case len(j.people[norm.NFC.String(u.Name)]) > 0:
		return false, ""
	case slices.ContainsFunc(policy.UserForms(u.Name), func(form string) bool { return j.forms[form] }):
		return false, perhapsKnown
	}
	return true, ""
}
