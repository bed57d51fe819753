// Package config reads what a person configures: one strict YAML file and the
// environment, which goes before the file. Every key is documented in
// deploy/config.example.yaml. Secrets stand in neither: the file names the
// environment variable or the file that holds each.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/apiclient"
)

// Config is the whole configuration.
type Config struct {
	Redis Redis `yaml:"redis"`
	// Credentials are what projects refer to by name. Those that use the same share
	// its limits, as the cloud counts the requests of an IAM identity.
	Credentials []Credential  `yaml:"credentials"`
	Projects    []Project     `yaml:"projects"`
	Worker      Worker        `yaml:"worker"`
	Codes       []Code        `yaml:"codes"`     // what further error codes mean; they go before the built-in ones
	Retention   time.Duration `yaml:"retention"` // of ended operations
	Log         Log           `yaml:"log"`
	// AccessRemovedWithin is the target for the time from when an operation was
	// due to when a desktop is proven detached.
	AccessRemovedWithin time.Duration `yaml:"access_removed_within"`
}

// Code says what an error code of the cloud means, where the built-in table does
// not know it or knows it wrongly.
type Code struct {
	Of     string `yaml:"of"`     // call: a refused call; desktop: a desktop refused in a 200
	Status int    `yaml:"status"` // HTTP status of the call, or its first digit; 0: any
	Code   string `yaml:"code"`   // error_code; one that ends in * matches by its beginning
	Class  string `yaml:"class"`  // see CallClasses and DesktopClasses
	Why    string `yaml:"why"`    // for people
}

// The classes that a Code may give.
var (
	CallClasses    = []string{"transient", "throttled", "conflict", "ambiguous", "poison", "auth", "policy", "not_api", "denied", "permanent"}
	DesktopClasses = []string{"transient", "conflict", "permanent"}
)

// Redis says where the record and the queues are.
type Redis struct {
	// URL is redis://, rediss:// (TLS), redis+sentinel:// or redis+cluster://;
	// see ParseRedisURL.
	URL      apiclient.Secret `yaml:"url"` // secret because it may hold a password
	Username string           `yaml:"username"`
	Password SecretRef        `yaml:"password"`
	// SentinelUsername and SentinelPassword are for the Sentinels only, and the two above
	// for the servers only, even where the others are empty.
	SentinelUsername string    `yaml:"sentinel_username"`
	SentinelPassword SecretRef `yaml:"sentinel_password"`
	Prefix           string    `yaml:"prefix"` // of every key
	// Compat is for servers and proxies that know little more than the commands of
	// Redis 6.2: RESP2, no CLIENT SETINFO, no maintenance notifications.
	Compat bool `yaml:"compat"`
	// WaitReplicas is how many replicas are to have what is accepted, or is about to be
	// sent, and WaitAtMost how long that is waited for; 0 replicas: nothing is.
	WaitReplicas int           `yaml:"wait_replicas"`
	WaitAtMost   time.Duration `yaml:"wait_at_most"`
	// ReplicaReturns is how long calls wait for a replica that is not connected any more.
	ReplicaReturns time.Duration `yaml:"replica_returns"`
	TLS            TLS           `yaml:"tls"`
}

// TLS is used with rediss:// and with tls=true in the other URLs.
type TLS struct {
	CAFile     string `yaml:"ca_file"`
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"`
}

// Project is one cloud project.
type Project struct {
	Alias       string `yaml:"alias"`
	ProjectID   string `yaml:"project_id"`
	Region      string `yaml:"region"`
	Endpoint    string `yaml:"endpoint"`
	IAMEndpoint string `yaml:"iam_endpoint"`
	Credential  string `yaml:"credentials"` // the name of one of Config.Credentials
	// UnknownUsers is what becomes of users whom Workspace does not know, where neither
	// the request nor the key says it: hold or ignore.
	UnknownUsers string `yaml:"unknown_users"`
	Limits       Limits `yaml:"limits"`
}

// Credential is an IAM identity, of one kind, and how many requests it may make; the
// fields of the other kinds stay empty.
type Credential struct {
	Name          string    `yaml:"name"`
	Kind          string    `yaml:"kind"`  // token, password or aksk
	Token         SecretRef `yaml:"token"` // token
	User          string    `yaml:"user"`  // password
	Domain        string    `yaml:"domain"`
	Password      SecretRef `yaml:"password"`
	AccessKey     SecretRef `yaml:"access_key"` // aksk
	SecretKey     SecretRef `yaml:"secret_key"`
	SecurityToken SecretRef `yaml:"security_token"`

	CallsPerMinute int `yaml:"calls_per_minute"` // of detach calls, of all workers and projects together; 0: no limit
	ReadsPerMinute int `yaml:"reads_per_minute"` // of everything else; 0: no limit
	Burst          int `yaml:"burst"`            // requests of a kind that may leave at once after a rest
}

// Limits protect a project's cloud.
type Limits struct {
	MaxInFlight int           `yaml:"max_in_flight"` // calls at a time of one worker
	MaxReads    int           `yaml:"max_reads"`     // readings that prove at a time of one worker
	CallTimeout time.Duration `yaml:"call_timeout"`  // of one call or reading
}

// Worker is how a worker process works.
type Worker struct {
	ID                 string        `yaml:"id"` // empty: a new one at each start
	MaxAttempts        int           `yaml:"max_attempts"`
	RetryBase          time.Duration `yaml:"retry_base"`
	RetryMax           time.Duration `yaml:"retry_max"`
	BulkPollInterval   time.Duration `yaml:"bulk_poll_interval"`
	UrgentPollInterval time.Duration `yaml:"urgent_poll_interval"`
	FirstLook          time.Duration `yaml:"first_look"`     // from when the cloud took a desktop until it is first looked at
	ConfirmWithin      time.Duration `yaml:"confirm_within"` // from then until it must be proven, or it is failed
	ShutdownTimeout    time.Duration `yaml:"shutdown_timeout"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json, console, or auto: console on a terminal
}

// Defaults is the configuration without a file. It has no project.
func Defaults() Config {
	return Config{
		Redis: Redis{URL: "redis://127.0.0.1:6379/0", Prefix: "detachd", WaitReplicas: 1, WaitAtMost: time.Second, ReplicaReturns: time.Minute},
		Worker: Worker{
			MaxAttempts: 10, RetryBase: time.Second, RetryMax: 5 * time.Minute,
			BulkPollInterval: 200 * time.Millisecond, UrgentPollInterval: 20 * time.Millisecond,
			FirstLook: 3 * time.Second, ConfirmWithin: 30 * time.Minute, ShutdownTimeout: 45 * time.Second,
		},
		Retention:           90 * 24 * time.Hour,
		Log:                 Log{Level: "info", Format: "auto"},
		AccessRemovedWithin: 15 * time.Minute,
	}
}

// DefaultLimits are those of a project that says nothing.
func DefaultLimits() Limits {
	return Limits{MaxInFlight: 10, MaxReads: 4, CallTimeout: 30 * time.Second}
}

// DefaultCredential has the limits of one that says nothing: those that the cloud
// publishes for a user, 100 calls and 200 readings a minute. Source: "Notes and
// Constraints" of the API reference; a 429 slows requests further.
func DefaultCredential() Credential {
	return Credential{CallsPerMinute: 100, ReadsPerMinute: 200, Burst: 5}
}

// holdUnknown and ignoreUnknown are what Project.UnknownUsers can be.
const holdUnknown, ignoreUnknown = "hold", "ignore"

// UnmarshalYAML fills in what a project does not say.
func (p *Project) UnmarshalYAML(n *yaml.Node) error {
	type plain Project
	p.Limits, p.UnknownUsers = DefaultLimits(), holdUnknown
	return n.Decode((*plain)(p))
}

// UnmarshalYAML fills in the limits that a credential does not name.
func (c *Credential) UnmarshalYAML(n *yaml.Node) error {
	type plain Credential
	*c = DefaultCredential()
	return n.Decode((*plain)(c))
}

// CredentialOf is the credential that a project refers to; false: there is none of
// that name.
func (c Config) CredentialOf(p Project) (Credential, bool) {
	i := slices.IndexFunc(c.Credentials, func(x Credential) bool { return x.Name == p.Credential })
	if i < 0 {
		return Credential{}, false
	}
	return c.Credentials[i], true
}

// Load reads the file at path, or none if path is empty, and the environment,
// and checks the whole. lookup is usually os.LookupEnv. The error names every key
// that is unknown or has a bad value, and the line or variable that it is from.
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
		if !s.wrong.about(p.key) { // one fault is one problem
			s.wrong = append(s.wrong, p)
		}
	}
	if len(s.wrong) == 0 {
		return cfg, nil
	}
	errs := make([]error, len(s.wrong))
	for i, p := range s.wrong {
		errs[i] = fmt.Errorf("%s%s: %s", s.from.of(p.key), p.key, p.text)
	}
	err := errors.Join(errs...)
	if path != "" {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return cfg, err
}

// decode reads YAML over what is there.
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

// environment puts the environment over what is there.
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
			// Those of the file are another server's.
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
			s.wrong.add("retention", "is not a duration: 2160h, for example")
		} else {
			c.Retention = d
		}
	}
	if len(c.Projects) > 0 || s.wrong.about("projects") {
		return nil
	}
	return c.projectFromEnvironment(lookup, s.from)
}

// projectFromEnvironment makes the project "default" of the conventional names,
// if the file has no project and they say enough.
func (c *Config) projectFromEnvironment(lookup func(string) (string, bool), from sources) error {
	env, err := apiclient.FromEnv(lookup)
	if err != nil {
		return err
	}
	p := Project{
		Alias: "default", ProjectID: env.ProjectID, Region: env.Region, Endpoint: env.Endpoint, IAMEndpoint: env.IAMEndpoint,
		Credential: "default", UnknownUsers: holdUnknown, Limits: DefaultLimits(),
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

// Validate says everything that is wrong, each by its key.
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
	c.validateCredentials(&ps)
	seen, ids := map[string]bool{}, map[string]string{}
	for i, p := range c.Projects {
		key := fmt.Sprintf("projects[%d]", i)
		p.validate(func(field, format string, args ...any) { ps.add(key+"."+field, format, args...) })
		if seen[p.Alias] {
			ps.add(key+".alias", "%q is there twice", p.Alias)
		}
		seen[p.Alias] = true
		if id := strings.ToLower(p.ProjectID); idSyntax.MatchString(id) {
			// Two aliases would detach, count and hold the same desktops apart.
			if other, twice := ids[id]; twice {
				ps.add(key+".project_id", "is that of project %s too: a project has one alias", other)
			}
			ids[id] = p.Alias
		}
		x, known := c.CredentialOf(p)
		switch {
		case p.Credential == "":
			ps.add(key+".credentials", "is missing: name one of credentials")
		case !known:
			ps.add(key+".credentials", "%q is not the name of one of credentials: %s", p.Credential, cmp.Or(strings.Join(c.credentialNames(), ", "), "there are none"))
		case x.Kind == "password" && p.Region == "" && p.IAMEndpoint == "":
			ps.add(key+".iam_endpoint", "is missing, and so is region: credentials of kind password need one")
		}
		if p.Limits.CallTimeout+CallMargin >= c.Worker.ShutdownTimeout {
			ps.add(key+".limits.call_timeout", "is %s: it must be more than %s below worker.shutdown_timeout, %s",
				p.Limits.CallTimeout, CallMargin, c.Worker.ShutdownTimeout)
		}
	}
	return ps
}

// CallMargin is how much longer than call_timeout a worker waits for a call: long enough
// for the client's own error, which tells more.
const CallMargin = time.Second

// longestWait is below half of the time that the client of Redis waits for a reply.
const longestWait = 1500 * time.Millisecond

func (r Redis) validate(bad func(key, format string, args ...any)) {
	o, err := ParseRedisURL(r.URL)
	if err != nil {
		bad("redis.url", "%v", err)
	} else if r.TLS != (TLS{}) && o.TLSConfig == nil {
		bad("redis.tls", "is given, but redis.url does not ask for TLS: write rediss://, or ?tls=true for Sentinels and a Cluster")
	}
	if err == nil && o.MasterName == "" {
		if r.SentinelUsername != "" {
			bad("redis.sentinel_username", "is given, but redis.url names no Sentinels: leave it out, or write redis+sentinel://")
		}
		if r.SentinelPassword.given() {
			bad("redis.sentinel_password", "is given, but redis.url names no Sentinels: leave it out, or write redis+sentinel://")
		}
	}
	if r.SentinelUsername != "" && !r.SentinelPassword.given() {
		bad("redis.sentinel_username", "is given without redis.sentinel_password: a user needs a password")
	}
	if (r.TLS.CertFile == "") != (r.TLS.KeyFile == "") {
		bad("redis.tls", "cert_file and key_file go together")
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
	// Without either it would stand for everything that goes wrong.
	if strings.TrimSuffix(c.Code, "*") == "" && c.Status == 0 {
		bad("code", "is %q, and no status is given: give at least one", c.Code)
	}
}

func (p Project) validate(bad func(field, format string, args ...any)) {
	if !aliasSyntax.MatchString(p.Alias) {
		bad("alias", "is %q: 1 to 40 small letters, digits or dashes", p.Alias)
	}
	if !idSyntax.MatchString(p.ProjectID) {
		bad("project_id", "is %q: the 32 hex digits of the cloud's project", p.ProjectID)
	}
	if p.Region == "" && p.Endpoint == "" {
		bad("region", "is missing, and so is endpoint: give one")
	}
	if p.Region != "" {
		if _, err := apiclient.Endpoint(p.Region); err != nil {
			bad("region", "%v", err)
		}
	}
	address := func(field, text string) {
		// Nothing of it is repeated: it may hold a password.
		if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
			u.User != nil || u.RawQuery != "" || u.Fragment != "") {
			bad(field, "is not an address such as https://host, without user, password or query")
		}
	}
	address("endpoint", p.Endpoint)
	address("iam_endpoint", p.IAMEndpoint)
	if u := p.UnknownUsers; u != "" && u != holdUnknown && u != ignoreUnknown {
		bad("unknown_users", "is %q: %s or %s", u, holdUnknown, ignoreUnknown)
	}
	p.Limits.validate(bad)
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
			ps.add(key+".name", "%q is there twice", x.Name)
		}
		names[x.Name] = true
		if x.Kind != "password" || x.User == "" {
			continue
		}
		identity := x.Domain + "/" + x.User
		if other, twice := users[identity]; twice {
			ps.add(key+".user", "is that of %s too, and what is one user to the cloud has one limit: have the projects share one of them", other)
		}
		users[identity] = x.Name
	}
}

// CheckIdentities refuses credentials of different names that are one identity to the
// cloud: they would have a budget each where the cloud counts one. Secrets that cannot
// be read are passed over; who needs them says so.
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
		if other, twice := seen[id]; twice {
			return fmt.Errorf("credentials %s and %s are the same identity, and the cloud counts their requests as one: have the projects share one of them", other, x.Name)
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

// smallestBurst leaves each priority of requests a place of its own.
const smallestBurst = 4

func (c Credential) validate(bad func(field, format string, args ...any)) {
	if !aliasSyntax.MatchString(c.Name) {
		bad("name", "is %q: 1 to 40 small letters, digits or dashes", c.Name)
	}
	if c.CallsPerMinute < 0 || c.CallsPerMinute > 600_000 {
		bad("calls_per_minute", "is %d: 0 (no limit) to 600000", c.CallsPerMinute)
	}
	// Readings before calls go first, so with fewer nothing would be proven.
	switch reads := c.ReadsPerMinute; {
	case reads < 0 || reads > 1_200_000:
		bad("reads_per_minute", "is %d: 0 (no limit) to 1200000", reads)
	case reads > 0 && c.CallsPerMinute == 0:
		bad("reads_per_minute", "is %d, but calls have no limit: each is read before it and after it, so limit both or neither", reads)
	case reads > 0 && reads < 2*c.CallsPerMinute:
		bad("reads_per_minute", "is %d: at least %d, twice calls_per_minute, as each call is read before it and after it, or 0", reads, 2*c.CallsPerMinute)
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
			bad(f.name, "is not for kind %s: take it out, or change the kind", c.Kind)
		case f.kind == c.Kind && f.required && !f.given:
			bad(f.name, "is missing; kind %s needs it", c.Kind)
		}
	}
}
