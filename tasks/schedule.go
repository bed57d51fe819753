package tasks

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of schedules.
const (
	MaxSchedules    = 10_000 // in Redis; the configuration may have more
	MaxScheduleRows = 1_000  // of a list within a schedule; a file may have more
	MaxScheduleRuns = 10     // that are kept of each
	MaxAskedRuns    = 100    // that people asked for and that have not begun
)

// Schedule makes operations at the ticks of a cron expression.
type Schedule struct {
	Name    string         `json:"name" yaml:"name"` // 1 to 40 lower-case letters, digits, dots, dashes or underscores
	Project string         `json:"project" yaml:"project"`
	Cron    string         `json:"cron" yaml:"cron"`           // five fields, or @daily and the like
	Zone    string         `json:"zone,omitempty" yaml:"zone"` // IANA name; empty: UTC
	Source  ScheduleSource `json:"source" yaml:"source"`
	// These are those of Request.
	UnknownUsers       string `json:"unknown_users,omitempty" yaml:"unknown_users"`
	AllowShared        bool   `json:"allow_shared,omitempty" yaml:"allow_shared"`
	ShutoffAfterDetach bool   `json:"shutoff_after_detach,omitempty" yaml:"shutoff_after_detach"`
	Urgent             bool   `json:"urgent,omitempty" yaml:"urgent"`
	Reason             string `json:"reason,omitempty" yaml:"reason"`
	Ticket             string `json:"ticket,omitempty" yaml:"ticket"`

	Start          time.Time       `json:"start,omitzero" yaml:"start"`       // no tick is before it
	End            time.Time       `json:"end,omitzero" yaml:"end"`           // no tick is after it
	Missed         ScheduleMissed  `json:"missed,omitempty" yaml:"missed"`    // default MissedOnce
	CatchUp        Duration        `json:"catch_up,omitzero" yaml:"catch_up"` // default DefaultCatchUp; shorter than the retention
	Overlap        ScheduleOverlap `json:"overlap,omitempty" yaml:"overlap"`  // default OverlapSkip
	PauseOnFailure bool            `json:"pause_on_failure,omitempty" yaml:"pause_on_failure"`

	Note       string    `json:"note,omitempty" yaml:"note"`    // why it exists
	By         string    `json:"by,omitempty" yaml:"-"`         // who added it; empty: the configuration
	Owner      string    `json:"owner,omitempty" yaml:"owner"`  // the person, see Request.Owner
	At         time.Time `json:"at,omitzero" yaml:"-"`          // when it was added
	Configured bool      `json:"configured,omitempty" yaml:"-"` // it is in the configuration, and only there it can be changed
}

// ScheduleSource says whose access the operations of a schedule remove. Exactly one is given;
// desktops, users and computers may be together.
type ScheduleSource struct {
	Desktops  []string `json:"desktops,omitempty" yaml:"desktops"`
	Users     []string `json:"users,omitempty" yaml:"users"`
	Computers []string `json:"computers,omitempty" yaml:"computers"`
	// File is a list of leavers on the workers' machines, or a pattern of such lists. Each
	// content runs once.
	File     string    `json:"file,omitempty" yaml:"file"`
	Selector *Selector `json:"selector,omitempty" yaml:"selector"`
	NotIn    *NotIn    `json:"not_in,omitempty" yaml:"not_in"`
	CameBack *CameBack `json:"came_back,omitempty" yaml:"came_back"`
}

// Selector matches the desktops of a project that match all that is given.
type Selector struct {
	Pool       string       `json:"pool,omitempty" yaml:"pool"`               // id of a desktop pool
	Tag        string       `json:"tag,omitempty" yaml:"tag"`                 // key=value, or key for any value
	Computer   string       `json:"computer,omitempty" yaml:"computer"`       // pattern of computer names, as of a Protection
	UnusedDays int          `json:"unused_days,omitempty" yaml:"unused_days"` // nobody has used it for so many days
	User       SelectedUser `json:"user,omitempty" yaml:"user"`               // its users are such
}

// SelectedUser is what Selector.User asks for: every user of a desktop is such. From a SHARED
// desktop those are removed who are.
type SelectedUser string

// The values of SelectedUser.
const (
	UserLocked  SelectedUser = "locked"  // locked or disabled
	UserMissing SelectedUser = "missing" // Workspace has no user of this name any more
)

// NotIn matches the desktops whose users are all not in a list, and users of SHARED desktops who
// are not.
type NotIn struct {
	File string `json:"file" yaml:"file"` // the list of those who stay
	// AtLeast is how many rows the list must have, in percent of the last time; default
	// DefaultAtLeast. With fewer nothing is detached.
	AtLeast int `json:"at_least,omitempty" yaml:"at_least"`
	// Rows is how many rows are expected the first time. Without it the first run only counts
	// the rows.
	Rows     int       `json:"rows,omitempty" yaml:"rows"`
	Selector *Selector `json:"selector,omitempty" yaml:"selector"` // only desktops that match it
}

// CameBack matches the desktops of users who were detached and have a desktop again.
type CameBack struct {
	Since Duration `json:"since" yaml:"since"` // detached within so long
}

// ScheduleMissed says what happens to ticks that no process ran in time.
type ScheduleMissed string

// The values of ScheduleMissed.
const (
	MissedOnce ScheduleMissed = "once" // the latest of them runs, if it is within the catch-up window
	MissedSkip ScheduleMissed = "skip" // none runs
)

// ScheduleOverlap says what happens at a tick while operations of the last run have not finished.
type ScheduleOverlap string

// The values of ScheduleOverlap.
const (
	OverlapSkip  ScheduleOverlap = "skip" // the tick is skipped; waiting for an approval is not finished
	OverlapAllow ScheduleOverlap = "allow"
)

// Defaults of schedules.
const (
	DefaultCatchUp = Duration(12 * time.Hour)
	DefaultAtLeast = 80
)

// ScheduleRequester is the RequestedBy of the operations of a schedule. No API key has such a name.
func ScheduleRequester(name string) string { return "schedule:" + name }

// WithDefaults returns the schedule with defaults for what it lacks.
func (s Schedule) WithDefaults() Schedule {
	if s.Zone == "" {
		s.Zone = "UTC"
	}
	if s.Missed == "" {
		s.Missed = MissedOnce
	}
	if s.CatchUp == 0 {
		s.CatchUp = DefaultCatchUp
	}
	if s.Overlap == "" {
		s.Overlap = OverlapSkip
	}
	if n := s.Source.NotIn; n != nil && n.AtLeast == 0 {
		with := *n
		with.AtLeast = DefaultAtLeast
		s.Source.NotIn = &with
	}
	return s
}

// Validate returns a *ValidationError that names what is wrong with the schedule, or nil. It
// does not know the projects, expressions, zones, or how long operations are kept.
func (s Schedule) Validate() error {
	var ps problems
	if !protectionName.MatchString(s.Name) {
		ps.add("name", s.Name, "is not 1 to 40 lower-case letters, digits, dots, dashes or underscores")
	}
	if s.Project == "" {
		ps.add("project", "", "is missing: name one of the configured projects")
	}
	if s.Cron == "" {
		ps.add("cron", "", `is missing: write five fields such as "0 18 * * MON-FRI"`)
	}
	s.Source.validate(&ps)
	Request{Owner: s.Owner, Reason: s.Reason, Ticket: s.Ticket}.validateTexts(&ps)
	if u := s.UnknownUsers; u != "" && u != HoldUnknown && u != IgnoreUnknown {
		ps.add("unknown_users", u, "is neither %s nor %s", HoldUnknown, IgnoreUnknown)
	}
	if !s.Start.IsZero() && !s.End.IsZero() && s.End.Before(s.Start) {
		ps.add("end", s.End.Format(time.RFC3339), "is before start, %s", s.Start.Format(time.RFC3339))
	}
	if !slices.Contains([]ScheduleMissed{"", MissedOnce, MissedSkip}, s.Missed) {
		ps.add("missed", string(s.Missed), "is neither %s nor %s", MissedOnce, MissedSkip)
	}
	if !slices.Contains([]ScheduleOverlap{"", OverlapSkip, OverlapAllow}, s.Overlap) {
		ps.add("overlap", string(s.Overlap), "is neither %s nor %s", OverlapSkip, OverlapAllow)
	}
	if s.CatchUp != 0 && s.CatchUp < Duration(time.Minute) {
		ps.add("catch_up", s.CatchUp.String(), "is shorter than a minute")
	}
	if utf8.RuneCountInString(s.Note) > maxReason || !utf8.ValidString(s.Note) {
		ps.add("note", "", "is longer than %d characters, or not valid UTF-8", maxReason)
	}
	return ps.err()
}

func (s ScheduleSource) validate(ps *problems) {
	kinds := 0
	for _, given := range []bool{
		len(s.Desktops)+len(s.Users)+len(s.Computers) > 0, s.File != "", s.Selector != nil, s.NotIn != nil, s.CameBack != nil,
	} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		ps.add("source", "", "must be one of: a list of desktops, users and computers; file; selector; not_in; came_back")
		return
	}
	switch {
	case s.File != "":
		ps.path("source.file", s.File)
	case s.Selector != nil:
		s.Selector.validate(ps, "source.selector")
	case s.NotIn != nil:
		s.NotIn.validate(ps)
	case s.CameBack != nil:
		if s.CameBack.Since < Duration(time.Hour) {
			ps.add("source.came_back.since", s.CameBack.Since.String(), "is shorter than an hour: write how far to look back, such as 30d")
		}
	default:
		s.validateList(ps)
	}
}

func (s ScheduleSource) validateList(ps *problems) {
	if n := len(s.Desktops) + len(s.Users) + len(s.Computers); n > MaxScheduleRows {
		ps.add("source", "", "lists %d rows, more than %d: name a file instead", n, MaxScheduleRows)
		return
	}
	var found problems
	list := Request{Desktops: s.Desktops, Users: s.Users, Computers: s.Computers}.Canonical()
	list.validateDesktops(&found)
	list.validateLookups(&found)
	for _, p := range found {
		p.Field = "source." + p.Field
		*ps = append(*ps, p)
	}
}

// maxUnusedDays leaves room for the days that the cloud has not added up yet.
const maxUnusedDays = 175

func (s Selector) validate(ps *problems, field string) {
	if s == (Selector{}) {
		ps.add(field, "", "selects nothing: give pool, tag, computer, unused_days or user")
	}
	for _, x := range []struct {
		field, text string
		longest     int
	}{{".pool", s.Pool, MaxName}, {".tag", s.Tag, 2 * MaxName}, {".computer", s.Computer, MaxName}} {
		if x.text == "" {
			continue
		}
		if why := checkName(x.text, x.longest); why != "" {
			ps.add(field+x.field, x.text, "%s", why)
		}
	}
	if _, err := path.Match(Fold(s.Computer), ""); err != nil {
		ps.add(field+".computer", s.Computer, "is not a pattern: write * for any characters, ? for one, [a-z] for one of these")
	}
	if s.UnusedDays < 0 || s.UnusedDays > maxUnusedDays {
		ps.add(field+".unused_days", strconv.Itoa(s.UnusedDays), "is not 1 to %d: the cloud keeps the use of 180 days", maxUnusedDays)
	}
	if !slices.Contains([]SelectedUser{"", UserLocked, UserMissing}, s.User) {
		ps.add(field+".user", string(s.User), "is neither %s nor %s", UserLocked, UserMissing)
	}
}

func (n NotIn) validate(ps *problems) {
	const field = "source.not_in"
	if n.File == "" {
		ps.add(field+".file", "", "is missing: name the list of those who keep their desktops")
	} else {
		ps.path(field+".file", n.File)
	}
	if n.AtLeast < 0 || n.AtLeast > 100 {
		ps.add(field+".at_least", strconv.Itoa(n.AtLeast), "is not 1 to 100 percent")
	}
	if n.Rows < 0 {
		ps.add(field+".rows", strconv.Itoa(n.Rows), "is not a number of rows")
	}
	if n.Selector != nil {
		n.Selector.validate(ps, field+".selector")
	}
}

// maxPath is the longest path that Linux opens.
const maxPath = 4096

func (ps *problems) path(field, name string) {
	ps.text(field, name, maxPath)
	if strings.TrimSpace(name) != name {
		ps.add(field, name, "has space at an end")
	}
}

// ScheduleState is what has happened to a schedule, and what people decided about it.
type ScheduleState struct {
	Paused *SchedulePause `json:"paused,omitempty"`
	Skip   *ScheduleSkip  `json:"skip,omitempty"` // the tick that is to be skipped
	Counts ScheduleCounts `json:"counts"`
	Runs   []ScheduleRun  `json:"runs,omitempty"` // the last MaxScheduleRuns, the latest first
}

// SchedulePause says that no tick of a schedule runs.
type SchedulePause struct {
	By   string    `json:"by"` // PausedItself: after a failure
	At   time.Time `json:"at"`
	Note string    `json:"note,omitempty"`
}

// PausedItself is the SchedulePause.By of a pause after a failure.
const PausedItself = "detachd"

// ScheduleSkip says that one tick of a schedule does not run.
type ScheduleSkip struct {
	Tick ScheduleTick `json:"tick"`
	By   string       `json:"by"`
	At   time.Time    `json:"at"`
	Note string       `json:"note,omitempty"`
}

// ScheduleTick is a time at which a schedule runs.
type ScheduleTick struct {
	ID   string    `json:"id"`   // nightly@2026-10-25T02:30 Europe/Berlin: never the instant
	Wall string    `json:"wall"` // what the clocks of the zone show
	At   time.Time `json:"at"`
	Mark string    `json:"mark,omitempty"` // shifted, first_of_two or second_of_two, as of cron.Mark
}

// ScheduleCounts counts the ticks of a schedule since it was added.
type ScheduleCounts struct {
	Runs    int `json:"runs"`    // those that started an operation
	Nothing int `json:"nothing"` // those that found nobody
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	Missed  int `json:"missed"`
	Shifted int `json:"shifted"` // of all of them, those at the end of a gap of the clocks
}

// ScheduleRun is what became of a tick, or of a run that a person asked for.
type ScheduleRun struct {
	ID         string         `json:"id"` // of the tick; name!xid if a person asked
	Scheduled  time.Time      `json:"scheduled_at"`
	At         time.Time      `json:"at"` // when it ran
	Mark       string         `json:"mark,omitempty"`
	Result     ScheduleResult `json:"result"`
	Why        string         `json:"why,omitempty"`
	Operations []string       `json:"operations,omitempty"`
	Rows       int            `json:"rows,omitempty"`   // of the source
	Missed     int            `json:"missed,omitempty"` // ticks before it that did not run
	By         string         `json:"by,omitempty"`     // who asked for it
	Note       string         `json:"note,omitempty"`   // why, as given by that person
}

// ScheduleResult is the result of a ScheduleRun.
type ScheduleResult string

// The results.
const (
	RunStarted ScheduleResult = "started" // it made the operations
	RunNothing ScheduleResult = "nothing" // nobody loses access, or each list had run before
	RunSkipped ScheduleResult = "skipped" // paused, skipped by a person, or the last run has not finished
	RunMissed  ScheduleResult = "missed"  // no process ran it in time
	RunFailed  ScheduleResult = "failed"  // its source could not be read, or an operation was refused
)

// ScheduleResults lists the results.
var ScheduleResults = []ScheduleResult{RunStarted, RunNothing, RunSkipped, RunMissed, RunFailed}

// ScheduleView is a schedule with its state and its next ticks.
type ScheduleView struct {
	Schedule
	ScheduleState
	Next []ScheduleTick `json:"next"` // never null; they would run without the pause
}

// Duration is a time.Duration that is written as text: 90m, 12h, 30d.
type Duration time.Duration

const day = Duration(24 * time.Hour)

func (d Duration) String() string {
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := time.Duration(d).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			*d = Duration(n) * day
			return nil
		}
	}
	n, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("invalid duration %.30q: use 90m, 12h or 30d", text)
	}
	*d = Duration(n)
	return nil
}
