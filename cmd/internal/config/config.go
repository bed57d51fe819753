// Package config reads what a person configures: one strict YAML file and the
// environment, which goes before the file. Every key is documented in
// deploy/config.example.yaml. Secrets stand in neither: the file names the
// environment variable or the file that holds each.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/apiclient"
)

// Config is the whole configuration.
type Config struct {
	Redis     Redis         `yaml:"redis"`
	Projects  []Project     `yaml:"projects"`
	Worker    Worker        `yaml:"worker"`
	Retention time.Duration `yaml:"retention"` // of ended operations
	Log       Log           `yaml:"log"`
}

// Redis says where the record and the queues are.
type Redis struct {
	// URL is redis://, rediss:// (TLS), redis+sentinel:// or redis+cluster://;
	// see ParseRedisURL.
	URL      apiclient.Secret `yaml:"url"` // secret because it may hold a password
	Username string           `yaml:"username"`
	Password SecretRef        `yaml:"password"`
	Prefix   string           `yaml:"prefix"` // of every key
	TLS      TLS              `yaml:"tls"`
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
	Alias       string      `yaml:"alias"`
	ProjectID   string      `yaml:"project_id"`
	Region      string      `yaml:"region"`
	Endpoint    string      `yaml:"endpoint"`
	IAMEndpoint string      `yaml:"iam_endpoint"`
	Credentials Credentials `yaml:"credentials"`
	Limits      Limits      `yaml:"limits"`
}

// Credentials are of one kind; the fields of the other kinds stay empty.
type Credentials struct {
	Kind          string    `yaml:"kind"`  // token, password or aksk
	Token         SecretRef `yaml:"token"` // token
	User          string    `yaml:"user"`  // password
	Domain        string    `yaml:"domain"`
	Password      SecretRef `yaml:"password"`
	AccessKey     SecretRef `yaml:"access_key"` // aksk
	SecretKey     SecretRef `yaml:"secret_key"`
	SecurityToken SecretRef `yaml:"security_token"`
}

// Limits protect a project's cloud.
type Limits struct {
	CallsPerSecond float64       `yaml:"calls_per_second"` // of all workers together; 0: no limit
	Burst          int           `yaml:"burst"`
	MaxInFlight    int           `yaml:"max_in_flight"` // calls at a time of one worker
	CallTimeout    time.Duration `yaml:"call_timeout"`
}

// Worker is how a worker process works.
type Worker struct {
	ID                 string        `yaml:"id"` // empty: a new one at each start
	MaxAttempts        int           `yaml:"max_attempts"`
	RetryBase          time.Duration `yaml:"retry_base"`
	RetryMax           time.Duration `yaml:"retry_max"`
	BulkPollInterval   time.Duration `yaml:"bulk_poll_interval"`
	UrgentPollInterval time.Duration `yaml:"urgent_poll_interval"`
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
		Redis: Redis{URL: "redis://127.0.0.1:6379/0", Prefix: "detachd"},
		Worker: Worker{
			MaxAttempts: 10, RetryBase: time.Second, RetryMax: 5 * time.Minute,
			BulkPollInterval: 200 * time.Millisecond, UrgentPollInterval: 20 * time.Millisecond, ShutdownTimeout: 45 * time.Second,
		},
		Retention: 90 * 24 * time.Hour,
		Log:       Log{Level: "info", Format: "auto"},
	}
}

// DefaultLimits are those of a project that says nothing. The cloud publishes no
// limits; five calls a second are few, and a 429 slows them further.
func DefaultLimits() Limits {
	return Limits{CallsPerSecond: 5, Burst: 1, MaxInFlight: 10, CallTimeout: 30 * time.Second}
}

// UnmarshalYAML fills in the limits that a project does not name.
func (p *Project) UnmarshalYAML(n *yaml.Node) error {
	type plain Project
	p.Limits = DefaultLimits()
	return n.Decode((*plain)(p))
}

// Load reads the file at path, or none if path is empty, and the environment,
// and checks the whole. lookup is usually os.LookupEnv. An error names every key
// that is unknown or has a bad value.
func Load(path string, lookup func(string) (string, bool)) (Config, error) {
	cfg := Defaults()
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return cfg, fmt.Errorf("reading the configuration: %w", err)
		}
		if err := cfg.decode(text); err != nil {
			return cfg, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := cfg.environment(lookup); err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		if path != "" {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return cfg, err
	}
	return cfg, nil
}

// decode reads YAML over what is there.
func (c *Config) decode(text []byte) error {
	if err := knownKeys(text); err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one YAML document")
	}
	return nil
}

// environment puts the environment over what is there.
func (c *Config) environment(lookup func(string) (string, bool)) error {
	set := func(name string, put func(string) error) error {
		if v, ok := lookup(name); ok && v != "" {
			if err := put(v); err != nil {
				return fmt.Errorf("environment: %s: %w", name, err)
			}
		}
		return nil
	}
	text := func(to *string) func(string) error {
		return func(v string) error { *to = v; return nil }
	}
	err := errors.Join(
		set("DETACHD_REDIS_URL", func(v string) error { c.Redis.URL = apiclient.Secret(v); return nil }),
		set("DETACHD_REDIS_PASSWORD", func(v string) error { c.Redis.Password = SecretRef{Value: apiclient.Secret(v)}; return nil }),
		set("DETACHD_WORKER_ID", text(&c.Worker.ID)),
		set("DETACHD_LOG_LEVEL", text(&c.Log.Level)),
		set("DETACHD_LOG_FORMAT", text(&c.Log.Format)),
		set("DETACHD_RETENTION", func(v string) (err error) { c.Retention, err = time.ParseDuration(v); return err }),
	)
	if err != nil || len(c.Projects) > 0 {
		return err
	}
	return c.projectFromEnvironment(lookup)
}

// projectFromEnvironment makes the project "default" of the conventional names,
// if the file has no project and they say enough.
func (c *Config) projectFromEnvironment(lookup func(string) (string, bool)) error {
	env, err := apiclient.FromEnv(lookup)
	if err != nil {
		return err
	}
	p := Project{
		Alias: "default", ProjectID: env.ProjectID, Region: env.Region, Endpoint: env.Endpoint, IAMEndpoint: env.IAMEndpoint,
		Limits: DefaultLimits(),
	}
	switch {
	case env.AccessKey != "":
		p.Credentials = Credentials{
			Kind: "aksk", AccessKey: SecretRef{Value: env.AccessKey}, SecretKey: SecretRef{Value: env.SecretKey},
			SecurityToken: SecretRef{Value: env.SecurityToken},
		}
	case env.Token != "":
		p.Credentials = Credentials{Kind: "token", Token: SecretRef{Value: env.Token}}
	case env.User != "":
		p.Credentials = Credentials{Kind: "password", User: env.User, Domain: env.Domain, Password: SecretRef{Value: env.Password}}
	default:
		return nil
	}
	c.Projects = []Project{p}
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
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if _, err := ParseRedisURL(c.Redis.URL); err != nil {
		bad("redis.url", "%v", err)
	}
	if !prefixSyntax.MatchString(c.Redis.Prefix) {
		bad("redis.prefix", "is %q: 1 to 40 letters, digits, dots, dashes or underscores", c.Redis.Prefix)
	}
	if (c.Redis.TLS.CertFile == "") != (c.Redis.TLS.KeyFile == "") {
		bad("redis.tls", "cert_file and key_file go together")
	}
	if c.Retention < time.Hour {
		bad("retention", "is %s: at least 1h", c.Retention)
	}
	if _, err := zerolog.ParseLevel(c.Log.Level); err != nil || c.Log.Level == "" {
		bad("log.level", "is %q: debug, info, warn or error", c.Log.Level)
	}
	if f := c.Log.Format; f != "json" && f != "console" && f != "auto" {
		bad("log.format", "is %q: json, console or auto", f)
	}
	c.Worker.validate(bad)
	seen := map[string]bool{}
	for i, p := range c.Projects {
		key := fmt.Sprintf("projects[%d]", i)
		p.validate(func(field, format string, args ...any) { bad(key+"."+field, format, args...) })
		if seen[p.Alias] {
			bad(key+".alias", "%q is there twice", p.Alias)
		}
		seen[p.Alias] = true
		if p.Limits.CallTimeout >= c.Worker.ShutdownTimeout {
			bad(key+".limits.call_timeout", "is %s: it must be below worker.shutdown_timeout, %s", p.Limits.CallTimeout, c.Worker.ShutdownTimeout)
		}
	}
	return errors.Join(errs...)
}

func (w Worker) validate(bad func(key, format string, args ...any)) {
	if strings.ContainsAny(w.ID, "/|") {
		bad("worker.id", "is %q: it must not contain / or |", w.ID)
	}
	if w.MaxAttempts < 1 {
		bad("worker.max_attempts", "is %d: at least 1", w.MaxAttempts)
	}
	if w.RetryBase <= 0 || w.RetryMax < w.RetryBase {
		bad("worker.retry_max", "is %s: it must not be below worker.retry_base, %s", w.RetryMax, w.RetryBase)
	}
	for key, d := range map[string]time.Duration{"bulk_poll_interval": w.BulkPollInterval, "urgent_poll_interval": w.UrgentPollInterval} {
		if d < time.Millisecond || d > time.Minute {
			bad("worker."+key, "is %s: 1ms to 1m", d)
		}
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
	if p.Limits.CallsPerSecond < 0 || p.Limits.CallsPerSecond > 10_000 {
		bad("limits.calls_per_second", "is %g: 0 (no limit) to 10000", p.Limits.CallsPerSecond)
	}
	if p.Limits.Burst < 1 {
		bad("limits.burst", "is %d: at least 1", p.Limits.Burst)
	}
	if p.Limits.MaxInFlight < 1 || p.Limits.MaxInFlight > 1000 {
		bad("limits.max_in_flight", "is %d: 1 to 1000", p.Limits.MaxInFlight)
	}
	if p.Limits.CallTimeout < time.Second {
		bad("limits.call_timeout", "is %s: at least 1s", p.Limits.CallTimeout)
	}
	p.Credentials.validate(bad)
}

func (c Credentials) validate(bad func(field, format string, args ...any)) {
	need := func(field string, given bool) {
		if !given {
			bad("credentials."+field, "is missing; kind %s needs it", c.Kind)
		}
	}
	switch c.Kind {
	case "token":
		need("token", c.Token.given())
	case "password":
		need("user", c.User != "")
		need("domain", c.Domain != "")
		need("password", c.Password.given())
	case "aksk":
		need("access_key", c.AccessKey.given())
		need("secret_key", c.SecretKey.given())
	default:
		bad("credentials.kind", "is %q: token, password or aksk", c.Kind)
	}
}
