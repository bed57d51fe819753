package worker

import (
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// readingOf returns what a reading shows of a row's desktop. seenBefore says that an earlier
// reading has shown it; one has wherever a call was made.
func readingOf(op record.Operation, d record.Row, read map[string]*apiclient.Desktop, seenBefore bool) policy.Look {
	look := policy.Look{
		SeenBefore: seenBefore,
		Expect:     d.Expected(), Named: len(d.Expect) > 0, Computer: d.FoundAs, AllowShared: op.AllowShared, Undo: undoOf(op, d),
	}
	if desktop, exists := read[d.ID]; exists {
		look.Desktop, look.Exists = *desktop, true
	}
	return look
}

// lookBefore is readingOf before a call, where the plan that binds a row counts.
func lookBefore(op record.Operation, d record.Row, read map[string]*apiclient.Desktop, seenBefore bool) policy.Look {
	look := readingOf(op, d, read, seenBefore)
	if d.Planned != nil {
		look.Plan = &policy.PlannedUsers{Users: d.Planned.Users, Sent: d.CallID != ""}
	}
	return look
}

// protection is what protects desktops that are about to be called.
type protection struct {
	rules   *record.Protections
	project string
	pools   map[string]string // protected pool, by desktop
}

// protectionOf asks for each protected pool which of the desktops belong to it. Without such a
// rule it asks nothing.
func protectionOf(
	rules *record.Protections, project string, ids []string, inPool func(pool string, ids []string) ([]string, error),
) (protection, error) {
	p := protection{rules, project, map[string]string{}}
	if len(ids) == 0 {
		return p, nil
	}
	for _, pool := range rules.Pools(project) {
		in, err := inPool(pool, ids)
		if err != nil {
			return p, err
		}
		for _, id := range in {
			p.pools[id] = pool
		}
	}
	return p, nil
}

// judged is a reading before a call, with the rule that forbids the call. Giving a desktop back
// takes nothing away, so no rule forbids it.
func (p protection) judged(r policy.Look) policy.Look {
	if !r.Exists || r.Undo != nil {
		return r
	}
	losing := r.Losing()
	names := make([]string, len(losing))
	for i, u := range losing {
		names[i] = u.Name
	}
	if rule, is := p.rules.Desktop(record.Protectable{
		Project: p.project, ID: r.ID, ComputerName: r.ComputerName, PoolID: p.pools[r.ID], Tags: r.Tags, TagsUnread: r.TagsUnread, Losing: names,
	}); is {
		r.Protected = rule.Name
	}
	return r
}

// recordNotes are the notes of verdicts as the record has them.
var recordNotes = map[policy.Note]tasks.Note{
	policy.Gone: tasks.NoteGone, policy.ReadBack: tasks.NoteReadBack, policy.NotTheirs: tasks.NoteNotTheirs,
}

// beforeOf is what the record keeps of a reading.
func beforeOf(r policy.Look, at time.Time) *tasks.Before {
	return &tasks.Before{
		Name: r.ComputerName, Type: r.Type, Status: r.Status, AttachState: r.AttachState, Tags: r.Tags,
		Users: policy.PersonsOf(r.Users), ReadAt: at.UTC(),
	}
}
