package worker

import (
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// lookAt is a reading of a row's desktop. seenBefore says that an earlier reading has
// shown it; wherever a call was made one has.
func lookAt(op record.Operation, d record.Row, read map[string]apiclient.Desktop, seenBefore bool) policy.Look {
	desktop, exists := read[d.ID]
	return policy.Look{
		Desktop: desktop, Exists: exists, SeenBefore: seenBefore,
		Expect: d.Expected(), Named: len(d.Expect) > 0, Computer: d.FoundAs, AllowShared: op.AllowShared,
	}
}

// noted are the notes of the verdicts as the record has them.
var noted = map[policy.Note]tasks.Note{policy.Gone: tasks.NoteGone, policy.ReadBack: tasks.NoteReadBack, policy.NotTheirs: tasks.NoteNotTheirs}

// beforeOf is what the record keeps of a reading.
func beforeOf(l policy.Look, at time.Time) *tasks.Before {
	return &tasks.Before{
		Name: l.ComputerName, Type: l.Type, Status: l.Status, AttachState: l.AttachState, Tags: l.Tags, Users: persons(l.Users), ReadAt: at.UTC(),
	}
}

// persons are users as the record has them; never nil.
func persons(users []apiclient.User) []tasks.Person {
	out := make([]tasks.Person, len(users))
	for i, u := range users {
		out[i] = tasks.Person{Name: u.Name, ID: u.ID, Domain: u.Domain, Group: u.Group, Type: u.Type}
	}
	return out
}
