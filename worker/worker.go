package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// API is the part of the cloud that a worker uses; *apiclient.Client has it.
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
	Alias          string        // as named in requests
	ProjectID      string        // of the cloud, for messages; may be empty
	Region         string        // the same
	UnknownUsers   string        // tasks.HoldUnknown, the default, or tasks.IgnoreUnknown, where a request does not say
	API            API           // required
	Credential     string        // whose requests the limits count, over all projects and workers that name it; default: the alias
	CallsPerMinute int           // of detach calls; 0: no limit
	ReadsPerMinute int           // of everything else, apart from the calls; 0: no limit
	Burst          int           // requests of a kind that may leave at once after a rest; default 5, at least 4
	MaxInFlight    int           // bulk calls at a time of this worker; default 10
	MaxReads       int           // readings that prove at a time of this worker; default 4
	CallTimeout    time.Duration // of one call; must cover the API client's own time-out; default 30 s
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
	ID       string    // required, unique among running workers; no "/" and no "|"
	Projects []Project // at least one
	Log      zerolog.Logger

	MaxAttempts        int           // calls that may fail for one desktop before it is failed; default 10
	RetryBase          time.Duration // first delay, doubled with each attempt, full jitter; default 1 s
	RetryMax           time.Duration // longest delay; default 5 min
	BulkPollInterval   time.Duration // how often an empty bulk or small queue is asked; default 200 ms
	UrgentPollInterval time.Duration // how often an empty urgent queue is asked; default 20 ms
	FirstLook          time.Duration // from when a desktop is accepted until it is first looked at; later looks are ever further apart; default 3 s
	ConfirmWithin      time.Duration // from when a desktop is accepted until it must be proven, or it is failed; default 30 min
	CallMargin         time.Duration // how long after its CallTimeout a call that nobody answered may still take effect; default 5 s
	Rules              []policy.Rule // what further error codes mean; they go before the built-in ones
	ShutdownTimeout    time.Duration // how long Stop waits for calls in flight; must exceed every CallTimeout; default 45 s
	Observer           Observer      // told what the worker does; nil: nobody
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
		c.Projects[i].fillIn()
	}
	return c
}

func (p *Project) fillIn() {
	def(&p.Credential, p.Alias)
	def(&p.Burst, defaultBurst)
	def(&p.MaxInFlight, 10)
	def(&p.MaxReads, 4)
	def(&p.CallTimeout, 30*time.Second)
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
		if p.Alias == "" || strings.ContainsAny(p.Alias, ":{}|") || seen[p.Alias] {
			bad(field+"Alias", "is %q: it must be given once, without : { } and |", p.Alias)
		}
		seen[p.Alias] = true
		if p.API == nil {
			bad(field+"API", "is missing")
		}
		if strings.ContainsAny(p.Credential, "{}") {
			bad(field+"Credential", "is %q: it must not contain { or }", p.Credential)
		}
		if p.CallsPerMinute < 0 || p.ReadsPerMinute < 0 || p.MaxInFlight < 1 || p.MaxReads < 1 {
			bad(field+"limits", "must not be negative")
		}
		if p.Burst < minBurst {
			bad(field+"Burst", "is %d: at least %d, one for each priority", p.Burst, minBurst)
		}
		if other, ok := sharing[p.Credential]; ok && other.limits() != p.limits() {
			bad(field+"limits", "are not those of %s, which shares its credential %s", other.Alias, p.Credential)
		}
		sharing[p.Credential] = p
		if u := p.UnknownUsers; u != "" && u != tasks.HoldUnknown && u != tasks.IgnoreUnknown {
			bad(field+"UnknownUsers", "is %q: %s or %s", u, tasks.HoldUnknown, tasks.IgnoreUnknown)
		}
		if c.ShutdownTimeout <= p.CallTimeout {
			bad("ShutdownTimeout", "is %s: it must exceed %sCallTimeout, %s", c.ShutdownTimeout, field, p.CallTimeout)
		}
	}
	return errors.Join(errs...)
}

// Worker serves the queues of its projects.
type Worker struct {
	cfg        Config
	record     *record.Record
	producer   *record.Producer
	heart      *heart
	reconciler *reconciler
	counter    *counter
	hints      *hinter
	pace       *pace
	handled    *handled
	ended      chan string

	dispatchers []*dispatcher
	servers     []*asynq.Server
	handlers    []*handler
	followers   []*follower

	calls       context.Context // Redis and API calls; ended last
	endCalls    context.CancelCauseFunc
	dispatch    context.Context // new calls; ended first
	endDispatch context.CancelFunc
	background  sync.WaitGroup // dispatchers and followers
	helpers     sync.WaitGroup // heart, finisher, reconciler and counter
	endHelpers  context.CancelFunc
	stopOnce    sync.Once
}

// New checks the configuration and makes a Worker; the error names the field.
func New(cfg Config) (*Worker, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	aliases := make([]string, len(cfg.Projects))
	for i, p := range cfg.Projects {
		aliases[i] = p.Alias
	}
	producer, err := record.NewProducer(cfg.Redis, record.ProducerConfig{Projects: aliases, Record: cfg.Record})
	if err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, record: producer.Record, producer: producer, handled: newHandled(), ended: make(chan string, 4096)}
	w.calls, w.endCalls = context.WithCancelCause(context.Background())
	w.dispatch, w.endDispatch = context.WithCancel(w.calls)
	w.counter = newCounter(w.record, cfg.ID, cfg.Log)
	w.heart = &heart{worker: cfg.ID, record: w.record, log: cfg.Log, beatInterval: beatInterval, deadAfter: deadAfter}
	w.reconciler = &reconciler{
		worker: cfg.ID, projects: aliases, record: w.record, producer: producer, asynq: asynq.NewInspectorFromRedisClient(cfg.Redis),
		handled: w.handled, heart: w.heart, log: cfg.Log, now: time.Now, youngerThan: youngerThan,
		unserved: &unserved{
			overdue:       overdue{record: w.record, worker: cfg.ID, log: cfg.Log, now: time.Now, observer: Observers{w.counter, cfg.Observer}, ended: w.noteEnded},
			confirmWithin: cfg.ConfirmWithin,
		},
	}
	w.hints = newHinter(w.record, cfg.Log)
	w.pace = newPace(cfg.Log)
	limiters := map[string]*limiter{}
	for _, p := range cfg.Projects {
		if limiters[p.Credential] == nil {
			limiters[p.Credential] = limiterOf(cfg.Redis, w.record, p, cfg.Log)
		}
		w.addProject(p, limiters[p.Credential])
	}
	return w, nil
}

const (
	smallConcurrency  = 1000 // small chunks in hand; enough to fill ten calls
	urgentConcurrency = 200
	urgentSlots       = 2
	readersAtOnce     = 4 // readings of unknown outcomes, at a time
)

// addProject builds the three servers and two dispatchers of a project.
func (w *Worker) addProject(p Project, limit *limiter) {
	calls, readings, rules, people := &health{}, &health{}, policy.NewRules(w.cfg.Rules), &directory{}
	newSender := func(slots int, urgency priority) *sender {
		s := &sender{
			project: p, worker: w.cfg.ID, record: w.record, log: w.cfg.Log, maxAttempts: w.cfg.MaxAttempts, now: time.Now,
			backoff: func(attempt int) time.Duration { return backoff(w.cfg.RetryBase, w.cfg.RetryMax, attempt) },
			lanes:   newLanes(), limit: limit, priority: urgency, directory: people, hints: w.hints,
			ended: w.noteEnded, health: calls, readHealth: readings, dispatch: w.dispatch, ctx: w.calls,
			slots: make(chan struct{}, slots), policy: rules, producer: w.producer,
			firstLook: w.cfg.FirstLook, confirmWithin: w.cfg.ConfirmWithin, callMargin: w.cfg.CallMargin, observer: Observers{w.counter, w.cfg.Observer},
		}
		s.reader = newReader(readersAtOnce, func(ids []string) (map[string]apiclient.Desktop, error) { return s.readNow(ids, urgency) })
		w.dispatchers = append(w.dispatchers, &dispatcher{
			lanes: s.lanes, batches: make(chan struct{}, 2*slots), admit: s.admit, unadmit: s.unadmit, send: s.send, paused: s.paused, linger: s.linger,
		})
		return s
	}
	bulk := newSender(p.MaxInFlight, beforeCall)
	urgent := newSender(urgentSlots, urgentFirst)
	w.addServer(p, record.BulkQueue, bulk, 4*p.MaxInFlight, w.cfg.BulkPollInterval)
	w.addServer(p, record.SmallQueue, bulk, smallConcurrency, w.cfg.BulkPollInterval)
	w.addServer(p, record.UrgentQueue, urgent, urgentConcurrency, w.cfg.UrgentPollInterval)
	w.followers = append(w.followers, &follower{sender: bulk, until: w.dispatch})
	w.hints.senders = append(w.hints.senders, bulk)
}

func (w *Worker) addServer(p Project, q record.Queue, s *sender, concurrency int, poll time.Duration) {
	queue := w.record.QueueName(p.Alias, q)
	w.servers = append(w.servers, asynq.NewServerFromRedisClient(pacedRedis{w.cfg.Redis, w.pace}, asynq.Config{
		Concurrency: concurrency, Queues: map[string]int{queue: 1}, TaskCheckInterval: poll,
		DelayedTaskCheckInterval: min(time.Second, 10*poll), RetryDelayFunc: retryDelay, IsFailure: isFailure,
		BaseContext: func() context.Context { return w.calls }, ShutdownTimeout: w.cfg.ShutdownTimeout,
		Logger: asynqLog{w.cfg.Log}, LogLevel: asynq.WarnLevel,
	}))
	w.handlers = append(w.handlers, &handler{
		sender: s, worker: w.cfg.ID, queue: queue, record: w.record, log: w.cfg.Log, now: time.Now, handled: w.handled,
	})
}

// noteEnded hands an operation to the finisher. If that is behind, a sweep
// finds it later.
func (w *Worker) noteEnded(op string) {
	select {
	case w.ended <- op:
	default:
	}
}

// Start begins to work and returns. It fails if Redis cannot be reached.
func (w *Worker) Start(ctx context.Context) error {
	aliases := make([]string, len(w.cfg.Projects))
	for i, p := range w.cfg.Projects {
		aliases[i] = p.Alias
	}
	// A worker that was killed may start again under the same id before it is missed.
	n, err := w.reconciler.takeOver(ctx, w.cfg.ID)
	if err := errors.Join(err, w.record.AnnounceProjects(ctx, w.cfg.ID, aliases...), w.heart.beat(ctx)); err != nil {
		return err
	}
	if n > 0 {
		w.cfg.Log.Info().Int("chunks", n).Msg("what was in hand when this worker last ended was enqueued anew")
	}
	for _, alias := range aliases {
		// A new start may well come with new credentials, or another endpoint.
		if err := w.record.ResumeProject(ctx, alias, tasks.PauseAuth, tasks.PauseNoRight, tasks.PauseNotAPI); err != nil {
			return err
		}
	}
	helpers, end := context.WithCancel(w.calls)
	w.endHelpers = end
	w.helpers.Go(func() { w.heart.run(helpers) })
	w.helpers.Go(func() { w.reconciler.repeat(helpers, w.reconciler.watch) })
	w.helpers.Go(func() { w.reconciler.repeat(helpers, w.reconciler.lead) })
	w.helpers.Go(func() { w.finish(helpers) })
	w.helpers.Go(func() { w.counter.run(helpers) })
	w.helpers.Go(func() { w.hints.run(helpers) })
	for _, d := range w.dispatchers {
		w.background.Go(func() { d.run(w.dispatch) })
	}
	for _, f := range w.followers {
		w.background.Go(f.run)
	}
	for i, s := range w.servers {
		if err := s.Start(w.handlers[i]); err != nil {
			w.Stop()
			return fmt.Errorf("starting to take tasks: %w", err)
		}
	}
	w.cfg.Log.Info().Str("worker", w.cfg.ID).Strs("projects", aliases).Msg("worker started")
	return nil
}

// Stop ends the work in good order: nothing new is taken, calls in flight end
// and are recorded, everything else goes back to the queue at once. It is
// bounded by ShutdownTimeout and may be called more than once.
func (w *Worker) Stop() {
	w.stopOnce.Do(func() {
		giveUp := time.AfterFunc(w.cfg.ShutdownTimeout, func() { w.endCalls(errors.New("shutdown_timeout is over")) })
		defer giveUp.Stop()
		w.pace.end()
		for _, s := range w.servers {
			s.Stop() // take no more tasks
		}
		w.endDispatch() // make no new calls
		for _, d := range w.dispatchers {
			d.lanes.close() // handlers that wait return their tasks
		}
		w.background.Wait() // calls in flight end and are recorded
		var all sync.WaitGroup
		for _, s := range w.servers {
			all.Go(s.Shutdown)
		}
		all.Wait()
		if w.endHelpers != nil {
			w.endHelpers()
		}
		w.helpers.Wait()
		w.leave()
		w.endCalls(errors.New("the worker has stopped"))
		w.cfg.Log.Info().Str("worker", w.cfg.ID).Msg("worker stopped")
	})
}

// leave adds the last counts and says that nothing is in hand. If it cannot, another worker finds this
// one silent and looks at what it had.
func (w *Worker) leave() {
	ctx, cancel := context.WithTimeout(w.calls, 2*time.Second)
	defer cancel()
	w.finishSome(ctx, w.drainEnded(nil))
	if err := w.counter.flush(ctx); err != nil {
		w.cfg.Log.Warn().Err(err).Msg("the last counts could not be added to the record; they are lost")
	}
	if err := w.record.Leave(ctx, w.cfg.ID); err != nil {
		w.cfg.Log.Warn().Err(err).Msg("leaving could not be recorded")
	}
}

// Run works until ctx ends, then stops.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}

// finish closes ended operations, as many at a time as there are.
func (w *Worker) finish(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case op := <-w.ended:
			w.finishSome(ctx, w.drainEnded([]string{op}))
		}
	}
}

func (w *Worker) drainEnded(ids []string) []string {
	for len(ids) < 1000 {
		select {
		case op := <-w.ended:
			ids = append(ids, op)
		default:
			return ids
		}
	}
	return ids
}

func (w *Worker) finishSome(ctx context.Context, ids []string) {
	ops, err := w.record.Finish(ctx, ids)
	if err != nil {
		w.cfg.Log.Warn().Err(err).Int("operations", len(ids)).Msg("ended operations could not be closed; a sweep will")
		return
	}
	logEnded(w.cfg.Log, ops)
}

// logEnded says, once for each, that operations have ended, with the heads of their
// trails: whoever keeps the log can tell whether the record was altered since.
func logEnded(log zerolog.Logger, ops []record.Operation) {
	for _, op := range ops {
		log.Info().Str("operation", op.ID).Str("project", op.Project).Int("desktops", op.Total).
			Int("accepted", op.Counts.Accepted).Int("detached", op.Counts.Detached).Int("failed", op.Counts.Failed).
			Int("held", op.Counts.Held).Int("cancelled", op.Counts.Cancelled).
			Str("trail_head", op.Seal).
			Dur("took_ms", op.EndedAt.Sub(op.AcceptedAt)).Msg("operation ended")
	}
}
