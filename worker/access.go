package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker/policy"
)

// Access reads which desktops of the project a person has now. Names are compared exactly, as
// for operations. What cannot be read, or contradicts itself, is in the AccessRead and never
// looks as if the person had nothing.
func (p *Planner) Access(ctx context.Context, user string) ([]tasks.AccessDesktop, tasks.AccessRead) {
	x := &accessReading{user: user, read: tasks.AccessRead{Project: p.project.Alias}}
	x.finder = finder{
		api: p.project.API, alias: p.project.Alias, directory: p.directory, report: func(ReadingOf, int, time.Time, error) {},
		admit: func(ctx context.Context) error { return p.limit.acquire(ctx, readRequest, toConfirm) },
	}
	if err := x.all(ctx); err != nil {
		x.read.Error = err.Error()
	}
	x.read.Read = x.read.Error == ""
	return x.desktops, x.read
}

// accessReading is one reading of one project.
type accessReading struct {
	finder
	user     string
	desktops []tasks.AccessDesktop
	read     tasks.AccessRead
}

func (x *accessReading) all(ctx context.Context) error {
	asked := time.Now()
	if err := x.add(ctx, x.user); err != nil {
		return err
	}
	people, refusal, err := x.directory.read(ctx, &x.finder, asked.Add(-directoryAge))
	if err != nil {
		return err
	}
	if x.counted(people) > len(x.desktops) {
		// The cloud's filter may need the name as the cloud spells it, and the list of users
		// may be a moment old.
		for _, person := range people {
			if policy.SameName(person.Name, x.user) && person.Name != x.user {
				if err := x.add(ctx, person.Name); err != nil {
					return err
				}
			}
		}
		if people, refusal, err = x.directory.read(ctx, &x.finder, asked); err != nil {
			return err
		}
	}
	if refusal != nil {
		return fmt.Errorf("the users of Workspace could not be listed, so desktops that are counted and not listed are unknown: %w", refusal)
	}
	x.read.Known = len(x.desktops) > 0
	var others []apiclient.Person
	for _, person := range people {
		if policy.SameName(person.Name, x.user) {
			x.read.Known = true
		} else {
			others = append(others, person)
		}
	}
	x.read.Similar = nearNames(x.user, others)
	x.read.Similar = x.read.Similar[:min(len(x.read.Similar), maxSimilar)]
	if n := x.counted(people); n > len(x.desktops) {
		return fmt.Errorf("Workspace counts %s of user %q and lists %d: access may come through a group", counted(n), x.user, len(x.desktops))
	}
	return nil
}

// maxSimilar limits AccessRead.Similar.
const maxSimilar = 5

// add adds the desktops that list the user. A group of the name is another matter.
func (x *accessReading) add(ctx context.Context, name string) error {
	listed, err := x.list(ctx, readUsers, []string{name}, x.api.DesktopsOf)
	if err != nil {
		return err
	}
	for _, d := range listed {
		is := func(u apiclient.User) bool { return !policy.IsGroup(u) && policy.SameName(u.Name, x.user) }
		known := slices.ContainsFunc(x.desktops, func(has tasks.AccessDesktop) bool { return has.DesktopID == d.ID })
		if slices.ContainsFunc(d.Users, is) && !known {
			x.desktops = append(x.desktops, accessDesktop(x.alias, d))
		}
	}
	return nil
}

func accessDesktop(project string, d apiclient.Desktop) tasks.AccessDesktop {
	return tasks.AccessDesktop{
		Project: project, DesktopID: d.ID, ComputerName: d.ComputerName, AttachState: d.AttachState,
		Users: policy.PersonsOf(d.Users), Pooled: d.Type == "POOLED",
	}
}

// counted is how many desktops Workspace counts of the users of this name.
func (x *accessReading) counted(people []apiclient.Person) (n int) {
	for _, person := range people {
		if policy.SameName(person.Name, x.user) {
			n += max(0, person.Desktops)
		}
	}
	return n
}
