package cli

import (
	"fmt"
	"slices"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/leavers"
)

// scene is the initial content of a fake cloud, by project alias. The fake cloud
// creates nothing on its own: a wrong id must stay wrong.
type scene struct {
	desktops map[string][]fakecloud.Desktop
	people   map[string][]fakecloud.Person
	at       map[desktopKey]int // index in desktops
}

// desktopKey is a desktop of a project, or the id of a row.
type desktopKey struct{ project, desktop string }

func newScene() *scene {
	return &scene{desktops: map[string][]fakecloud.Desktop{}, people: map[string][]fakecloud.Person{}, at: map[desktopKey]int{}}
}

// add creates a desktop with its users. One that exists gets them as well, and is
// shared from then on.
func (s *scene) add(alias, id string, users ...string) {
	key := desktopKey{alias, id}
	i, known := s.at[key]
	if !known {
		i = len(s.desktops[alias])
		s.at[key] = i
		s.desktops[alias] = append(s.desktops[alias], fakecloud.Desktop{ID: id})
	}
	d := &s.desktops[alias][i]
	for _, name := range users {
		if !has(*d, name) {
			d.Users = append(d.Users, fakecloud.User{Name: name})
		}
	}
	if len(d.Users) > 1 {
		d.Type = fakecloud.Shared
	}
}

// addLeavers creates what a list names: desktops with the users beside them, and
// users without a desktop.
func (s *scene) addLeavers(list []leavers.Leaver) {
	for _, x := range list {
		switch {
		case x.Desktop == "":
			s.people[x.Project] = append(s.people[x.Project], fakecloud.Person{Name: x.User})
		case x.User == "":
			s.add(x.Project, x.Desktop)
		default:
			s.add(x.Project, x.Desktop, x.User)
		}
	}
}

// addNumbered creates desktop-1 to desktop-n, of user-1 to user-n.
func (s *scene) addNumbered(alias string, n int) {
	for i := range n {
		s.add(alias, fmt.Sprintf("desktop-%d", i+1), fmt.Sprintf("user-%d", i+1))
	}
}

// stage puts everything into a cloud; ids are the ids of the projects by alias.
func (s *scene) stage(cloud *fakecloud.Cloud, ids map[string]string) {
	for alias, id := range ids {
		cloud.Add(id, s.desktops[alias]...)
		cloud.AddPeople(id, s.people[alias]...)
	}
}

func (s *scene) size() int { return len(s.at) }

func has(d fakecloud.Desktop, name string) bool {
	return slices.ContainsFunc(d.Users, func(u fakecloud.User) bool { return u.Name == name })
}
