package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/detachd/detachd/tasks"
)

// Protected is a rule about what no call may name. At least one list is required. All texts
// match without regard to case.
type Protected struct {
	Name      string   `yaml:"name"`      // named in refusals: 1 to 40 of a-z, 0-9 and ._-. Required.
	Desktops  []string `yaml:"desktops"`  // ids. Defaults to none.
	Users     []string `yaml:"users"`     // names of users or groups, on whatever desktop. Defaults to none.
	Computers []string `yaml:"computers"` // patterns of computer names: * any characters, ? one, [a-z] one of these. Defaults to none.
	Tags      []string `yaml:"tags"`      // key=value, or key for any value. Defaults to none.
	Pools     []string `yaml:"pools"`     // ids of desktop pools. Defaults to none.
}

// rules are the rule's parts, for a project, or for all if that is empty.
func (p Protected) rules(project string) []tasks.Protection {
	var out []tasks.Protection
	for _, part := range p.parts() {
		for _, text := range part.patterns {
			out = append(out, tasks.Protection{Name: p.Name, Kind: part.kind, Pattern: text, Project: project, Configured: true})
		}
	}
	return out
}

// protectedPart is one list of a rule.
type protectedPart struct {
	field    string
	kind     tasks.ProtectionKind
	patterns []string
}

func (p Protected) parts() []protectedPart {
	return []protectedPart{
		{"desktops", tasks.ProtectDesktop, p.Desktops}, {"users", tasks.ProtectUser, p.Users},
		{"computers", tasks.ProtectComputer, p.Computers}, {"tags", tasks.ProtectTag, p.Tags}, {"pools", tasks.ProtectPool, p.Pools},
	}
}

func (p Protected) validate(bad func(field, format string, args ...any)) {
	empty := true
	for _, part := range p.parts() {
		for i, text := range part.patterns {
			empty = false
			field := fmt.Sprintf("%s[%d]", part.field, i)
			var wrong *tasks.ValidationError
			if !errors.As((tasks.Protection{Name: "x", Kind: part.kind, Pattern: text}).Validate(), &wrong) {
				continue
			}
			for _, x := range wrong.Problems {
				bad(field, "%s", strings.TrimSpace(x.Value+" "+x.Message))
			}
		}
	}
	if (tasks.Protection{Name: p.Name, Kind: tasks.ProtectPool, Pattern: "x"}).Validate() != nil {
		bad("name", "is %q: 1 to 40 lower-case letters, digits, dots, dashes or underscores", p.Name)
	}
	if empty {
		bad("name", "%q protects nothing: name at least one of desktops, users, computers, tags and pools", p.Name)
	}
}

// Protections are the rules of the configuration.
func (c Config) Protections() []tasks.Protection {
	var out []tasks.Protection
	for _, p := range c.Protected {
		out = append(out, p.rules("")...)
	}
	for _, project := range c.Projects {
		for _, p := range project.Protected {
			out = append(out, p.rules(project.Alias)...)
		}
	}
	return out
}

// Require is what every request of a project must have.
type Require struct {
	Reason bool `yaml:"reason"` // Defaults to false.
	Ticket bool `yaml:"ticket"` // Defaults to false.
}
