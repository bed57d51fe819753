package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
)

// protectionsAge is how old the protections may be that a process acts by, so that they cost
// a round trip a second, not one a call.
const protectionsAge = time.Second

// protected are the protections as this process last read them.
type protected struct {
	configured []tasks.Protection

	mu     sync.Mutex
	rules  *Protections
	readAt time.Time
}

// Protections are the rules in force about what no call may name.
type Protections struct {
	exact     map[exactRule]tasks.Protection
	computers []tasks.Protection
}

// exactRule is a rule about one text, in the spelling of tasks.Fold.
type exactRule struct {
	project string // empty: all
	kind    tasks.ProtectionKind
	text    string
}

func newProtections(rules []tasks.Protection) (*Protections, error) {
	out := &Protections{exact: map[exactRule]tasks.Protection{}}
	for _, p := range rules {
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("the protection %q cannot be read, so what it protects is not known, and nothing is sent: "+
				"use a version that knows it, or remove it with detachd protect remove: %w", p.Name, err)
		}
		if p.Kind == tasks.ProtectComputer {
			out.computers = append(out.computers, p)
			continue
		}
		key := exactRule{p.Project, p.Kind, p.Folded()}
		if _, earlier := out.exact[key]; !earlier {
			out.exact[key] = p
		}
	}
	return out, nil
}

// of returns the rule about a text.
func (p *Protections) of(project string, kind tasks.ProtectionKind, text string) (tasks.Protection, bool) {
	text = tasks.Fold(text)
	for _, project := range [...]string{"", project} {
		if rule, ok := p.exact[exactRule{project, kind, text}]; ok {
			return rule, true
		}
	}
	return tasks.Protection{}, false
}

// Pools are the pools that rules protect in a project.
func (p *Protections) Pools(project string) (out []string) {
	for key, rule := range p.exact {
		if key.kind == tasks.ProtectPool && (key.project == "" || key.project == project) {
			out = append(out, rule.Pattern)
		}
	}
	slices.Sort(out)
	return out
}

// any returns a rule of a kind, for what a reading does not show.
func (p *Protections) any(project string, kind tasks.ProtectionKind) (tasks.Protection, bool) {
	for key, rule := range p.exact {
		if key.kind == kind && (key.project == "" || key.project == project) {
			return rule, true
		}
	}
	return tasks.Protection{}, false
}

// computer returns the rule about a computer's name. Without a name it may be any.
func (p *Protections) computer(project, name string) (tasks.Protection, bool) {
	name = tasks.Fold(name)
	for _, rule := range p.computers {
		if rule.Project != "" && rule.Project != project {
			continue
		}
		if match, _ := path.Match(rule.Folded(), name); match || name == "" {
			return rule, true
		}
	}
	return tasks.Protection{}, false
}

// Refuse returns a *tasks.ProtectedError if a request names what is protected: a desktop, a
// user, or a computer. What else it leads to is judged at the reading; see Desktop.
func (p *Protections) Refuse(req tasks.Request) error {
	if len(p.exact)+len(p.computers) == 0 {
		return nil
	}
	out := &tasks.ProtectedError{}
	refuse := func(field string, names []string, of func(name string) (tasks.Protection, bool)) {
		for i, name := range names {
			if rule, ok := of(name); ok {
				out.Add(fmt.Sprintf("%s[%d]", field, i), name, rule)
			}
		}
	}
	exact := func(kind tasks.ProtectionKind) func(string) (tasks.Protection, bool) {
		return func(text string) (tasks.Protection, bool) { return p.of(req.Project, kind, text) }
	}
	refuse("desktops", req.Desktops, exact(tasks.ProtectDesktop))
	refuse("users", req.Users, exact(tasks.ProtectUser))
	refuse("computers", req.Computers, func(name string) (tasks.Protection, bool) { return p.computer(req.Project, name) })
	for _, row := range slices.Sorted(maps.Keys(req.Expect)) {
		for _, name := range req.Expect[row] {
			if rule, ok := p.of(req.Project, tasks.ProtectUser, name); ok {
				out.Add(fmt.Sprintf("expect[%q]", row), name, rule)
			}
		}
	}
	if len(out.Problems) == 0 {
		return nil
	}
	return out
}

// Protectable is what a reading shows of a desktop that a call may name. Losing are the users
// and groups that would lose it; those who keep it do not matter.
type Protectable struct {
	Project, ID, ComputerName, PoolID string
	Tags                              []string // key=value
	TagsUnread                        bool     // there may be others
	Losing                            []string
}

// Desktop returns the rule that forbids a call with a desktop. What a rule needs and the
// reading does not show counts as protected.
func (p *Protections) Desktop(d Protectable) (tasks.Protection, bool) {
	if rule, ok := p.of(d.Project, tasks.ProtectDesktop, d.ID); ok {
		return rule, true
	}
	if rule, ok := p.computer(d.Project, d.ComputerName); ok {
		return rule, true
	}
	if rule, ok := p.of(d.Project, tasks.ProtectPool, d.PoolID); ok {
		return rule, true
	}
	if len(d.Losing) == 0 {
		if rule, ok := p.any(d.Project, tasks.ProtectUser); ok {
			return rule, true
		}
	}
	for _, name := range d.Losing {
		if rule, ok := p.of(d.Project, tasks.ProtectUser, name); ok {
			return rule, true
		}
	}
	for _, tag := range d.Tags {
		for end := len(tag); end > 0; end = strings.LastIndexByte(tag[:end], '=') { // a key may contain =
			if rule, ok := p.of(d.Project, tasks.ProtectTag, tag[:end]); ok {
				return rule, true
			}
		}
	}
	if d.TagsUnread {
		return p.any(d.Project, tasks.ProtectTag)
	}
	return tasks.Protection{}, false
}

// Protections returns the rules in force, at most protectionsAge old. Without them nothing
// may be sent.
func (r *Record) Protections(ctx context.Context) (*Protections, error) {
	c := &r.protected
	c.mu.Lock()
	rules, readAt := c.rules, c.readAt
	c.mu.Unlock()
	if rules != nil && time.Since(readAt) < protectionsAge {
		return rules, nil
	}
	readAt = time.Now()
	all, err := r.AllProtections(ctx)
	if err != nil {
		return nil, err
	}
	if rules, err = newProtections(all); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if readAt.After(c.readAt) {
		c.rules, c.readAt = rules, readAt
	}
	return rules, nil
}

// AllProtections lists the protections of the configuration and then those in Redis, each by
// name. One that cannot be read has a name only.
func (r *Record) AllProtections(ctx context.Context) ([]tasks.Protection, error) {
	stored, err := r.rdb.HGetAll(ctx, r.keys.protected()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the protections: %w", err)
	}
	out := make([]tasks.Protection, 0, len(r.protected.configured)+len(stored))
	for _, p := range r.protected.configured {
		p.Configured = true
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b tasks.Protection) int { return strings.Compare(a.Name, b.Name) })
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		out = append(out, decodeProtection(name, stored[name]))
	}
	return out, nil
}

func decodeProtection(name, text string) tasks.Protection {
	var p tasks.Protection
	if decodeJSON(text, &p) != nil || p.Name != name {
		return tasks.Protection{Name: name}
	}
	p.Configured = false
	return p
}

var scriptAddProtection = script("add_protection")

// AddProtection adds a protection. Every process acts by it within protectionsAge; a worker may
// still make a call whose reading it judged before that. The error is a *tasks.ValidationError,
// ErrProtectionExists or ErrTooManyProtections.
func (r *Record) AddProtection(ctx context.Context, p tasks.Protection) error {
	if err := p.Validate(); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("adding the protection %s: %w", p.Name, err) }
	if slices.ContainsFunc(r.protected.configured, func(c tasks.Protection) bool { return c.Name == p.Name }) {
		return fail(tasks.ErrProtectionExists)
	}
	add := &scriptCall{
		script: scriptAddProtection, keys: []string{r.keys.protected()}, args: []any{p.Name, mustJSON(p), tasks.MaxProtections},
	}
	if _, err := r.durably(ctx, []*scriptCall{add}, nil); err != nil {
		return fail(err)
	}
	r.forgetProtections()
	switch n, err := add.reply.Int(); {
	case err != nil:
		return fail(err)
	case n == 0:
		return fail(tasks.ErrProtectionExists)
	case n < 0:
		return fail(tasks.ErrTooManyProtections)
	}
	return nil
}

// RemoveProtection removes a protection from Redis; ErrNoProtection if there is none.
func (r *Record) RemoveProtection(ctx context.Context, name string) error {
	del := &scriptCall{args: []any{"HDEL", r.keys.protected(), name}}
	_, err := r.durably(ctx, []*scriptCall{del}, nil)
	r.forgetProtections()
	if err != nil {
		return fmt.Errorf("removing the protection %s: %w", name, err)
	}
	if n, err := del.reply.Int(); err != nil || n == 0 {
		return fmt.Errorf("removing the protection %s: %w", name, errors.Join(err, tasks.ErrNoProtection))
	}
	return nil
}

// Protection reads a protection of Redis; ErrNoProtection if there is none.
func (r *Record) Protection(ctx context.Context, name string) (tasks.Protection, error) {
	text, err := r.rdb.HGet(ctx, r.keys.protected(), name).Result()
	if errors.Is(err, redis.Nil) {
		err = tasks.ErrNoProtection
	}
	if err != nil {
		return tasks.Protection{}, fmt.Errorf("reading the protection %s: %w", name, err)
	}
	return decodeProtection(name, text), nil
}

// forgetProtections makes this process read them again.
func (r *Record) forgetProtections() {
	r.protected.mu.Lock()
	defer r.protected.mu.Unlock()
	r.protected.rules, r.protected.readAt = nil, time.Now()
}
