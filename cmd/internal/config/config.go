// Package config reads the configuration: one strict YAML file, and environment variables,
// which take precedence. deploy/config.example.yaml documents every key. Secrets are in
// neither: the file names the environment variable or the file of each secret.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// Config is the whole configuration. Durations are in Go's notation, such as 30s or 2160h.
type Config struct {
	Redis Redis `yaml:"redis"`
	// Credentials are referred to by name by projects. Projects with the same credentials
	// share their limits, because the cloud counts the requests of an IAM identity.
	// Defaults to none.
	Credentials []Credential `yaml:"credentials"`
	// Projects are the cloud projects. Without any, one called "default" is made of the
	// conventional environment variables, if they are set. Defaults to none.
	Projects []Project `yaml:"projects"`
	Worker   Worker    `yaml:"worker"`
	// Codes add to the built-in table of error codes and take precedence over it.
	// Defaults to none.
	Codes []Code `yaml:"codes"`
	// Protected are rules about what no call may name, in all projects. Defaults to none.
	Protected []Protected `yaml:"protected"`
	// Schedules make operations at the ticks of cron expressions. Defaults to none.
	Schedules []tasks.Schedule `yaml:"schedules"`
	Retention time.Duration    `yaml:"retention"` // how long an ended operation is kept, at least 1h. Defaults to 2160h.
	Log       Log              `yaml:"log"`
	// AccessRemovedWithin is the target for the time from when an operation was due until
	// a desktop is confirmed detached, at least 1s. Defaults to 15m.
	AccessRemovedWithin time.Duration `yaml:"access_removed_within"`
}

// Code classifies an error code of the cloud that the built-in table does not have, or has
// with another class.
type Code struct {
	Of     string `yaml:"of"`     // call (a refused call) or desktop (a desktop refused in a 200). Required.
	Status int    `yaml:"status"` // the HTTP status of the call, its first digit, or 0 for any. Defaults to 0.
	Code   string `yaml:"code"`   // the error_code; a * at its end matches any continuation. Required if Status is 0.
	Class  string `yaml:"class"`  // one of CallClasses or DesktopClasses. Required.
	Why    string `yaml:"why"`    // an explanation for people. Defaults to "".
}

// CallClasses and DesktopClasses are the classes that a Code may have.
var (
	CallClasses    = []string{"transient", "throttled", "conflict", "ambiguous", "poison", "auth", "policy", "not_api", "denied", "permanent"}
	DesktopClasses = []string{"transient", "conflict", "permanent"}
)

// Redis configures the connection to the Redis with the record and the queues.
type Redis struct {
	// URL is redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster://, see
	// ParseRedisURL. It is a secret because it may contain a password. Defaults to
	// redis://127.0.0.1:6379/0.
	URL apiclient.Secret `yaml:"url"`
	// Username and Password are for the servers and replace those in URL. Default to "".
	Username string    `yaml:"username"`
	Password SecretRef `yaml:"password"`
	// SentinelUsername and SentinelPassword are for the Sentinels only, which never get
	// those of the servers. Default to "".
	SentinelUsername string    `yaml:"sentinel_username"`
	SentinelPassword SecretRef `yaml:"sentinel_password"`
	// Prefix begins every key except those of asynq: 1 to 40 letters, digits and ._-
	// characters. Defaults to detachd.
	Prefix string `yaml:"prefix"`
	// Compat is for servers and proxies that support little more than Redis 6.2: RESP2, no
	// CLIENT SETINFO, no maintenance notifications. Defaults to false.
	Compat bool `yaml:"compat"`
	// WaitReplicas is the number of replicas, 0 to 10, that must have a write before it is
	// acknowledged or a call is sent; 0: do not wait. Defaults to 1.
	WaitReplicas   int           `yaml:"wait_replicas"`
	WaitAtMost     time.Duration `yaml:"wait_at_most"`    // bounds the wait for WaitReplicas, 10ms to 1.5s. Defaults to 1s.
	ReplicaReturns time.Duration `yaml:"replica_returns"` // how long calls wait for a disconnected replica, 1ms to 1h. Defaults to 1m.
	TLS            TLS           `yaml:"tls"`
}

// TLS configures connections with rediss://, or with tls=true in the other URLs. Files are
// in PEM.
type TLS struct {
	CAFile string `yaml:"ca_file"` // the certificate authorities. Defaults to "", those of the system.
	// CertFile and KeyFile are a client certificate and its key. Default to "", none.
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"` // the name expected in the certificate. Defaults to "", the host.
}

// Project is one cloud project.
type Project struct {
	Alias       string `yaml:"alias"`        // the name in requests: 1 to 40 of a-z, 0-9 and -. Required.
	ProjectID   string `yaml:"project_id"`   // the cloud's id of the project, 32 hex digits. Required.
	Region      string `yaml:"region"`       // determines the endpoints that are not set. Required unless Endpoint is set.
	Endpoint    string `yaml:"endpoint"`     // the base URL of Workspace. Defaults to "", that of Region.
	IAMEndpoint string `yaml:"iam_endpoint"` // the base URL of IAM, for credentials of kind password. Defaults to "", that of Region.
	// AllowHTTP accepts endpoints with http that are not on this machine. Credentials then
	// travel unencrypted. Defaults to false.
	AllowHTTP  bool   `yaml:"allow_http"`
	Credential string `yaml:"credentials"` // the name of one of Config.Credentials. Required.
	// UnknownUsers decides about users that Workspace does not know, if neither the request
	// nor the key does: hold or ignore. Defaults to hold.
	UnknownUsers string   `yaml:"unknown_users"`
	Limits       Limits   `yaml:"limits"`
	Approval     Approval `yaml:"approval"`
	Require      Require  `yaml:"require"`
	Zone         string   `yaml:"zone"` // IANA time zone of blackouts and last working days that name none. Defaults to "", UTC.
	// Blackouts are times in which only urgent operations and undos are sent. Defaults to none.
	Blackouts []Blackout `yaml:"blackouts"`
	// Protected are rules about what no call of this project may name, besides
	// Config.Protected. Defaults to none.
	Protected []Protected `yaml:"protected"`
}

// Approval says which operations wait for a person: those that bring the project, within the
// window, to more desktops than both limits (match: all) or than either (match: any).
type Approval struct {
	Desktops int           `yaml:"desktops"` // 0: every operation waits. Defaults to 50.
	Percent  int           `yaml:"percent"`  // of the desktops that have a user; 0: all wait, 100: no limit by this. Defaults to 20.
	Match    string        `yaml:"match"`    // all or any. Defaults to all.
	Window   time.Duration `yaml:"window"`   // 1m to 720h. Defaults to 24h.
	Expires  time.Duration `yaml:"expires"`  // how long an operation waits before it is cancelled, 1m to 720h. Defaults to 24h.
	// SecondPersonAbove is how many desktops within the window the person who asked for them
	// may approve, too; 0: none. Defaults to 500.
	SecondPersonAbove int `yaml:"second_person_above"`
	// UndoSecondPersonAbove is how many desktops an undo gives back without another person's
	// approval; 0: none. Defaults to 100.
	UndoSecondPersonAbove int `yaml:"undo_second_person_above"`
	// UndoWithin is how long after its detach a desktop is given back, 1h to 2160h. Defaults to 168h.
	UndoWithin time.Duration `yaml:"undo_within"`
	// Canary and StopLoss make the rest of a large operation wait, too.
	Canary   Canary   `yaml:"canary"`
	StopLoss StopLoss `yaml:"stop_loss"`
}

// Canary says how many desktops of a large operation must be confirmed before the others are
// sent.
type Canary struct {
	Desktops int `yaml:"desktops"` // 0: no canary, all are sent at once. Defaults to 5.
	Above    int `yaml:"above"`    // only operations of more desktops have one; 0: all. Defaults to 100.
}

// StopLoss says how many desktops of a large operation may fail or be on hold: beyond one of
// the two the rest waits.
type StopLoss struct {
	Desktops int `yaml:"desktops"` // 0: the first stops it, 100000: no limit by this. Defaults to 50.
	Percent  int `yaml:"percent"`  // of those tried, and of 100 at least; 0: the first stops it, 100: no limit by this. Defaults to 10.
	Above    int `yaml:"above"`    // only operations of more desktops are stopped; 0: all. Defaults to 100.
}

// DefaultApproval returns the limits of a project without any.
func DefaultApproval() Approval {
	p := project()
	return Approval{
		Desktops: p.Limit.Desktops, Percent: p.Limit.Percent, Match: matchAll, Window: p.Limit.Window, Expires: p.ApprovalExpires,
		SecondPersonAbove: *p.SecondPersonAbove, UndoSecondPersonAbove: *p.UndoSecondPersonAbove, UndoWithin: p.UndoWithin,
		Canary: Canary(*p.Canary), StopLoss: StopLoss(*p.StopLoss),
	}
}

// NoApproval returns limits that every operation passes, for clouds that are not real.
func NoApproval() Approval {
	a := DefaultApproval()
	a.Percent = 100
	a.Canary, a.StopLoss = Canary{}, StopLoss{Percent: 100, Desktops: tasks.MaxDesktops}
	return a
}

// The values of Approval.Match.
const (
	matchAll = "all"
	matchAny = "any"
)

// Limit returns the limits as a worker has them.
func (a Approval) Limit() tasks.Limit {
	return tasks.Limit{Desktops: a.Desktops, Percent: a.Percent, Any: a.Match == matchAny, Window: a.Window}
}

func (a Approval) validate(bad func(field, format string, args ...any)) {
	if a.Desktops < 0 {
		bad("approval.desktops", "is %d: 0 (every operation waits for approval) or more", a.Desktops)
	}
	if a.Percent < 0 || a.Percent > 100 {
		bad("approval.percent", "is %d: 0 (every operation waits for approval) to 100 (no limit by this)", a.Percent)
	}
	if a.SecondPersonAbove < 0 {
		bad("approval.second_person_above", "is %d: 0 (always another person) or more", a.SecondPersonAbove)
	}
	if a.UndoSecondPersonAbove < 0 {
		bad("approval.undo_second_person_above", "is %d: 0 (always another person) or more", a.UndoSecondPersonAbove)
	}
	if a.UndoWithin < time.Hour || a.UndoWithin > 90*24*time.Hour {
		bad("approval.undo_within", "is %s: 1h to 2160h", a.UndoWithin)
	}
	if a.Match != matchAll && a.Match != matchAny {
		bad("approval.match", "is %q: all (only above both limits) or any (above either)", a.Match)
	}
	for field, n := range map[string]int{
		"approval.canary.desktops": a.Canary.Desktops, "approval.canary.above": a.Canary.Above,
		"approval.stop_loss.desktops": a.StopLoss.Desktops, "approval.stop_loss.above": a.StopLoss.Above,
	} {
		if n < 0 || n > tasks.MaxDesktops {
			bad(field, "is %d: 0 to %d", n, tasks.MaxDesktops)
		}
	}
	if a.StopLoss.Percent < 0 || a.StopLoss.Percent > 100 {
		bad("approval.stop_loss.percent", "is %d: 0 (the first that fails or is on hold stops it) to 100 (no limit by this)", a.StopLoss.Percent)
	}
	for field, d := range map[string]time.Duration{"approval.window": a.Window, "approval.expires": a.Expires} {
		if d < time.Minute || d > 720*time.Hour {
			bad(field, "is %s: 1m to 720h", d)
		}
	}
}

// Credential is an IAM identity and its rate limits. The fields of other kinds must be
// empty.
type Credential struct {
	Name  string    `yaml:"name"`  // what projects refer to: 1 to 40 of a-z, 0-9 and -. Required.
	Kind  string    `yaml:"kind"`  // token, password or aksk. Required.
	Token SecretRef `yaml:"token"` // required for kind token.
	// User, Domain (the account) and Password are required for kind password.
	User     string    `yaml:"user"`
	Domain   string    `yaml:"domain"`
	Password SecretRef `yaml:"password"`
	// AccessKey and SecretKey are required for kind aksk, SecurityToken for temporary keys.
	AccessKey     SecretRef `yaml:"access_key"`
	SecretKey     SecretRef `yaml:"secret_key"`
	SecurityToken SecretRef `yaml:"security_token"`

	// CallsPerMinute limits detach calls, over all workers and projects; 0: no limit.
	// Defaults to 100.
	CallsPerMinute int `yaml:"calls_per_minute"`
	// ReadsPerMinute limits all other requests, at least twice CallsPerMinute; 0: no limit.
	// Defaults to 200.
	ReadsPerMinute int `yaml:"reads_per_minute"`
	Burst          int `yaml:"burst"` // how many requests of a kind may be sent at once after a pause, 4 to 10000. Defaults to 5.
}

// Limits protect the cloud of a project.
type Limits struct {
	MaxInFlight int           `yaml:"max_in_flight"` // the number of simultaneous calls of one worker, 1 to 1000. Defaults to 10.
	MaxReads    int           `yaml:"max_reads"`     // the number of simultaneous confirming reads of one worker, 1 to 1000. Defaults to 4.
	CallTimeout time.Duration `yaml:"call_timeout"`  // bounds one call or read, at least 1s. Defaults to 30s.
}

// Worker configures a worker process.
type Worker struct {
	ID                 string        `yaml:"id"`                   // unique among running workers. Defaults to "", a new one at each start.
	MaxAttempts        int           `yaml:"max_attempts"`         // the number of failed calls after which a desktop fails. Defaults to 10.
	RetryBase          time.Duration `yaml:"retry_base"`           // first delay, doubled with each attempt, full jitter. Defaults to 1s.
	RetryMax           time.Duration `yaml:"retry_max"`            // the longest delay of a retry. Defaults to 5m.
	BulkPollInterval   time.Duration `yaml:"bulk_poll_interval"`   // of an empty queue of a project with work, 1ms to 1m. Defaults to 200ms.
	UrgentPollInterval time.Duration `yaml:"urgent_poll_interval"` // the same for urgent work, for which a bell rings. Defaults to 200ms.
	// FirstLook is the time from the acceptance of a desktop by the cloud to its first
	// confirming read, 100ms to 1h; later reads are ever further apart. Defaults to 3s.
	FirstLook time.Duration `yaml:"first_look"`
	// ConfirmWithin is the time from the same moment after which a desktop that is not
	// confirmed detached fails. Defaults to 30m.
	ConfirmWithin time.Duration `yaml:"confirm_within"`
	// ShutdownTimeout is how long a stop waits for calls in flight; it must exceed every
	// CallTimeout by more than CallMargin. Defaults to 45s.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	// Schedules says whether this process runs schedules. Several may: each run happens
	// once. Defaults to true.
	Schedules bool `yaml:"schedules"`
	// Lists is the directory of the files that schedules may read which are not in the
	// configuration, and of relative paths. Defaults to "", none.
	Lists string `yaml:"lists"`
	// Settle is how long a file of a schedule must not change before it is read, 1s to 10m.
	// Defaults to 5s.
	Settle time.Duration `yaml:"settle"`
}

// Log configures the log.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error. Defaults to info.
	Format string `yaml:"format"` // json, console, or auto: console on a terminal, else json. Defaults to auto.
}

// Defaults returns the configuration without a file; it has no project. What a worker and
// the record have defaults for is theirs.
func Defaults() Config {
	w := worker.Config{}.WithDefaults()
	return Config{
		Redis: Redis{
			URL: "redis://127.0.0.1:6379/0", Prefix: record.DefaultPrefix,
			WaitReplicas: record.DefaultReplicas, WaitAtMost: record.DefaultReplicaWait, ReplicaReturns: record.DefaultReplicaReturns,
		},
		Worker: Worker{
			MaxAttempts: w.MaxAttempts, RetryBase: w.RetryBase, RetryMax: w.RetryMax,
			BulkPollInterval: w.BulkPollInterval, UrgentPollInterval: w.UrgentPollInterval,
			FirstLook: w.FirstLook, ConfirmWithin: w.ConfirmWithin, ShutdownTimeout: w.ShutdownTimeout,
			Schedules: true, Settle: 5 * time.Second,
		},
		Retention:           record.DefaultRetention,
		Log:                 Log{Level: "info", Format: "auto"},
		AccessRemovedWithin: tasks.DefaultTarget,
	}
}

// project is a worker's project with its defaults.
func project() worker.Project {
	return worker.Config{Projects: []worker.Project{{}}}.WithDefaults().Projects[0]
}

// DefaultLimits returns the limits of a project without any.
func DefaultLimits() Limits {
	p := project()
	return Limits{MaxInFlight: p.MaxInFlight, MaxReads: p.MaxReads, CallTimeout: p.CallTimeout}
}

// DefaultCredential returns a credential with the limits that the cloud publishes for a
// user: 100 calls and 200 reads a minute. Source: "Notes and Constraints" of the API
// reference; a 429 slows requests further.
func DefaultCredential() Credential {
	return Credential{CallsPerMinute: 100, ReadsPerMinute: 200, Burst: project().Burst}
}

// UnmarshalYAML decodes over the defaults.
func (p *Project) UnmarshalYAML(n *yaml.Node) error {
	type plain Project
	p.Limits, p.Approval, p.UnknownUsers = DefaultLimits(), DefaultApproval(), tasks.HoldUnknown
	return n.Decode((*plain)(p))
}

// UnmarshalYAML decodes over DefaultCredential.
func (c *Credential) UnmarshalYAML(n *yaml.Node) error {
	type plain Credential
	*c = DefaultCredential()
	return n.Decode((*plain)(c))
}

// CredentialOf returns the credential that a project refers to; false: there is no
// credential with that name.
func (c Config) CredentialOf(p Project) (Credential, bool) {
	i := slices.IndexFunc(c.Credentials, func(x Credential) bool { return x.Name == p.Credential })
	if i < 0 {
		return Credential{}, false
	}
	return c.Credentials[i], true
}

// Load reads the file at path, unless path is empty, and the environment, and validates
// the result. lookup is usually os.LookupEnv. The error names every unknown key and every
// invalid value with its line or variable.
func Load(path string, lookup func(string) (string, bool)) (Config, error) {
	cfg := Defaults()
	s := strict{from: sources{}}
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return cfg, fmt.Errorf("reading the configuration: %w", err)
		}
		if err := cfg.decode(text, &s); err != nil {
			return cfg, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := cfg.environment(lookup, &s); err != nil {
		return cfg, err
	}
	for _, p := range cfg.problems() {
		if !s.wrong.about(p.key) { // report each key once
			s.wrong = append(s.wrong, p)
		}
	}
	if len(s.wrong) == 0 {
		return cfg, nil
	}
	errs := make([]error, len(s.wrong))
	for i, p := range s.wrong {
		errs[i] = fmt.Errorf("%s%s: %s", s.from.of(p.key), cmp.Or(p.key, "the file"), p.text)
	}
	err := errors.Join(errs...)
	if path != "" {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return cfg, err
}

// decode decodes YAML over c.
func (c *Config) decode(text []byte, s *strict) error {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one YAML document")
	}
	s.check(doc.Content[0], reflect.TypeFor[Config](), "")
	return doc.Decode(c)
}

// environment applies environment variables to c.
func (c *Config) environment(lookup func(string) (string, bool), s *strict) error {
	get := func(name, key string) (string, bool) {
		v, _ := lookup(name)
		if v != "" {
			s.from[key] = name
			s.wrong = slices.DeleteFunc(s.wrong, func(p problem) bool { return p.key == key })
		}
		return v, v != ""
	}
	if v, ok := get("DETACHD_REDIS_URL", "redis.url"); ok {
		c.Redis.URL = apiclient.Secret(v)
		if o, err := ParseRedisURL(c.Redis.URL); err == nil && (o.Username != "" || o.Password != "") {
			// Those of the file belong to another server.
			c.Redis.Username, c.Redis.Password = "", SecretRef{}
			c.Redis.SentinelUsername, c.Redis.SentinelPassword = "", SecretRef{}
		}
	}
	if v, ok := get("DETACHD_REDIS_PASSWORD", "redis.password"); ok {
		c.Redis.Password = SecretRef{Value: apiclient.Secret(v)}
	}
	if v, ok := get("DETACHD_REDIS_SENTINEL_PASSWORD", "redis.sentinel_password"); ok {
		c.Redis.SentinelPassword = SecretRef{Value: apiclient.Secret(v)}
	}
	for name, to := range map[string]struct {
		key  string
		text *string
	}{
		"DETACHD_WORKER_ID":  {"worker.id", &c.Worker.ID},
		"DETACHD_LOG_LEVEL":  {"log.level", &c.Log.Level},
		"DETACHD_LOG_FORMAT": {"log.format", &c.Log.Format},
	} {
		if v, ok := get(name, to.key); ok {
			*to.text = v
		}
	}
	if v, ok := get("DETACHD_RETENTION", "retention"); ok {
		d, err := time.ParseDuration(v)
		if err != nil {
			s.wrong.add("retention", "is not a duration such as 2160h")
		} else {
			c.Retention = d
		}
	}
	if len(c.Projects) > 0 || s.wrong.about("projects") {
		return nil
	}
	return c.projectFromEnvironment(lookup, s.from)
}

// projectFromEnvironment makes the project "default" of the conventional environment
// variables, if they have credentials.
func (c *Config) projectFromEnvironment(lookup func(string) (string, bool), from sources) error {
	env, err := apiclient.FromEnv(lookup)
	if err != nil {
		return err
	}
	p := Project{
		Alias: "default", ProjectID: env.ProjectID, Region: env.Region, Endpoint: env.Endpoint, IAMEndpoint: env.IAMEndpoint,
		Credential: "default", UnknownUsers: tasks.HoldUnknown, Limits: DefaultLimits(), Approval: DefaultApproval(),
	}
	x := DefaultCredential()
	x.Name = "default"
	switch {
	case env.AccessKey != "":
		x.Kind, x.AccessKey, x.SecretKey = "aksk", SecretRef{Value: env.AccessKey}, SecretRef{Value: env.SecretKey}
		x.SecurityToken = SecretRef{Value: env.SecurityToken}
	case env.Token != "":
		x.Kind, x.Token = "token", SecretRef{Value: env.Token}
	case env.User != "":
		x.Kind, x.User, x.Domain, x.Password = "password", env.User, env.Domain, SecretRef{Value: env.Password}
	default:
		return nil
	}
	c.Projects, c.Credentials = []Project{p}, []Credential{x}
	from["projects[0]"] = "environment"
	from["projects[0].project_id"] = "HUAWEICLOUD_SDK_PROJECT_ID or HW_PROJECT_ID"
	from["projects[0].region"] = "HUAWEICLOUD_SDK_REGION or HW_REGION_NAME"
	return nil
}

var (
	aliasSyntax  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	idSyntax     = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
	prefixSyntax = regexp.MustCompile(`^[A-Za-z0-9._-]{1,40}$`)
)

// Validate returns an error that names every key with an invalid value.
func (c Config) Validate() error {
	var errs []error
	for _, p := range c.problems() {
		errs = append(errs, fmt.Errorf("%s: %s", p.key, p.text))
	}
	return errors.Join(errs...)
}

func (c Config) problems() problems {
	var ps problems
	c.Redis.validate(ps.add)
	if c.Retention < time.Hour {
		ps.add("retention", "is %s: at least 1h", c.Retention)
	}
	if l := c.Log.Level; !slices.Contains([]string{"debug", "info", "warn", "error"}, l) {
		ps.add("log.level", "is %q: debug, info, warn or error", l)
	}
	if f := c.Log.Format; f != "json" && f != "console" && f != "auto" {
		ps.add("log.format", "is %q: json, console or auto", f)
	}
	if c.AccessRemovedWithin < time.Second {
		ps.add("access_removed_within", "is %s: at least 1s", c.AccessRemovedWithin)
	}
	c.Worker.validate(ps.add)
	for i, code := range c.Codes {
		code.validate(func(field, format string, args ...any) {
			ps.add(fmt.Sprintf("codes[%d].%s", i, field), format, args...)
		})
	}
	for i, p := range c.Protected {
		p.validate(func(field, format string, args ...any) {
			ps.add(fmt.Sprintf("protected[%d].%s", i, field), format, args...)
		})
	}
	c.validateCredentials(&ps)
	c.validateProjects(&ps)
	c.validateSchedules(&ps)
	return ps
}

func (c Config) validateProjects(ps *problems) {
	seen, ids := map[string]bool{}, map[string]string{}
	for i, p := range c.Projects {
		key := fmt.Sprintf("projects[%d]", i)
		p.validate(func(field, format string, args ...any) { ps.add(key+"."+field, format, args...) })
		if seen[p.Alias] {
			ps.add(key+".alias", "%q is repeated", p.Alias)
		}
		seen[p.Alias] = true
		if id := strings.ToLower(p.ProjectID); idSyntax.MatchString(id) {
			// Two aliases would detach, count and pause the same desktops independently.
			if other, repeated := ids[id]; repeated {
				ps.add(key+".project_id", "is also that of project %s: a project has one alias", other)
			}
			ids[id] = p.Alias
		}
		x, known := c.CredentialOf(p)
		switch {
		case p.Credential == "":
			ps.add(key+".credentials", "is missing: enter the name of one of credentials")
		case !known:
			ps.add(key+".credentials", "%q is not the name of one of credentials: %s",
				p.Credential, cmp.Or(strings.Join(c.credentialNames(), ", "), "none is configured"))
		case x.Kind == "password" && p.Region == "" && p.IAMEndpoint == "":
			ps.add(key+".iam_endpoint", "is missing, and so is region: credentials of kind password need one of them")
		}
		if p.Limits.CallTimeout+CallMargin >= c.Worker.ShutdownTimeout {
			ps.add(key+".limits.call_timeout", "is %s: it must be more than %s below worker.shutdown_timeout, %s",
				p.Limits.CallTimeout, CallMargin, c.Worker.ShutdownTimeout)
		}
	}
}

// CallMargin is how much longer than call_timeout a worker waits for a call, so that it
// gets the client's own error, which has more detail.
const CallMargin = time.Second

// longestWait is the largest wait_at_most: below half of redisTimeout.
const longestWait = 1500 * time.Millisecond

func (r Redis) validate(bad func(key, format string, args ...any)) {
	o, err := ParseRedisURL(r.URL)
	if err != nil {
		bad("redis.url", "%v", err)
	} else if r.TLS != (TLS{}) && o.TLSConfig == nil {
		bad("redis.tls", "is set, but redis.url does not use TLS: write rediss://, or ?tls=true for Sentinels and a Cluster")
	}
	if err == nil && o.MasterName == "" {
		if r.SentinelUsername != "" {
			bad("redis.sentinel_username", "is set, but redis.url has no Sentinels: remove it, or write redis+sentinel://")
		}
		if r.SentinelPassword.given() {
			bad("redis.sentinel_password", "is set, but redis.url has no Sentinels: remove it, or write redis+sentinel://")
		}
	}
	if r.SentinelUsername != "" && !r.SentinelPassword.given() {
		bad("redis.sentinel_username", "is set without redis.sentinel_password: a user needs a password")
	}
	if (r.TLS.CertFile == "") != (r.TLS.KeyFile == "") {
		bad("redis.tls", "cert_file and key_file must both be set, or neither")
	}
	if !prefixSyntax.MatchString(r.Prefix) {
		bad("redis.prefix", "is %q: 1 to 40 letters, digits, dots, dashes or underscores", r.Prefix)
	}
	if r.WaitReplicas < 0 || r.WaitReplicas > 10 {
		bad("redis.wait_replicas", "is %d: 0 to 10", r.WaitReplicas)
	}
	if r.WaitAtMost < 10*time.Millisecond || r.WaitAtMost > longestWait {
		bad("redis.wait_at_most", "is %s: 10ms to %s", r.WaitAtMost, longestWait)
	}
	if r.ReplicaReturns < time.Millisecond || r.ReplicaReturns > time.Hour {
		bad("redis.replica_returns", "is %s: 1ms to 1h", r.ReplicaReturns)
	}
}

func (w Worker) validate(bad func(key, format string, args ...any)) {
	if strings.ContainsAny(w.ID, "/|") {
		bad("worker.id", "is %q: it must not contain / or |", w.ID)
	}
	if w.MaxAttempts < 1 {
		bad("worker.max_attempts", "is %d: at least 1", w.MaxAttempts)
	}
	if w.RetryBase <= 0 {
		bad("worker.retry_base", "is %s: above 0", w.RetryBase)
	} else if w.RetryMax < w.RetryBase {
		bad("worker.retry_max", "is %s: it must not be below worker.retry_base, %s", w.RetryMax, w.RetryBase)
	}
	poll := func(key string, d time.Duration) {
		if d < time.Millisecond || d > time.Minute {
			bad(key, "is %s: 1ms to 1m", d)
		}
	}
	poll("worker.bulk_poll_interval", w.BulkPollInterval)
	poll("worker.urgent_poll_interval", w.UrgentPollInterval)
	if w.FirstLook < 100*time.Millisecond || w.FirstLook > time.Hour {
		bad("worker.first_look", "is %s: 100ms to 1h", w.FirstLook)
	} else if w.ConfirmWithin <= w.FirstLook {
		bad("worker.confirm_within", "is %s: it must be above worker.first_look, %s", w.ConfirmWithin, w.FirstLook)
	}
	if w.ShutdownTimeout < time.Second {
		bad("worker.shutdown_timeout", "is %s: at least 1s", w.ShutdownTimeout)
	}
	if w.Settle < time.Second || w.Settle > 10*time.Minute {
		bad("worker.settle", "is %s: 1s to 10m", w.Settle)
	}
	if w.Lists != "" && !filepath.IsAbs(w.Lists) {
		bad("worker.lists", "is %q: the whole path of a directory, beginning with /", w.Lists)
	}
}

func (c Code) validate(bad func(field, format string, args ...any)) {
	classes := CallClasses
	switch c.Of {
	case "desktop":
		classes = DesktopClasses
	case "call":
	default:
		bad("of", "is %q: call or desktop", c.Of)
	}
	if !slices.Contains(classes, c.Class) {
		bad("class", "is %q: one of %s", c.Class, strings.Join(classes, ", "))
	}
	if c.Status != 0 && (c.Status < 2 || c.Status > 5) && (c.Status < 200 || c.Status > 599) {
		bad("status", "is %d: an HTTP status, its first digit, or 0 for any", c.Status)
	}
	// Without either it would match every error.
	if strings.TrimSuffix(c.Code, "*") == "" && c.Status == 0 {
		bad("code", "is %q, and status is not set: set at least one", c.Code)
	}
}

func (p Project) validate(bad func(field, format string, args ...any)) {
	if !aliasSyntax.MatchString(p.Alias) {
		bad("alias", "is %q: 1 to 40 lower-case letters, digits or dashes", p.Alias)
	}
	if !idSyntax.MatchString(p.ProjectID) {
		bad("project_id", "is %q: the 32 hex digits of the cloud's project", p.ProjectID)
	}
	if p.Region == "" && p.Endpoint == "" {
		bad("region", "is missing, and so is endpoint: set one of them")
	}
	if p.Region != "" {
		if _, err := apiclient.Endpoint(p.Region); err != nil {
			bad("region", "%v", err)
		}
	}
	address := func(field, text string) {
		// The errors do not quote the address, which may contain a password.
		switch {
		case text == "":
		case apiclient.CheckEndpoint(text, true) != nil:
			bad(field, "is not an address such as https://host, without user, password or query")
		case apiclient.CheckEndpoint(text, p.AllowHTTP) != nil:
			bad(field, "is http and not on this machine, so the credentials would travel unencrypted: use https, or set allow_http of the project")
		}
	}
	address("endpoint", p.Endpoint)
	address("iam_endpoint", p.IAMEndpoint)
	if u := p.UnknownUsers; u != "" && u != tasks.HoldUnknown && u != tasks.IgnoreUnknown {
		bad("unknown_users", "is %q: %s or %s", u, tasks.HoldUnknown, tasks.IgnoreUnknown)
	}
	p.Limits.validate(bad)
	p.Approval.validate(bad)
	p.validateBlackouts(bad)
	for i, x := range p.Protected {
		x.validate(func(field, format string, args ...any) {
			bad(fmt.Sprintf("protected[%d].%s", i, field), format, args...)
		})
	}
}

func (c Config) credentialNames() []string {
	out := make([]string, len(c.Credentials))
	for i, x := range c.Credentials {
		out[i] = x.Name
	}
	return out
}

func (c Config) validateCredentials(ps *problems) {
	names, users := map[string]bool{}, map[string]string{}
	for i, x := range c.Credentials {
		key := fmt.Sprintf("credentials[%d]", i)
		x.validate(func(field, format string, args ...any) { ps.add(key+"."+field, format, args...) })
		if names[x.Name] {
			ps.add(key+".name", "%q is repeated", x.Name)
		}
		names[x.Name] = true
		if x.Kind != "password" || x.User == "" {
			continue
		}
		identity := x.Domain + "/" + x.User
		if other, repeated := users[identity]; repeated {
			ps.add(key+".user", "is also that of %s, and the cloud limits the requests of a user: let the projects share one of them", other)
		}
		users[identity] = x.Name
	}
}

// CheckIdentities returns an error if credentials with different names are the same identity:
// each would get its own limits, but the cloud counts them as one. lookup is usually
// os.LookupEnv. Secrets that cannot be read are skipped; their users report them.
func (c Config) CheckIdentities(lookup func(string) (string, bool)) error {
	seen := map[string]string{}
	for _, x := range c.Credentials {
		ref := x.AccessKey
		if x.Kind == "token" {
			ref = x.Token
		}
		secret, err := ref.Resolve(lookup)
		if err != nil || secret == "" {
			continue
		}
		id := x.Kind + " " + secret.Reveal()
		if other, repeated := seen[id]; repeated {
			return fmt.Errorf("credentials %s and %s are the same identity, and the cloud counts their requests together: "+
				"let the projects share one of them", other, x.Name)
		}
		seen[id] = x.Name
	}
	return nil
}

func (l Limits) validate(bad func(field, format string, args ...any)) {
	if l.MaxInFlight < 1 || l.MaxInFlight > 1000 {
		bad("limits.max_in_flight", "is %d: 1 to 1000", l.MaxInFlight)
	}
	if l.MaxReads < 1 || l.MaxReads > 1000 {
		bad("limits.max_reads", "is %d: 1 to 1000", l.MaxReads)
	}
	if l.CallTimeout < time.Second {
		bad("limits.call_timeout", "is %s: at least 1s", l.CallTimeout)
	}
}

// smallestBurst lets each priority send one request at once.
const smallestBurst = 4

func (c Credential) validate(bad func(field, format string, args ...any)) {
	if !aliasSyntax.MatchString(c.Name) {
		bad("name", "is %q: 1 to 40 lower-case letters, digits or dashes", c.Name)
	}
	if c.CallsPerMinute < 0 || c.CallsPerMinute > 600_000 {
		bad("calls_per_minute", "is %d: 0 (no limit) to 600000", c.CallsPerMinute)
	}
	// Reads before calls have priority, so with fewer reads no desktop would be confirmed.
	switch reads := c.ReadsPerMinute; {
	case reads < 0 || reads > 1_200_000:
		bad("reads_per_minute", "is %d: 0 (no limit) to 1200000", reads)
	case reads > 0 && c.CallsPerMinute == 0:
		bad("reads_per_minute", "is %d, but calls have no limit: each needs a read before and after it, so limit both or neither", reads)
	case reads > 0 && reads < 2*c.CallsPerMinute:
		bad("reads_per_minute", "is %d: 0 or at least %d, twice calls_per_minute, because each call needs a read before and after it",
			reads, 2*c.CallsPerMinute)
	}
	if c.Burst < smallestBurst || c.Burst > 10_000 {
		bad("burst", "is %d: %d to 10000", c.Burst, smallestBurst)
	}
	if c.Kind != "token" && c.Kind != "password" && c.Kind != "aksk" {
		bad("kind", "is not one of token, password and aksk")
		return
	}
	for _, f := range []struct {
		name, kind      string
		required, given bool
	}{
		{"token", "token", true, c.Token.given()},
		{"user", "password", true, c.User != ""},
		{"domain", "password", true, c.Domain != ""},
		{"password", "password", true, c.Password.given()},
		{"access_key", "aksk", true, c.AccessKey.given()},
		{"secret_key", "aksk", true, c.SecretKey.given()},
		{"security_token", "aksk", false, c.SecurityToken.given()},
	} {
		switch {
		case f.kind != c.Kind && f.given:
			bad(f.name, "is not for kind %s: remove it, or change the kind", c.Kind)
		case f.kind == c.Kind && f.required && !f.given:
			bad(f.name, "is missing: kind %s needs it", c.Kind)
		}
	}
}
