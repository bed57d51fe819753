package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

// shared is what the senders and the follower of a project have in common.
type shared struct {
	cfg             Config
	project         Project
	log             zerolog.Logger // names the project
	record          *record.Record
	producer        *record.Producer
	committer       *committer
	claims          *claims
	rules           policy.Rules
	limit           *limiter
	directory       *directory
	clearance       *clearance
	hints           *hinter
	calls, readings *health
	clock           *record.Clock // for what must not be early

	// inFlight carries requests to Redis and to the cloud. It outlives the context of
	// new calls, so that a call in flight is recorded while the worker stops.
	inFlight context.Context
}

func (s *shared) backoff(attempt int) time.Duration {
	return backoff(s.cfg.RetryBase, s.cfg.RetryMax, attempt)
}

var errSlowReading = errors.New("reading took longer than call_timeout")

// readNow makes one reading, of up to 100 desktops.
func (s *shared) readNow(ids []string, p priority) (map[string]*apiclient.Desktop, error) {
	if err := s.limit.acquire(s.inFlight, readRequest, p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(s.inFlight, s.project.CallTimeout, errSlowReading)
	defer cancel()
	begun := time.Now()
	list, err := s.project.API.Desktops(ctx, ids)
	s.reportReading(readDesktops, len(ids), begun, err)
	if err != nil {
		s.log.Warn().Err(err).Int("desktops", len(ids)).Msg("desktops could not be read; retrying")
		return nil, err
	}
	s.readings.good(time.Now())
	return byID(list), nil
}

// inPool reads which desktops belong to a pool.
func (s *shared) inPool(pool string, ids []string, p priority) ([]string, error) {
	if err := s.limit.acquire(s.inFlight, readRequest, p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(s.inFlight, s.project.CallTimeout, errSlowReading)
	defer cancel()
	begun := time.Now()
	in, err := s.project.API.InPool(ctx, pool, ids)
	s.reportReading(readDesktops, len(ids), begun, err)
	return in, err
}

// readable makes a reading again without those desktops that the cloud refuses to read, as it would
// be refused for ever with them. refused has its answer: nothing is known of these, and nothing
// against the others.
func readable[T any](s *shared, ids []string, read func(ids []string) (T, error)) (got T, refused map[string]error, err error) {
	refused = map[string]error{}
	for len(ids) > 0 {
		got, err = read(ids)
		f := s.faultOf(err)
		switch f.class {
		case tasks.ClassPoison, tasks.ClassDenied, tasks.ClassPermanent, tasks.ClassConflict:
		default:
			return got, refused, err
		}
		bad := f.api.Culprits()
		var rest []string
		for _, id := range ids {
			if slices.Contains(bad, id) {
				refused[id] = err
			} else {
				rest = append(rest, id)
			}
		}
		if len(rest) == len(ids) {
			return got, refused, err
		}
		ids = rest
	}
	var nothing T
	return nothing, refused, nil
}

// readEach is readNow; a desktop that the cloud refuses to read is nil in it.
func (s *shared) readEach(ids []string, p priority) (map[string]*apiclient.Desktop, error) {
	got, refused, err := readable(s, ids, func(ids []string) (map[string]*apiclient.Desktop, error) { return s.readNow(ids, p) })
	if err != nil {
		return nil, err
	}
	if got == nil {
		got = map[string]*apiclient.Desktop{}
	}
	for id := range refused {
		got[id] = nil
	}
	return got, nil
}

func byID(list []apiclient.Desktop) map[string]*apiclient.Desktop {
	out := make(map[string]*apiclient.Desktop, len(list))
	for i := range list {
		out[list[i].ID] = &list[i]
	}
	return out
}

// notIn returns the ids of desktops that a reading does not list.
func notIn(read map[string]*apiclient.Desktop, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, listed := read[id]; return listed })
}

// afterFailure decides about a desktop whose attempt failed: failed, or queued for another
// one. It was read before its last attempt in any case: a desktop that the cloud refuses
// may be detached already, or gone.
func (s *shared) afterFailure(op record.Operation, d record.Row, class tasks.Class, f *tasks.Failure, note tasks.Note) transition {
	n := d.Attempts + 1
	f.Attempts, f.At = n, time.Now()
	t := transition{to: tasks.StateQueued, attempts: n, note: note, failure: f, delay: s.backoff(n)}
	switch {
	case class == tasks.ClassPermanent, class == tasks.ClassPoison, class == tasks.ClassLocal, class == tasks.ClassDenied,
		n >= s.cfg.MaxAttempts, !s.clock.Now().Before(op.Deadline):
		t.to, t.delay = tasks.StateFailed, 0
	}
	return t
}
