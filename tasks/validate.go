package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/apiclient/desktopid"
)

// CheckDesktopID says what is wrong with one desktop id, in whatever spelling, or
// nothing: the rule is desktopid.Parse's, and it must not look like a row that names
// a user or a computer.
func CheckDesktopID(id string) (problem string) {
	if strings.HasPrefix(id, userRow) || strings.HasPrefix(id, computerRow) {
		return "begins with " + userRow + " or " + computerRow + ", which is how users and computers are named"
	}
	_, problem = desktopid.Parse(id)
	return problem
}

// CheckUserName says what is wrong with a user's name, or nothing: 1 to 64
// characters, as the API page limits them, in NFC, without space at the ends.
// Invisible characters are taken as they are: such a name is nobody's, so its row is
// held when it is looked up.
func CheckUserName(name string) (problem string) { return checkName(norm.NFC.String(name), maxUser) }

// CheckComputerName says what is wrong with a computer's name, or nothing: as
// CheckUserName, and 1 to 255 characters without white space.
func CheckComputerName(name string) (problem string) {
	name = norm.NFC.String(name)
	if problem := checkName(name, MaxName); problem != "" {
		return problem
	}
	if strings.ContainsFunc(name, unicode.IsSpace) {
		return "has white space"
	}
	return ""
}

func checkName(name string, longest int) (problem string) {
	switch {
	case name == "":
		return "is empty"
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(name) > longest:
		return fmt.Sprintf("is longer than %d characters", longest)
	case strings.TrimSpace(name) != name:
		return "has space at an end"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) }):
		return "has a control character"
	}
	return ""
}

// Canonical is the request with every desktop in the one spelling that desktopid.Parse
// gives it, and every name in NFC. What is wrong with the request stays wrong. Keys of
// Expect that are the same desktop become one, which Validate refuses.
func (r Request) Canonical() Request {
	r.Desktops = each(r.Desktops, CanonicalDesktopID)
	r.Users = each(r.Users, norm.NFC.String)
	r.Computers = each(r.Computers, norm.NFC.String)
	if len(r.Expect) == 0 {
		return r
	}
	expect := make(map[string][]string, len(r.Expect))
	for _, key := range slices.Sorted(maps.Keys(r.Expect)) {
		expect[canonicalRow(key)] = each(r.Expect[key], norm.NFC.String)
	}
	r.Expect = expect
	return r
}

// CanonicalDesktopID is the one spelling of an id; what can be none is left as it is.
func CanonicalDesktopID(text string) string {
	id, _ := desktopid.Parse(text)
	return id
}

// canonicalRow is that of a key of Expect: a desktop's id, or a ComputerRow.
func canonicalRow(key string) string {
	if name, ok := strings.CutPrefix(key, computerRow); ok {
		return ComputerRow(norm.NFC.String(name))
	}
	return CanonicalDesktopID(key)
}

// each is list with f applied; nil stays nil, as it is part of a request's fingerprint.
func each(list []string, f func(string) string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = f(s)
	}
	return out
}

// Validate says everything that is wrong with the request, as a
// *ValidationError, or nil. The same desktop or name in two spellings is there
// twice. known reports whether a project alias exists; now is what the times are
// held against.
func (r Request) Validate(known func(alias string) bool, now time.Time) error {
	ps := r.validateContent(known)
	r.validateTimes(&ps, now)
	return ps.err()
}

// ValidateContent is Validate but for what depends on the clock: what it refuses
// can never have been accepted.
func (r Request) ValidateContent(known func(alias string) bool) error {
	ps := r.validateContent(known)
	return ps.err()
}

// validateTimes holds the times against the clock.
func (r Request) validateTimes(ps *problems, now time.Time) {
	show := func(t time.Time) string { return t.Format(time.RFC3339) }
	if !r.NotBefore.IsZero() && r.NotBefore.Before(now) {
		ps.add("not_before", show(r.NotBefore), `has passed already: leave it out, or write "now", for at once`)
	}
	start, _, _ := r.Times(now)
	switch {
	case r.Deadline.IsZero():
	case !r.Deadline.After(now):
		ps.add("deadline", show(r.Deadline), "has passed already")
	case r.NotBefore.IsZero() && !r.Deadline.After(start):
		ps.add("deadline", show(r.Deadline), "is not after due_at, %s, which is the start as not_before is not given", show(start))
	}
}

func (r Request) validateContent(known func(alias string) bool) problems {
	var ps problems
	given := r
	r = r.Canonical()
	if r.Plan != "" {
		r.validatePlan(&ps)
		r.validateTexts(&ps)
		return ps
	}
	switch {
	case r.Project == "":
		ps.add("project", "", "is missing: name one of the configured projects")
	case !known(r.Project):
		ps.add("project", r.Project, "is not a configured project")
	}
	r.validateDesktops(&ps)
	r.validateLookups(&ps)
	r.validateExpect(&ps, given.Expect)
	r.validateTexts(&ps)
	if !r.Deadline.IsZero() && !r.NotBefore.IsZero() && !r.Deadline.After(r.NotBefore) {
		ps.add("deadline", r.Deadline.Format(time.RFC3339), "is not after not_before, %s", r.NotBefore.Format(time.RFC3339))
	}
	if !r.DueAt.IsZero() && r.DueAt.Year() < 2000 { // programs write it for none
		ps.add("due_at", r.DueAt.Format(time.RFC3339), "is before 2000: leave it out for at once")
	}
	if r.AtOnce && !r.NotBefore.IsZero() {
		ps.add("not_before", r.NotBefore.Format(time.RFC3339), "is given together with at once: give one of them")
	}
	return ps
}

// validatePlan checks a request that runs a plan: the plan says everything that decides.
func (r Request) validatePlan(ps *problems) {
	if hash, err := hex.DecodeString(r.Plan); err != nil || len(hash) != sha256.Size || strings.ToLower(r.Plan) != r.Plan {
		ps.add("plan", r.Plan, "is not the hash of a plan: 64 digits of 0-9 and a-f")
	}
	for _, x := range []struct {
		field string
		given bool
	}{
		{"project", r.Project != ""}, {"desktops", len(r.Desktops) > 0}, {"users", len(r.Users) > 0}, {"computers", len(r.Computers) > 0},
		{"expected_users", len(r.Expect) > 0}, {"unknown_users", r.UnknownUsers != ""}, {"allow_shared", r.AllowShared},
		{"shutoff_after_detach", r.ShutoffAfterDetach}, {"not_before", !r.NotBefore.IsZero() || r.AtOnce},
		{"due_at", !r.DueAt.IsZero()}, {"deadline", !r.Deadline.IsZero()},
	} {
		if x.given {
			ps.add(x.field, "", "is given together with a plan, which says it already: leave it out")
		}
	}
}

func (r Request) validateTexts(ps *problems) {
	ps.text("requested_by", r.RequestedBy, MaxName)
	ps.text("owner", r.Owner, MaxName)
	ps.text("ticket", r.Ticket, MaxName)
	ps.text("idempotency_key", r.IdempotencyKey, MaxName)
	if r.Trace != "" && Traceparent(r.Trace) == "" {
		ps.add("trace", r.Trace, "is not a W3C traceparent")
	}
	if r.Tracestate != "" && Tracestate(r.Tracestate) == "" {
		ps.add("tracestate", r.Tracestate, "is not a W3C tracestate")
	}
	if utf8.RuneCountInString(r.Reason) > maxReason {
		ps.add("reason", r.Reason, "is longer than %d characters", maxReason)
	}
	if !utf8.ValidString(r.Reason) {
		ps.add("reason", r.Reason, "is not valid UTF-8")
	}
}

func (r Request) validateDesktops(ps *problems) {
	switch n := len(r.Desktops); {
	case n == 0 && len(r.Users)+len(r.Computers) == 0:
		ps.add("desktops", "", "is empty: name at least one desktop, computer or user")
	case n > MaxDesktops:
		ps.add("desktops", "", "has %d desktops, more than %d: split the request", n, MaxDesktops)
		return
	}
	first := make(map[string]int, len(r.Desktops))
	for i, id := range r.Desktops {
		field := fmt.Sprintf("desktops[%d]", i)
		if problem := CheckDesktopID(id); problem != "" {
			ps.add(field, id, "%s", problem)
			continue
		}
		if j, seen := first[id]; seen {
			ps.add(field, id, "is the same desktop as desktops[%d]", j)
			continue
		}
		first[id] = i
	}
}

func (r Request) validateLookups(ps *problems) {
	field := "users"
	if len(r.Users) == 0 {
		field = "computers"
	}
	if n := len(r.Users) + len(r.Computers); n > MaxLookups {
		ps.add(field, "", "names %d users and computers to be looked up, more than %d: split the request", n, MaxLookups)
		return
	}
	if u := r.UnknownUsers; u != "" && u != HoldUnknown && u != IgnoreUnknown {
		ps.add("unknown_users", u, "is neither %s nor %s", HoldUnknown, IgnoreUnknown)
	}
	distinct := func(what, field string, names []string, check func(string) string) {
		first := make(map[string]int, len(names))
		for i, name := range names {
			at := fmt.Sprintf("%s[%d]", field, i)
			if problem := check(name); problem != "" {
				ps.add(at, name, "%s", problem)
				continue
			}
			if j, seen := first[name]; seen {
				ps.add(at, name, "is the same %s as %s[%d]", what, field, j)
				continue
			}
			first[name] = i
		}
	}
	distinct("user", "users", r.Users, CheckUserName)
	distinct("computer", "computers", r.Computers, CheckComputerName)
}

// validateExpect names the keys as they were given, which Canonical may have merged.
func (r Request) validateExpect(ps *problems, given map[string][]string) {
	if len(given) == 0 || len(r.Desktops) > MaxDesktops {
		return
	}
	named := make(map[string]bool, len(r.Desktops))
	for _, id := range r.Desktops {
		named[id] = true
	}
	for _, name := range r.Computers {
		named[ComputerRow(name)] = true
	}
	first := make(map[string]string, len(given))
	for _, key := range slices.Sorted(maps.Keys(given)) {
		field := fmt.Sprintf("expect[%q]", key)
		names, id := each(given[key], norm.NFC.String), canonicalRow(key)
		if other, twice := first[id]; twice {
			ps.add(field, "", "is the same desktop or computer as expect[%q]", other)
			continue
		}
		first[id] = key
		switch {
		case !named[id]:
			ps.add(field, "", "is about a desktop or computer that the request does not name")
		case len(names) == 0:
			ps.add(field, "", "names nobody: leave it out, or name a user")
		case len(names) > maxExpect:
			ps.add(field, "", "names %d users, more than %d", len(names), maxExpect)
		}
		for i, name := range names {
			if problem := CheckUserName(name); problem != "" {
				ps.add(field, name, "%s", problem)
			} else if slices.Contains(names[:i], name) {
				ps.add(field, name, "is named twice")
			}
		}
	}
}
