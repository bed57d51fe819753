package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
	"github.com/detachd/detachd/worker/policy"
)

// Store is the Redis with the record, for commands that submit or inspect operations. It
// connects on first use.
type Store struct {
	Redis    redis.UniversalClient
	Record   *record.Record
	Producer *record.Producer
	Projects []string      // aliases, as configured
	Prefix   string        // of every key in Redis
	Target   time.Duration // config.Config.AccessRemovedWithin

	cfg       *config.Config // a pointer because fmt would print the secrets of a value
	lookup    func(string) (string, bool)
	userAgent string
	transport *http.Transport // shared by all clients

	mu       sync.Mutex
	planners map[string]*worker.Planner // by alias

	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup
}

// ErrNoProject is the error of Open if the configuration has no project.
var ErrNoProject = errors.New("no project is configured, neither in a file nor in the environment")

// Open returns a Store, which the caller closes. lookup, usually os.LookupEnv, reads the
// environment variables with secrets. version is that of the program, for User-Agent.
func Open(cfg config.Config, lookup func(string) (string, bool), version string) (*Store, error) {
	if len(cfg.Projects) == 0 {
		return nil, ErrNoProject
	}
	if err := cfg.CheckIdentities(lookup); err != nil {
		return nil, err
	}
	rdb, err := cfg.Redis.Open(lookup)
	if err != nil {
		return nil, err
	}
	s := &Store{
		Redis: rdb, Prefix: cfg.Redis.Prefix, Target: cfg.AccessRemovedWithin, cfg: &cfg, lookup: lookup,
		userAgent: "detachd/" + version, transport: apiclient.NewTransport(), planners: map[string]*worker.Planner{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	for _, p := range cfg.Projects {
		s.Projects = append(s.Projects, p.Alias)
	}
	required := map[string]tasks.Required{}
	for _, p := range cfg.Projects {
		required[p.Alias] = tasks.Required(p.Require)
	}
	s.Producer, err = record.NewProducer(rdb, record.ProducerConfig{Projects: s.Projects, Record: recordConfig(cfg), Required: required})
	if err != nil {
		s.Close()
		return nil, err
	}
	s.Record = s.Producer.Record
	return s, nil
}

// Go runs f in the background. Close ends its ctx and waits for it; after Close, Go does
// nothing.
func (s *Store) Go(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() == nil {
		s.work.Go(func() { f(s.life) })
	}
}

// Close stops what Go started, and closes the connections to Redis and to the cloud.
func (s *Store) Close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.work.Wait()
	s.transport.CloseIdleConnections()
	_ = s.Redis.Close() // fails only if it is closed already
}

func recordConfig(cfg config.Config) record.Config {
	replicas := cfg.Redis.WaitReplicas
	if replicas == 0 {
		replicas = -1
	}
	return record.Config{
		Prefix: cfg.Redis.Prefix, Retention: cfg.Retention,
		Protected: cfg.Protections(), Schedules: cfg.Schedules,
		Replicas: replicas, ReplicaWait: cfg.Redis.WaitAtMost, ReplicaReturns: cfg.Redis.ReplicaReturns,
	}
}

// configured returns a project of the configuration.
func (s *Store) configured(alias string) (config.Project, error) {
	i := slices.Index(s.Projects, alias)
	if i < 0 {
		return config.Project{}, fmt.Errorf("project %s is not configured", alias)
	}
	return s.cfg.Projects[i], nil
}

// Client returns a new client of one project's cloud and sends nothing. It reads the
// project's secrets, and reads them again after the project was resumed.
func (s *Store) Client(alias string) (*apiclient.Client, error) {
	p, err := s.configured(alias)
	if err != nil {
		return nil, err
	}
	c, known := s.cfg.CredentialOf(p)
	if !known {
		return nil, fmt.Errorf("project %s: there are no credentials named %q", alias, p.Credential)
	}
	auth, err := s.credentials(p, c)
	if err != nil {
		return nil, err
	}
	client, err := apiclient.New(apiclient.Config{
		ProjectID: p.ProjectID, Region: p.Region, Endpoint: p.Endpoint, AllowHTTP: p.AllowHTTP, Auth: auth, Timeout: p.Limits.CallTimeout,
		UserAgent: s.userAgent, Transport: s.transport,
	})
	if err != nil {
		return nil, fmt.Errorf("project %s: %w", alias, err)
	}
	return client, nil
}

// Planner returns the planner of a project, which is created once, because its client keeps
// a token.
func (s *Store) Planner(alias string, log zerolog.Logger) (*worker.Planner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, made := s.planners[alias]; made {
		return p, nil
	}
	p, err := s.configured(alias)
	if err != nil {
		return nil, err
	}
	project, err := s.project(p)
	if err != nil {
		return nil, err
	}
	s.planners[alias] = worker.NewPlanner(s.Redis, s.Record, project, log)
	return s.planners[alias], nil
}

// ReadReview reads a review of access on, in all of its projects.
func (s *Store) ReadReview(ctx context.Context, w *record.ReviewWork, log zerolog.Logger) error {
	return worker.ReadReview(ctx, w, func(alias string) (*worker.Planner, error) { return s.Planner(alias, log) }, log)
}

// ProjectLimits are the limits of a project and of its credential.
type ProjectLimits struct {
	Alias      string
	Credential config.Credential
	Limits     config.Limits
	Blackouts  worker.Blackouts
	Zone       string // of last working days that name none
}

// Limits returns the limits of all projects, in the order of the configuration.
func (s *Store) Limits() []ProjectLimits {
	out := make([]ProjectLimits, len(s.cfg.Projects))
	for i, p := range s.cfg.Projects {
		c, _ := s.cfg.CredentialOf(p)
		out[i] = ProjectLimits{p.Alias, c, p.Limits, p.BlackoutTimes(), p.Zone}
	}
	return out
}

// CheckSchedule is that of the configuration.
func (s *Store) CheckSchedule(x tasks.Schedule) error { return s.cfg.CheckSchedule(x) }

// Rules returns the rules of the configuration's error codes.
func (s *Store) Rules() []policy.Rule { return Rules(*s.cfg) }
