package worker

import (
	"context"
	"errors"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/spans"
	"github.com/detachd/detachd/worker/policy"
)

// Worker serves the queues of its projects.
type Worker struct {
	cfg        Config
	record     *record.Record
	producer   *record.Producer
	committer  *committer
	heart      *heart
	ranks      *ranks
	reconciler *reconciler
	counter    *counter
	hints      *hinter
	pace       *pace
	brakes     *brakes
	handled    *handled
	beginner   *beginner
	ended      chan string // operations, for the finisher

	listener *listener
	runners  []*runner // one per project
	looks    *reader[record.Work]
	callers  []runnable // dispatchers and followers

	taking, making, helping group
	inFlight                context.Context // see shared
	endInFlight             context.CancelCauseFunc
	stopOnce                sync.Once
}

// New checks the configuration and makes a Worker; the error names the field.
func New(cfg Config) (*Worker, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	producer, err := record.NewProducer(cfg.Redis, record.ProducerConfig{Projects: cfg.aliases(), Record: cfg.Record})
	if err != nil {
		return nil, err
	}
	rec := producer.Record
	w := &Worker{
		record: rec, producer: producer, handled: newHandled(), ended: make(chan string, 4096),
		counter: newCounter(rec, cfg.ID, cfg.Log), hints: newHinter(rec, cfg.Log), pace: newPace(cfg.Log), brakes: newBrakes(),
		heart: &heart{worker: cfg.ID, record: rec, log: cfg.Log, beatInterval: beatInterval, deadAfter: deadAfter},
	}
	cfg.Observer = Observers{w.counter, cfg.Observer}
	w.cfg = cfg
	w.inFlight, w.endInFlight = context.WithCancelCause(context.Background())
	w.beginner = newBeginner(rec, cfg.ID, w.handled, w.inFlight)
	w.committer = &committer{record: rec, log: cfg.Log, observer: cfg.Observer, ended: w.noteEnded, brakes: w.brakes}
	w.heart.changed = w.stirRunners
	w.ranks = &ranks{worker: cfg.ID, projects: cfg.aliases(), record: rec, changed: w.stirRunners}
	w.reconciler = &reconciler{
		worker: cfg.ID, projects: cfg.aliases(), record: rec, producer: producer, asynq: asynq.NewInspectorFromRedisClient(cfg.Redis),
		handled: w.handled, heart: w.heart, ranks: w.ranks, log: cfg.Log, spans: cfg.Spans,
		minAge: minAge, ringAfter: ringAfter, rung: map[string]time.Time{},
		unserved: &unserved{overdue: overdue{w.committer, cfg.ID}, confirmWithin: cfg.ConfirmWithin},
	}
	w.looks = newReader(1, func(projects []string) (map[string]record.Work, error) { return rec.Due(w.inFlight, projects) })
	limiters := map[string]*limiter{}
	for _, p := range cfg.Projects {
		if limiters[p.Credential] == nil {
			limiters[p.Credential] = limiterOf(cfg.Redis, rec, p, cfg.Log)
		}
		w.addProject(p, limiters[p.Credential])
	}
	w.listener = &listener{record: rec, log: cfg.Log, runners: w.runners}
	return w, nil
}

const (
	smallConcurrency  = 1000 // small chunks in hand; enough to fill ten calls
	urgentConcurrency = 200
	urgentSlots       = 2
	readersAtOnce     = 4 // readings of unknown outcomes at a time
)

// addProject adds the runner with the servers, two dispatchers and the follower of a project.
func (w *Worker) addProject(p Project, limit *limiter) {
	log := w.cfg.Log.With().Str("project", p.Alias).Logger()
	common := &shared{
		cfg: w.cfg, project: p, log: log, record: w.record, producer: w.producer, committer: w.committer,
		claims: &claims{record: w.record, log: log, project: p.Alias, worker: w.cfg.ID, inFlight: w.inFlight},
		rules:  policy.NewRules(w.cfg.Rules), limit: limit, directory: &directory{}, hints: w.hints,
		clearance: &clearance{cleared: map[string]inWindow{}},
		calls:     &health{}, readings: &health{}, clock: &w.heart.clock, inFlight: w.inFlight,
	}
	bulk := w.addSender(common, "bulk", p.MaxInFlight, beforeCall)
	urgent := w.addSender(common, "urgent", urgentSlots, urgentFirst)
	r := &runner{
		project: p.Alias, looks: w.looks, log: log, gate: newGate(),
		rank: func() int { return w.ranks.of(p.Alias) }, mayWork: w.heart.mayWork,
		idleAfter: idleAfter, dueSoon: dueSoon, leftAfter: leftAfter, lateAfter: lateAfter, signal: make(chan struct{}, 1),
	}
	r.newServer = func(q record.Queue) *queueServer {
		switch q {
		case record.UrgentQueue:
			return w.newServer(q, urgent, r, urgentConcurrency, w.cfg.UrgentPollInterval)
		case record.SmallQueue:
			return w.newServer(q, bulk, r, smallConcurrency, w.cfg.BulkPollInterval)
		}
		return w.newServer(q, bulk, r, 4*p.MaxInFlight, w.cfg.BulkPollInterval)
	}
	w.runners = append(w.runners, r)
	w.callers = append(w.callers, runnable{"follower of " + p.Alias, (&follower{shared: common, gate: r.gate}).run})
	w.brakes.senders[p.Alias] = []*sender{bulk, urgent}
	w.hints.projects = append(w.hints.projects, common)
}

// addSender adds a sender and the dispatcher that gives it batches.
func (w *Worker) addSender(common *shared, name string, slots int, p priority) *sender {
	s := &sender{shared: common, priority: p, lanes: newLanes(), slots: make(chan struct{}, slots)}
	s.reader = newReader(readersAtOnce, func(ids []string) (map[string]*apiclient.Desktop, error) { return s.readEach(ids, p) })
	d := &dispatcher{
		lanes: s.lanes, batches: make(chan struct{}, 2*slots), admit: s.admitFull, unadmit: s.unadmit,
		send: s.send, paused: s.paused, linger: s.linger,
	}
	w.callers = append(w.callers, runnable{name + " dispatcher of " + common.project.Alias, d.run})
	return s
}

func (w *Worker) newServer(q record.Queue, snd *sender, r *runner, concurrency int, poll time.Duration) *queueServer {
	name := w.record.QueueName(r.project, q)
	s := &queueServer{
		queue: q, handler: &handler{sender: snd, queue: name, handled: w.handled, beginner: w.beginner, runner: r},
		rung: make(chan struct{}, 1), over: make(chan struct{}),
	}
	s.asynq = asynq.NewServerFromRedisClient(bellRedis{pacedRedis{w.cfg.Redis, w.pace}, s, poll}, asynq.Config{
		Concurrency: concurrency, Queues: map[string]int{name: 1}, TaskCheckInterval: emptyPoll,
		DelayedTaskCheckInterval: min(time.Second, 10*poll), RetryDelayFunc: retryDelay, IsFailure: isFailure,
		BaseContext: func() context.Context { return w.inFlight }, ShutdownTimeout: w.cfg.ShutdownTimeout,
		Logger: asynqLog{w.cfg.Log}, LogLevel: asynq.WarnLevel,
	})
	return s
}

// stirRunners makes the runners look again at what they may do, and when.
func (w *Worker) stirRunners() {
	for _, r := range w.runners {
		offer(r.signal, struct{}{})
	}
}

// noteEnded passes an operation to the finisher. If that is behind, a sweep finds the
// operation later.
func (w *Worker) noteEnded(op string) {
	offer(w.ended, op)
}

// helpers keep the record and the queues in order.
func (w *Worker) helpers() []runnable {
	return []runnable{
		{"heart", w.heart.run},
		{"reconciler: dead workers", func(ctx context.Context) { w.reconciler.repeat(ctx, w.reconciler.watch) }},
		{"reconciler: leader", func(ctx context.Context) { w.reconciler.repeat(ctx, w.reconciler.lead) }},
		{"finisher", w.finish},
		{"counter", w.counter.run},
		{"hinter", w.hints.run},
		{"brakes", w.brakes.run},
		{"listener", w.listener.run},
	}
}

// runnable is a goroutine of the worker; run returns when its context ends.
type runnable struct {
	name string // in goroutine profiles
	run  func(ctx context.Context)
}

// group is goroutines that start and end together.
type group struct {
	end     context.CancelFunc // nil: not started
	running sync.WaitGroup
}

func (g *group) start(ctx context.Context, list []runnable) {
	ctx, g.end = context.WithCancel(ctx)
	for _, r := range list {
		g.running.Go(func() { pprof.Do(ctx, pprof.Labels("goroutine", r.name), r.run) })
	}
}

// stop ends the goroutines and waits for them.
func (g *group) stop() {
	if g.end != nil {
		g.end()
	}
	g.running.Wait()
}

// Start begins to work and returns. It fails if Redis cannot be reached. The order is:
//
//  1. what this worker had in hand when it was killed is enqueued; its first beat; its rank among the workers
//  2. helpers: the heart must beat before there is work that others could miss
//  3. callers: dispatchers and followers
//  4. runners, which bring in work: the listener looks at the queues of all projects first
//
// Stop ends them in the opposite order.
func (w *Worker) Start(ctx context.Context) error {
	// A worker that was killed may start again under the same id before others miss it.
	n, err := w.reconciler.takeOver(ctx, w.cfg.ID)
	if err := errors.Join(err, w.record.AnnounceProjects(ctx, w.cfg.ID, w.cfg.aliases()...), w.heart.beat(ctx)); err != nil {
		return err
	}
	if n > 0 {
		w.cfg.Log.Info().Int("chunks", n).Msg("enqueued the chunks that this worker had in hand when it last ended")
	}
	for _, alias := range w.cfg.aliases() {
		// A new start may come with new credentials, or another endpoint.
		if err := w.record.ResumeProject(ctx, alias, tasks.PauseAuth, tasks.PauseNoRight, tasks.PauseNotAPI); err != nil {
			return err
		}
	}
	if _, err := w.reconciler.rank(ctx); err != nil {
		return err
	}
	w.helping.start(w.inFlight, w.helpers())
	w.making.start(w.inFlight, w.callers)
	runners := make([]runnable, len(w.runners))
	for i, r := range w.runners {
		runners[i] = runnable{"runner of " + r.project, r.run}
	}
	w.taking.start(w.inFlight, runners)
	w.cfg.Log.Info().Str("worker", w.cfg.ID).Strs("projects", w.cfg.aliases()).Msg("worker started")
	return nil
}

// Stop ends the work in good order, see Start. Calls in flight end and are recorded, and
// everything else returns to its queue at once. Stop is bounded by ShutdownTimeout and may
// be called more than once.
func (w *Worker) Stop() {
	w.stopOnce.Do(func() {
		giveUp := time.AfterFunc(w.cfg.ShutdownTimeout, func() { w.endInFlight(errors.New("shutdown_timeout is over")) })
		defer giveUp.Stop()
		w.pace.end()
		w.taking.stop()
		for _, r := range w.runners {
			r.stop() // no more tasks
		}
		w.making.stop() // no new calls; waiting handlers return their tasks
		var all sync.WaitGroup
		for _, r := range w.runners {
			all.Go(r.shutDown) // waits for the handlers
		}
		all.Wait()
		w.helping.stop()
		w.leave()
		w.endInFlight(errors.New("the worker has stopped"))
		w.cfg.Log.Info().Str("worker", w.cfg.ID).Msg("worker stopped")
	})
}

// leave finishes what has ended, adds the last counts, and takes the worker off the list. If
// that fails, another worker finds this one silent and looks at what it had in hand.
func (w *Worker) leave() {
	ctx, cancel := context.WithTimeout(w.inFlight, 2*time.Second)
	defer cancel()
	w.finishSome(ctx, w.drainEnded(nil))
	if err := w.counter.flush(ctx); err != nil {
		w.cfg.Log.Warn().Err(err).Msg("the last counts could not be added to the record; they are lost")
	}
	if err := w.record.Leave(ctx, w.cfg.ID); err != nil {
		w.cfg.Log.Warn().Err(err).Msg("the worker could not be taken off the list")
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

// finish closes operations that have ended, as many at a time as there are.
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
		w.cfg.Log.Warn().Err(err).Int("operations", len(ids)).Msg("ended operations could not be closed; a sweep will close them")
		return
	}
	logEnded(w.cfg.Log, w.cfg.Spans, ops)
}

// logEnded logs that operations have ended, with the heads of their trails, at least once for each:
// with the log one can tell whether the record was altered since.
func logEnded(log zerolog.Logger, maker *spans.Maker, ops []record.Operation) {
	for _, op := range ops {
		maker.Ended(op.Operation)
		log.Info().Str("operation", op.ID).Str("project", op.Project).Int("desktops", op.Total).
			Int("accepted", op.Counts.Accepted).Int("detached", op.Counts.Detached).Int("failed", op.Counts.Failed).
			Int("held", op.Counts.Held).Int("cancelled", op.Counts.Cancelled).
			Str("trail_head", op.Seal).
			Func(tagged(op.Operation)).Dur("took_ms", op.EndedAt.Sub(op.AcceptedAt)).Msg("operation ended")
	}
}
