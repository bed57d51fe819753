package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
)

// auditGuards compares the guards of a starting server or worker with those of the last
// start, and writes an entry into the audit log if they changed. Without the entry the
// process must not start with them.
func (p *Program) auditGuards(ctx context.Context, s *app.Store, log zerolog.Logger, part string, guards map[string]string) error {
	before, err := s.Record.Guards(ctx, part)
	if err != nil || maps.Equal(before, guards) {
		return err
	}
	return server.NewAudit(s.Record, log, p.Now).Act(ctx, tasks.AuditEvent{
		Action: tasks.AuditConfiguration, Owner: p.person(), Address: thisMachine().Address, Target: part, Detail: changedGuards(before, guards),
	}).Do(func() error { return s.Record.SetGuards(ctx, part, guards) })
}

const longestChanges = 2000 // characters

// changedGuards lists what differs.
func changedGuards(before, after map[string]string) string {
	if len(before) == 0 {
		return "first start"
	}
	all := maps.Clone(before)
	maps.Copy(all, after)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if before[name] != after[name] {
			out = append(out, name+" "+orDash(before[name])+" → "+orDash(after[name]))
		}
	}
	return clip(strings.Join(out, "; "), longestChanges)
}
