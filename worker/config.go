package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker/policy"
)

// API is the part of the cloud that a worker uses; *apiclient.Client implements it.
type API interface {
	Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error)
	Attach(ctx context.Context, desktops []apiclient.Attachment) (*apiclient.DetachResult, error)
	DetachUsers(ctx context.Context, desktops []apiclient.UserDetach) (*apiclient.DetachResult, error)
	Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error)
	DesktopsOf(ctx context.Context, names []string) ([]apiclient.Desktop, error)
	DesktopsNamed(ctx context.Context, computers []string) ([]apiclient.Desktop, error)
	Users(ctx context.Context) ([]apiclient.Person, error)
	InPool(ctx context.Context, pool string, ids []string) ([]string, error)
	SubJobs(ctx context.Context, jobID string) ([]apiclient.SubJob, error)
	CountAssigned(ctx context.Context) (int, error)
	Fleet(ctx context.Context, pages apiclient.Pages) iter.Seq2[apiclient.Desktop, error]
	People(ctx context.Context, pages apiclient.Pages) iter.Seq2[apiclient.Person, error]
	PoolOf(ctx context.Context, pool string, pages apiclient.Pages) iter.Seq2[string, error]
	Usage(ctx context.Context, from, to time.Time, idleDays int, pages apiclient.Pages) iter.Seq2[apiclient.Usage, error]
}

// Project is one cloud project that the worker serves.
type Project struct {
	Alias          string        // as named in requests
	ProjectID      string        // of the cloud, for messages; optional
	Region         string        // of the cloud, for messages; optional
	UnknownUsers   string        // tasks.HoldUnknown or tasks.IgnoreUnknown, for requests that do not say; defaults to HoldUnknown
	API            API           // required
	Credential     string        // projects and workers that name the same one share its limits of requests; defaults to Alias
	CallsPerMinute int           // detach calls; 0: no limit
	ReadsPerMinute int           // all other requests; 0: no limit
	Burst          int           // requests of a kind that may leave at once after a rest, at least 4; defaults to 5
	MaxInFlight    int           // bulk calls of this worker at a time; defaults to 10
	MaxReads       int           // confirming readings of this worker at a time; defaults to 4
	CallTimeout    time.Duration // of one call; must cover the time-out of API; defaults to 30 s

	// Limit is what passes without an approval; nil: tasks.DefaultLimit. ApprovalExpires is
	// how long an operation beyond it waits for a person; defaults to 24 h. See
	// tasks.Clearance for SecondPersonAbove; nil: tasks.DefaultSecondPersonAbove.
	Limit             *tasks.Limit
	ApprovalExpires   time.Duration
	SecondPersonAbove *int
	// Canary and StopLoss make the rest of a large operation wait for a person; nil:
	// tasks.DefaultCanary and tasks.DefaultStopLoss.
	Canary   *tasks.Canary
	StopLoss *tasks.StopLoss
	// UndoSecondPersonAbove is how many desktops an undo may give back without an approval by
	// a second person; nil: tasks.DefaultUndoSecondPersonAbove. UndoWithin is how long after
	// its detach a desktop is given back; defaults to 7 days.
	UndoSecondPersonAbove *int
	UndoWithin            time.Duration
	// Blackouts are times in which only urgent operations and undos are sent; defaults to none.
	Blackouts Blackouts
}

// limits are what projects of one credential have in common.
func (p Project) limits() [3]int { return [...]int{p.CallsPerMinute, p.ReadsPerMinute, p.Burst} }

// where names the project as the cloud does, for people.
func (p Project) where() string {
	var parts []string
	if p.ProjectID != "" {
		parts = append(parts, "project id "+p.ProjectID)
	}
	if p.Region != "" {
		parts = append(parts, "region "+p.Region)
	}
	return strings.Join(parts, ", ")
}

// Config makes a Worker.
type Config struct {
	Redis    redis.UniversalClient // required; the caller closes it
	Record   record.Config
	ID       string    // required; unique among running workers, without "/" and "|"
	Projects []Project // at least one
	Log      zerolog.Logger

	MaxAttempts        int           // failed calls of a desktop before it is failed; defaults to 10
	RetryBase          time.Duration // first delay; doubles with each attempt, full jitter; defaults to 1 s
	RetryMax           time.Duration // longest delay; defaults to 5 min
	BulkPollInterval   time.Duration // of an empty bulk or small queue, while the project is served; defaults to 200 ms
	UrgentPollInterval time.Duration // of an empty urgent queue, likewise; a ring does not wait for it; defaults to 200 ms
	FirstLook          time.Duration // from acceptance of a desktop to its first reading; further gaps grow; defaults to 3 s
	ConfirmWithin      time.Duration // from acceptance of a desktop until it fails as unconfirmed; defaults to 30 min
	CallMargin         time.Duration // how long after CallTimeout an unanswered call may still take effect; defaults to 5 s
	Rules              []policy.Rule // what further error codes mean; they precede the built-in ones
	ShutdownTimeout    time.Duration // how long Stop waits for calls in flight; above every CallTimeout; defaults to 45 s
	Observer           Observer      // optional
	Spans              *spans.Maker  // optional: makes the spans of operations that are traced
}

// WithDefaults returns a copy with every default filled in.
func (c Config) WithDefaults() Config {
	c.MaxAttempts = cmp.Or(c.MaxAttempts, 10)
	c.RetryBase = cmp.Or(c.RetryBase, time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, 5*time.Minute)
	c.BulkPollInterval = cmp.Or(c.BulkPollInterval, 200*time.Millisecond)
	c.UrgentPollInterval = cmp.Or(c.UrgentPollInterval, 200*time.Millisecond)
	c.FirstLook = cmp.Or(c.FirstLook, 3*time.Second)
	c.ConfirmWithin = cmp.Or(c.ConfirmWithin, 30*time.Minute)
	c.CallMargin = cmp.Or(c.CallMargin, 5*time.Second)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, 45*time.Second)
	if c.Observer == nil {
		c.Observer = Observers{}
	}
	c.Projects = slices.Clone(c.Projects)
	for i := range c.Projects {
		c.Projects[i].setDefaults()
	}
	return c
}

func (p *Project) setDefaults() {
	p.Credential = cmp.Or(p.Credential, p.Alias)
	p.Burst = cmp.Or(p.Burst, defaultBurst)
	p.MaxInFlight = cmp.Or(p.MaxInFlight, 10)
	p.MaxReads = cmp.Or(p.MaxReads, 4)
	p.CallTimeout = cmp.Or(p.CallTimeout, 30*time.Second)
	p.ApprovalExpires = cmp.Or(p.ApprovalExpires, 24*time.Hour)
	if p.Limit == nil {
		limit := tasks.DefaultLimit
		p.Limit = &limit
	}
	p.UndoWithin = cmp.Or(p.UndoWithin, 7*24*time.Hour)
	if p.UndoSecondPersonAbove == nil {
		above := tasks.DefaultUndoSecondPersonAbove
		p.UndoSecondPersonAbove = &above
	}
	if p.SecondPersonAbove == nil {
		above := tasks.DefaultSecondPersonAbove
		p.SecondPersonAbove = &above
	}
	if p.Canary == nil {
		canary := tasks.DefaultCanary
		p.Canary = &canary
	}
	if p.StopLoss == nil {
		stopLoss := tasks.DefaultStopLoss
		p.StopLoss = &stopLoss
	}
}

func (c Config) aliases() []string {
	out := make([]string, len(c.Projects))
	for i, p := range c.Projects {
		out[i] = p.Alias
	}
	return out
}

func (c Config) validate() error {
	var errs []error
	check := func(ok bool, field, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("worker.Config.%s %s", field, fmt.Sprintf(format, args...)))
		}
	}
	check(c.Redis != nil, "Redis", "is missing")
	check(c.ID != "" && !strings.ContainsAny(c.ID, "/|"), "ID", "is %q: it must not be empty nor contain / or |", c.ID)
	check(len(c.Projects) > 0, "Projects", "is empty")
	check(c.MaxAttempts >= 1, "MaxAttempts", "is %d: at least 1", c.MaxAttempts)
	check(c.RetryBase > 0 && c.RetryMax >= c.RetryBase, "RetryMax", "is %s: it must not be below RetryBase, %s", c.RetryMax, c.RetryBase)
	check(c.FirstLook > 0 && c.ConfirmWithin > c.FirstLook, "ConfirmWithin",
		"is %s: it must be above FirstLook, %s", c.ConfirmWithin, c.FirstLook)
	check(c.CallMargin >= 0, "CallMargin", "is %s: it must not be negative", c.CallMargin)
	for i, r := range c.Rules {
		why := r.Problem()
		check(why == "", fmt.Sprintf("Rules[%d]", i), "%s", why)
	}
	seen, sharing := map[string]bool{}, map[string]Project{}
	for i, p := range c.Projects {
		field := fmt.Sprintf("Projects[%d].", i)
		check(p.Alias != "" && !strings.ContainsAny(p.Alias, ":{}|") && !seen[p.Alias], field+"Alias",
			"is %q: it must be given once, without : { } and |", p.Alias)
		check(p.API != nil, field+"API", "is missing")
		check(!strings.ContainsAny(p.Credential, "{}"), field+"Credential", "is %q: it must not contain { or }", p.Credential)
		check(p.CallsPerMinute >= 0 && p.ReadsPerMinute >= 0 && p.MaxInFlight >= 1 && p.MaxReads >= 1, field+"limits", "must not be negative")
		check(p.Burst >= minBurst, field+"Burst", "is %d: at least %d, one for each priority", p.Burst, minBurst)
		other, shared := sharing[p.Credential]
		check(!shared || other.limits() == p.limits(), field+"limits",
			"are not those of %s, which shares its credential %s", other.Alias, p.Credential)
		check(p.UnknownUsers == "" || p.UnknownUsers == tasks.HoldUnknown || p.UnknownUsers == tasks.IgnoreUnknown, field+"UnknownUsers",
			"is %q: %s or %s", p.UnknownUsers, tasks.HoldUnknown, tasks.IgnoreUnknown)
		check(p.Limit.Desktops >= 0 && p.Limit.Percent >= 0 && p.Limit.Window > 0, field+"Limit", "is %+v: none of it may be negative, "+
			"and the window must be above 0", *p.Limit)
		check(p.Canary.Desktops >= 0 && p.Canary.Above >= 0, field+"Canary", "is %+v: none of it may be negative", *p.Canary)
		check(p.StopLoss.Percent >= 0 && p.StopLoss.Desktops >= 0 && p.StopLoss.Above >= 0, field+"StopLoss",
			"is %+v: none of it may be negative", *p.StopLoss)
		check(c.ShutdownTimeout > p.CallTimeout, "ShutdownTimeout",
			"is %s: it must exceed %sCallTimeout, %s", c.ShutdownTimeout, field, p.CallTimeout)
		seen[p.Alias], sharing[p.Credential] = true, p
	}
	return errors.Join(errs...)
}
