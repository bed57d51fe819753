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
	"github.com/detachd/detachd/worker"
	"github.com/detachd/detachd/worker/policy"
)

// Store is what commands work on that ask for work or look at it: Redis with the
// record in it. It connects when it is first used.
type Store struct {
	Redis    redis.UniversalClient
	Record   *tasks.Record
	Producer *tasks.Producer
	Projects []string      // aliases, as configured
	Prefix   string        // of every key in Redis
	Target   time.Duration // within what time of being due access should be gone

	cfg       *config.Config // a pointer because fmt would print the secrets of a value
	lookup    func(string) (string, bool)
	userAgent string
	transport *http.Transport // of all clients

	mu       sync.Mutex
	planners map[string]*worker.Planner // by alias

	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup
}

// ErrNoProject says that the configuration has no project.
var ErrNoProject = errors.New("no project is configured, neither in a file nor by the environment")

// Open makes a Store. The caller has to Close it. lookup, usually os.LookupEnv,
// is where the configuration may say that secrets are.
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
	s := &Store{Redis: rdb, Prefix: cfg.Redis.Prefix, Target: cfg.AccessRemovedWithin, cfg: &cfg, lookup: lookup, userAgent: "detachd/" + version, transport: apiclient.NewTransport(),
		planners: map[string]*worker.Planner{}}
	s.life, s.end = context.WithCancel(context.Background())
	for _, p := range cfg.Projects {
		s.Projects = append(s.Projects, p.Alias)
	}
	s.Producer, err = tasks.NewProducer(rdb, tasks.ProducerConfig{Projects: s.Projects, Record: recordConfig(cfg)})
	if err != nil {
		s.Close()
		return nil, err
	}
	s.Record = s.Producer.Record
	return s, nil
}

// Go has something done beside what it is called for, until Close: that ends ctx, and
// waits.
func (s *Store) Go(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() == nil {
		s.work.Go(func() { f(s.life) })
	}
}

// Close ends what Go began, and the connections to Redis and to the cloud.
func (s *Store) Close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.work.Wait()
	s.transport.CloseIdleConnections()
	_ = s.Redis.Close() // only ever says that it was closed before
}

func recordConfig(cfg config.Config) tasks.RecordConfig {
	replicas := cfg.Redis.WaitReplicas
	if replicas == 0 {
		replicas = -1
	}
	return tasks.RecordConfig{
		Prefix: cfg.Redis.Prefix, Retention: cfg.Retention,
		Replicas: replicas, ReplicaWait: cfg.Redis.WaitAtMost, ReplicaReturns: cfg.Redis.ReplicaReturns,
	}
}

// Client makes the client of one project's cloud. It reads the project's secrets, and
// again when the project has been resumed, and sends nothing.
func (s *Store) Client(alias string) (*apiclient.Client, error) {
	i := slices.IndexFunc(s.cfg.Projects, func(p config.Project) bool { return p.Alias == alias })
	if i < 0 {
		return nil, fmt.Errorf("project %s is not configured", alias)
	}
	p := s.cfg.Projects[i]
	c, known := s.cfg.CredentialOf(p)
	if !known {
		return nil, fmt.Errorf("project %s: there are no credentials named %q", alias, p.Credential)
	}
	auth, err := s.credentials(p, c)
	if err != nil {
		return nil, err
	}
	client, err := apiclient.New(apiclient.Config{
		ProjectID: p.ProjectID, Region: p.Region, Endpoint: p.Endpoint, Auth: auth, Timeout: p.Limits.CallTimeout,
		UserAgent: s.userAgent, Transport: s.transport,
	})
	if err != nil {
		return nil, fmt.Errorf("project %s: %w", alias, err)
	}
	return client, nil
}

// Planner says what requests for a project would do. It is made once, since its
// client has a token that is worth keeping.
func (s *Store) Planner(alias string, log zerolog.Logger) (*worker.Planner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, made := s.planners[alias]; made {
		return p, nil
	}
	i := slices.IndexFunc(s.cfg.Projects, func(p config.Project) bool { return p.Alias == alias })
	if i < 0 {
		return nil, fmt.Errorf("project %s is not configured", alias)
	}
	project, err := s.project(s.cfg.Projects[i])
	if err != nil {
		return nil, err
	}
	p := worker.NewPlanner(s.Redis, s.Record, project, log)
	s.planners[alias] = p
	return p, nil
}

// ProjectLimits are a project's limits, and those of the credential that it uses.
type ProjectLimits struct {
	Alias      string
	Credential config.Credential
	Limits     config.Limits
}

// Limits lists the limits of all projects, in the order of the configuration.
func (s *Store) Limits() []ProjectLimits {
	out := make([]ProjectLimits, len(s.cfg.Projects))
	for i, p := range s.cfg.Projects {
		c, _ := s.cfg.CredentialOf(p)
		out[i] = ProjectLimits{p.Alias, c, p.Limits}
	}
	return out
}

// Rules are what the configuration says about error codes.
func (s *Store) Rules() []policy.Rule { return Rules(*s.cfg) }
