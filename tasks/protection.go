package tasks

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ProtectionKind says what a Protection is about.
type ProtectionKind string

// The kinds.
const (
	ProtectDesktop  ProtectionKind = "desktop"  // the desktop with this id
	ProtectUser     ProtectionKind = "user"     // a user or a group, on whatever desktop
	ProtectComputer ProtectionKind = "computer" // desktops whose computer name matches this pattern
	ProtectTag      ProtectionKind = "tag"      // desktops with this tag: key=value, or key for any value
	ProtectPool     ProtectionKind = "pool"     // desktops of the pool with this id
)

// ProtectionKinds lists the kinds.
var ProtectionKinds = []ProtectionKind{ProtectDesktop, ProtectUser, ProtectComputer, ProtectTag, ProtectPool}

// MaxProtections is the largest number of protections in Redis; the configuration may have more.
const MaxProtections = 1000

// Protection is a rule about what no detach call may name. Names, tags and patterns match
// without regard to case, so that a spelling cannot get around a rule.
type Protection struct {
	Name       string         `json:"name"` // 1 to 40 lower-case letters, digits, dots, dashes or underscores
	Kind       ProtectionKind `json:"kind"`
	Pattern    string         `json:"pattern"`           // of a computer: * any characters, ? one, [a-z] one of these; else the exact text
	Project    string         `json:"project,omitempty"` // empty: all
	Reason     string         `json:"reason,omitempty"`
	By         string         `json:"by,omitempty"`         // who added it; empty: the configuration
	At         time.Time      `json:"at,omitzero"`          // when
	Configured bool           `json:"configured,omitempty"` // it is in the configuration, and only there it can be changed
}

var protectionName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,39}$`)

// Validate returns a *ValidationError that names what is wrong with the rule, or nil. It
// does not know which projects there are.
func (p Protection) Validate() error {
	var ps problems
	if !protectionName.MatchString(p.Name) {
		ps.add("name", p.Name, "is not 1 to 40 lower-case letters, digits, dots, dashes or underscores")
	}
	if why := p.checkPattern(); why != "" {
		ps.add("pattern", p.Pattern, "%s", why)
	}
	if !slices.Contains(ProtectionKinds, p.Kind) {
		ps.add("kind", string(p.Kind), "is not one of desktop, user, computer, tag and pool")
	}
	if utf8.RuneCountInString(p.Reason) > maxReason || !utf8.ValidString(p.Reason) {
		ps.add("reason", "", "is longer than %d characters, or not valid UTF-8", maxReason)
	}
	return ps.err()
}

func (p Protection) checkPattern() string {
	switch p.Kind {
	case ProtectDesktop:
		return CheckDesktopID(p.Pattern)
	case ProtectUser:
		return CheckUserName(p.Pattern)
	case ProtectComputer:
		if _, err := path.Match(p.Folded(), ""); err != nil {
			return `is not a pattern: write * for any characters, ? for one, [a-z] for one of these, and \ before one that is meant as it is`
		}
	case ProtectTag:
		return checkName(p.Pattern, 2*MaxName)
	}
	return checkName(p.Pattern, MaxName)
}

// Folded is the pattern in the one spelling in which texts are compared with it; see Fold.
func (p Protection) Folded() string {
	if p.Kind == ProtectDesktop {
		return Fold(CanonicalDesktopID(p.Pattern))
	}
	return Fold(p.Pattern)
}

// Fold is a text in the one spelling in which rules compare it: lower case and composed. A
// slash has no meaning of its own in a pattern, unlike in path.Match.
func Fold(text string) string {
	return norm.NFC.String(strings.ToLower(norm.NFC.String(strings.ReplaceAll(text, "/", "\x00"))))
}

// ProtectedError names what a request asks for although a rule protects it. Nothing was
// written.
type ProtectedError struct{ Problems []Problem }

func (e *ProtectedError) Error() string {
	return listed("the request names what is protected, nothing was enqueued: ", e.Problems)
}

// Add adds a row, and the rule that protects it.
func (e *ProtectedError) Add(field, id string, by Protection) {
	e.Problems = append(e.Problems, Problem{Field: field, Message: fmt.Sprintf("%.60q is protected by the rule %s", id, by.Name)})
}

// Required is what requests of a project must have.
type Required struct{ Reason, Ticket bool }

// Validate returns a *ValidationError that names what a request lacks, or nil.
func (r Required) Validate(req Request) error {
	var ps problems
	for _, x := range []struct {
		field, text string
		required    bool
	}{{"reason", req.Reason, r.Reason}, {"ticket", req.Ticket, r.Ticket}} {
		if x.required && strings.TrimSpace(x.text) == "" {
			ps.add(x.field, "", "is missing: project %s requires one", req.Project)
		}
	}
	return ps.err()
}
