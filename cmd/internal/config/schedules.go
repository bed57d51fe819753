package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// CheckSchedule returns a *tasks.ValidationError that names everything that is wrong with a
// schedule, wherever it is from, or nil.
func (c Config) CheckSchedule(s tasks.Schedule) error {
	var wrong *tasks.ValidationError
	if !errors.As(record.CheckSchedule(s, c.Retention), &wrong) {
		wrong = &tasks.ValidationError{}
	}
	i := slices.IndexFunc(c.Projects, func(p Project) bool { return p.Alias == s.Project })
	switch {
	case i >= 0:
		var lacks *tasks.ValidationError
		required := tasks.Required(c.Projects[i].Require)
		if errors.As(required.Validate(tasks.Request{Project: s.Project, Reason: s.Reason, Ticket: s.Ticket}), &lacks) {
			wrong.Problems = append(wrong.Problems, lacks.Problems...)
		}
	case s.Project != "":
		wrong.Problems = append(wrong.Problems, tasks.Problem{Field: "project", Message: fmt.Sprintf("there is no project %.60q", s.Project)})
	}
	for field, name := range map[string]string{"source.file": s.Source.File, "source.not_in.file": notInFile(s)} {
		if why := c.checkFile(s, name); name != "" && why != "" {
			wrong.Problems = append(wrong.Problems, tasks.Problem{Field: field, Message: why})
		}
	}
	if len(wrong.Problems) == 0 {
		return nil
	}
	return wrong
}

func notInFile(s tasks.Schedule) string {
	if s.Source.NotIn == nil {
		return ""
	}
	return s.Source.NotIn.File
}

// checkFile says what is wrong with the name of a list. It is the machines of the workers that
// have it.
func (c Config) checkFile(s tasks.Schedule, name string) string {
	switch {
	case strings.ContainsAny(filepath.Dir(filepath.Clean(name)), `*?[`):
		return "has a pattern in a directory: only the last part of the name may be one"
	case s.Configured && !filepath.IsAbs(name) && c.Worker.Lists == "":
		return "is relative, and worker.lists is empty: write the whole path"
	case s.Configured:
		return ""
	case c.Worker.Lists == "":
		return "is for schedules of the configuration only, because worker.lists is empty: set it to the directory of the lists"
	case !filepath.IsLocal(name):
		return "is outside of worker.lists: write a name relative to that directory, without .."
	}
	return ""
}

// validateSchedules names the schedule in each fault: in a long list its number says little.
func (c Config) validateSchedules(ps *problems) {
	seen := map[string]bool{}
	for i, s := range c.Schedules {
		bad := func(field, text string) {
			ps.add(fmt.Sprintf("schedules[%d].%s", i, field), "%s (schedule %.60q)", text, s.Name)
		}
		if seen[s.Name] {
			bad("name", "is repeated")
		}
		seen[s.Name] = true
		s.Configured = true
		var wrong *tasks.ValidationError
		if errors.As(c.CheckSchedule(s), &wrong) {
			for _, p := range wrong.Problems {
				bad(p.Field, strings.TrimSpace(p.Value+" "+p.Message))
			}
		}
	}
}
