package drill

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

const (
	Project   = "hq"
	ProjectID = "00000000000000000000000000000001"
	token     = "made-up"
)

// Patient is a Setup.Worker that does not give up while something is broken.
const Patient = "max_attempts: 100, retry_base: 100ms, retry_max: 2s, first_look: 500ms"

// NoApproval is a configuration with which no operation waits for an approval.
const NoApproval = "percent: 100, canary: {desktops: 0}, stop_loss: {desktops: 100000, percent: 100}"

// Setup says what an Env has.
type Setup struct {
	RedisURL       string                // for the processes
	Redis          redis.UniversalClient // for the drill itself; the Env closes it
	Cloud          fakecloud.Config      // without the token
	Worker, Limits string                // of the configuration, as YAML without braces
	Approval       string                // likewise; defaults to NoApproval
}

// Env is what a drill runs on: a record, a fake cloud, and detachd processes.
type Env struct {
	Redis  redis.UniversalClient
	Record *record.Record
	Cloud  *fakecloud.Server
	Client *api.Client // of the server, after Serve
	// MayEnd excuses a process that ended without Kill; nil excuses none.
	MayEnd func(*Process) bool

	site            Site
	config, address string
	log             *os.File
	fail            context.CancelCauseFunc

	mu        sync.Mutex
	processes []*Process // all that were ever started
	desktops  int        // drawn so far
}

// Open starts the fake cloud and writes the configuration for the processes.
func Open(site Site, s Setup) (*Env, error) {
	e := &Env{Redis: s.Redis, Record: record.New(s.Redis, record.Config{}), site: site}
	err := e.open(s)
	if err != nil {
		e.Close()
	}
	return e, err
}

func (e *Env) open(s Setup) (err error) {
	s.Cloud.Token = token
	if e.Cloud, err = fakecloud.Serve(s.Cloud, "127.0.0.1:0"); err != nil {
		return err
	}
	e.config = filepath.Join(e.site.Dir, "config.yaml")
	if e.log, err = os.Create(filepath.Join(e.site.Dir, "detachd.log")); err != nil {
		return err
	}
	return os.WriteFile(e.config, fmt.Appendf(nil, `redis: {url: %q}
worker: {%s}
credentials:
- {name: main, kind: token, token: {env: CLOUD_TOKEN}, calls_per_minute: 0, reads_per_minute: 0}
projects:
- alias: %s
  project_id: %q
  endpoint: %q
  credentials: main
  limits: {%s}
  approval: {%s}
`, s.RedisURL, s.Worker, Project, ProjectID, e.Cloud.URL, s.Limits, cmp.Or(s.Approval, NoApproval)), 0o600)
}

// Close kills the processes and closes what Open opened.
func (e *Env) Close() {
	for _, p := range e.Processes() {
		p.Kill()
	}
	if e.Cloud != nil {
		e.Cloud.Close()
	}
	_ = e.Redis.Close()
	_ = e.log.Close()
}

// Do runs a drill. If a process ends without Kill meanwhile, its context ends and that
// is the error.
func (e *Env) Do(ctx context.Context, drill func(context.Context) error) error {
	ctx, e.fail = context.WithCancelCause(ctx)
	defer e.fail(nil)
	return causeOf(ctx, drill(ctx))
}

// Processes are all that were ever started.
func (e *Env) Processes() []*Process {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.processes)
}

// command is detachd with arguments, on the configuration of the Env.
func (e *Env) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.site.Binary, append(args, "--config", e.config)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "CLOUD_TOKEN="+token), e.log, e.log
	return cmd
}

// Start starts detachd, within Do. The process is called after its role and its
// number, and so is the worker in it: no two workers have the same id.
func (e *Env) Start(role string, args ...string) (*Process, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// Not the context of the drill: only Kill ends a process.
	p := &Process{Name: fmt.Sprintf("%s-%d", role, len(e.processes)+1), Started: time.Now(), cmd: e.command(context.Background(), args...)}
	p.cmd.Env = append(p.cmd.Env, "DETACHD_WORKER_ID="+p.Name)
	err := p.start(func() {
		if e.MayEnd == nil || !e.MayEnd(p) {
			e.fail(fmt.Errorf("%s ended by itself: %s; the log ends with: %s", p.Name, p.cmd.ProcessState, e.lastOfLog()))
		}
	})
	if err == nil {
		e.processes = append(e.processes, p)
	}
	return p, err
}

// Serve starts a server and waits until it is ready. The first time it also chooses
// the address, and creates a key and the Client.
func (e *Env) Serve(ctx context.Context, args ...string) (*Process, error) {
	if e.Client == nil {
		if err := e.createClient(ctx); err != nil {
			return nil, err
		}
	}
	p, err := e.Start("server", append([]string{"serve", "--listen", e.address}, args...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = Until(ctx, 20*time.Millisecond, func() (bool, error) {
		resp, err := http.Get("http://" + e.address + "/readyz")
		if err != nil {
			return false, nil
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("the server does not answer: %w; the log ends with: %s", err, e.lastOfLog())
	}
	return p, nil
}

func (e *Env) createClient(ctx context.Context) (err error) {
	if e.address, err = freeAddress(); err != nil {
		return err
	}
	var key bytes.Buffer
	cmd := e.command(ctx, "keys", "create", "--name", "drill", "--role", "producer")
	cmd.Stdout = &key
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("creating a key: %w", err)
	}
	e.Client, err = api.New(api.Config{
		Server: "http://" + e.address, Key: strings.TrimSpace(key.String()),
		HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
	})
	return err
}

// lastOfLog is the end of what the processes wrote; the directory is deleted after
// the drill.
func (e *Env) lastOfLog() string {
	text, err := os.ReadFile(e.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}
