package drill

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// Users of desktops.
const (
	Leaver    = "leaver"
	Colleague = "colleague"     // shares a desktop with the leaver
	Somebody  = "somebody-else" // has one that the leaver had
	Heir      = "heir"          // has one as soon as the leaver is detached
)

// Kind is a kind of desktop.
type Kind struct {
	Name  string // ids begin with it
	Type  string
	Users []string
	Heir  bool
	// ByName: the request has the computer's name, and not the id. Expected: it names
	// the leaver.
	ByName, Expected bool
}

var (
	Plain          = Kind{Name: "plain", Users: []string{Leaver}}
	Expected       = Kind{Name: "named", Users: []string{Leaver}, Expected: true}
	Shared         = Kind{Name: "shared", Type: fakecloud.Shared, Users: []string{Leaver, Colleague}, Expected: true}
	Pooled         = Kind{Name: "pooled", Type: fakecloud.Pooled, Users: []string{Leaver}}
	PassedOn       = Kind{Name: "passed-on", Users: []string{Somebody}, Expected: true}
	GivenAway      = Kind{Name: "given-away", Users: []string{Leaver}, Heir: true, Expected: true}
	GivenAwayBare  = Kind{Name: "given-away-bare", Users: []string{Leaver}, Heir: true}
	Found          = Kind{Name: "found", Users: []string{Leaver}, ByName: true}
	FoundGivenAway = Kind{Name: "found-given-away", Users: []string{Leaver}, ByName: true, Heir: true}
	Nowhere        = Kind{Name: "nowhere"} // the cloud has no such desktop
)

// Has says whether a desktop is of the kind.
func (k Kind) Has(id string) bool { return strings.HasPrefix(id, k.Name+"-") }

// Draw draws a kind and adds a desktop of it to the cloud. expect are the users that a
// request for it names.
func (e *Env) Draw(r *rand.Rand, kinds []Kind) (d fakecloud.Desktop, expect []string) {
	e.mu.Lock()
	e.desktops++
	n := e.desktops
	e.mu.Unlock()
	k := kinds[r.IntN(len(kinds))]
	d = fakecloud.Desktop{ID: fmt.Sprintf("%s-%d", k.Name, n), Type: k.Type, Users: Users(k.Users...)}
	if k.Heir {
		d.AfterDetach = Users(Heir)
	}
	if k.ByName {
		d.ComputerName = fmt.Sprintf("PC-%d", n)
	}
	if k.Expected {
		expect = []string{Leaver}
	}
	if k.Name != Nowhere.Name {
		e.Cloud.Add(ProjectID, d)
	}
	return d, expect
}

// Users makes users of a desktop.
func Users(names ...string) (out []fakecloud.User) {
	for _, name := range names {
		out = append(out, fakecloud.User{Name: name})
	}
	return out
}

// On says whether a user has a desktop.
func On(d fakecloud.Desktop, name string) bool {
	return slices.ContainsFunc(d.Users, func(u fakecloud.User) bool { return u.Name == name })
}
