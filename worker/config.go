package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// API is the part of the cloud that a worker uses; *apiclient.Client implements it.
type API interface {
	Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error)
	DetachUsers(ctx context.Context, desktops []apiclient.UserDetach) (*apiclient.DetachResult, error)
	Desktops(ctx context.Context, ids []string) ([]apiclient.Desktop, error)
	DesktopsOf(ctx context.Context, names []string) ([]apiclient.Desktop, error)
	DesktopsNamed(ctx context.Context, computers []string) ([]apiclient.Desktop, error)
	Users(ctx context.Context) ([]apiclient.Person, error)
	SubJobs(ctx context.Context, jobID string) ([]apiclient.SubJob, error)
}

// Project is one cloud project that the worker serves.
type Project struct {
	Alias     string // as named in requests
	ProjectID string // of the cloud, for messages; optional
	Region    string // of the cloud, for messages; optional
	// UnknownUsers is tasks.HoldUnknown or tasks.IgnoreUnknown, for requests that do not
	// say. Empty: HoldUnknown.
	UnknownUsers string
	API          API // required
	// Credential is the name under which all projects and workers share the limits of
	// requests. Defaults to Alias.
	Credential     string
	CallsPerMinute int           // detach calls; 0: no limit
	ReadsPerMinute int           // all other requests; 0: no limit
	Burst          int           // requests of a kind that may leave at once after a rest; at least 4. Defaults to 5
	MaxInFlight    int           // bulk calls of this worker at a time. Defaults to 10
	MaxReads       int           // confirming readings of this worker at a time. Defaults to 4
	CallTimeout    time.Duration // of one call; must cover the time-out of API. Defaults to 30 s
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

	MaxAttempts int           // failed calls of a desktop before it is failed. Defaults to 10
	RetryBase   time.Duration // first delay; doubles with each attempt, with full jitter. Defaults to 1 s
	RetryMax    time.Duration // longest delay. Defaults to 5 min
	// BulkPollInterval is how often an empty bulk or small queue is polled. Defaults to 200 ms.
	BulkPollInterval time.Duration
	// UrgentPollInterval is how often an empty urgent queue is polled. Defaults to 20 ms.
	UrgentPollInterval time.Duration
	// FirstLook is the time between the acceptance of a desktop and its first reading;
	// further readings follow at growing gaps. Defaults to 3 s.
	FirstLook time.Duration
	// ConfirmWithin is the time between the acceptance of a desktop and its failure for want
	// of a confirmation. Defaults to 30 min.
	ConfirmWithin time.Duration
	// CallMargin is how long after CallTimeout a call that was not answered may still take
	// effect. Defaults to 5 s.
	CallMargin time.Duration
	Rules      []policy.Rule // what further error codes mean; they precede the built-in ones
	// ShutdownTimeout is how long Stop waits for calls in flight; it must exceed every
	// CallTimeout. Defaults to 45 s.
	ShutdownTimeout time.Duration
	Observer        Observer // optional
}

// WithDefaults returns a copy with every default filled in.
func (c Config) WithDefaults() Config {
	def(&c.MaxAttempts, 10)
	def(&c.RetryBase, time.Second)
	def(&c.RetryMax, 5*time.Minute)
	def(&c.BulkPollInterval, 200*time.Millisecond)
	def(&c.UrgentPollInterval, 20*time.Millisecond)
	def(&c.FirstLook, 3*time.Second)
	def(&c.ConfirmWithin, 30*time.Minute)
	def(&c.CallMargin, 5*time.Second)
	def(&c.ShutdownTimeout, 45*time.Second)
	if c.Observer == nil {
		c.Observer = Observers{}
	}
	c.Projects = append([]Project(nil), c.Projects...)
	for i := range c.Projects {
		c.Projects[i].setDefaults()
	}
	return c
}

func (p *Project) setDefaults() {
	def(&p.Credential, p.Alias)
	def(&p.Burst, defaultBurst)
	def(&p.MaxInFlight, 10)
	def(&p.MaxReads, 4)
	def(&p.CallTimeout, 30*time.Second)
}

func (c Config) aliases() []string {
	out := make([]string, len(c.Projects))
	for i, p := range c.Projects {
		out[i] = p.Alias
	}
	return out
}

func def[T comparable](v *T, d T) {
	if *v == *new(T) {
		*v = d
	}
}

func (c Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("worker.Config.%s %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Redis == nil {
		bad("Redis", "is missing")
	}
	if c.ID == "" || strings.ContainsAny(c.ID, "/|") {
		bad("ID", "is %q: it must not be empty nor contain / or |", c.ID)
	}
	if len(c.Projects) == 0 {
		bad("Projects", "is empty")
	}
	if c.MaxAttempts < 1 {
		bad("MaxAttempts", "is %d: at least 1", c.MaxAttempts)
	}
	if c.RetryBase <= 0 || c.RetryMax < c.RetryBase {
		bad("RetryMax", "is %s: it must not be below RetryBase, %s", c.RetryMax, c.RetryBase)
	}
	if c.FirstLook <= 0 || c.ConfirmWithin <= c.FirstLook {
		bad("ConfirmWithin", "is %s: it must be above FirstLook, %s", c.ConfirmWithin, c.FirstLook)
	}
	if c.CallMargin < 0 {
		bad("CallMargin", "is %s: it must not be negative", c.CallMargin)
	}
	for i, r := range c.Rules {
		if why := r.Problem(); why != "" {
			bad(fmt.Sprintf("Rules[%d]", i), "%s", why)
		}
	}
	seen, sharing := map[string]bool{}, map[string]Project{}
	for i, p := range c.Projects {
		field := fmt.Sprintf("Projects[%d].", i)
		if seen[p.Alias] {
			bad(field+"Alias", "is %q: another project has it", p.Alias)
		}
		seen[p.Alias] = true
		p.validate(func(name, format string, args ...any) { bad(field+name, format, args...) })
		if other, ok := sharing[p.Credential]; ok && other.limits() != p.limits() {
			bad(field+"limits", "are not those of %s, which shares its credential %s", other.Alias, p.Credential)
		}
		sharing[p.Credential] = p
		if c.ShutdownTimeout <= p.CallTimeout {
			bad("ShutdownTimeout", "is %s: it must exceed %sCallTimeout, %s", c.ShutdownTimeout, field, p.CallTimeout)
		}
	}
	return errors.Join(errs...)
}

func (p Project) validate(bad func(field, format string, args ...any)) {
	if p.Alias == "" || strings.ContainsAny(p.Alias, ":{}|") {
		bad("Alias", "is %q: it must not be empty nor contain : { } or |", p.Alias)
	}
	if p.API == nil {
		bad("API", "is missing")
	}
	if strings.ContainsAny(p.Credential, "{}") {
		bad("Credential", "is %q: it must not contain { or }", p.Credential)
	}
	if p.CallsPerMinute < 0 || p.ReadsPerMinute < 0 || p.MaxInFlight < 1 || p.MaxReads < 1 {
		bad("limits", "must not be negative")
	}
	if p.Burst < minBurst {
		bad("Burst", "is %d: at least %d, one for each priority", p.Burst, minBurst)
	}
	if u := p.UnknownUsers; u != "" && u != tasks.HoldUnknown && u != tasks.IgnoreUnknown {
		bad("UnknownUsers", "is %q: %s or %s", u, tasks.HoldUnknown, tasks.IgnoreUnknown)
	}
}
