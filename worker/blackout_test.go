package worker_test

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/cron"
	"github.com/detachd/detachd/worker"
)

// blackout is one from now on, cut to seconds, plus some time.
func blackout(t *testing.T, name string, from, until time.Duration) worker.Blackout {
	t.Helper()
	now := time.Now().UTC()
	text := func(d time.Duration) string { return now.Add(d).Format(time.DateTime) }
	w, err := cron.Once(text(from), text(until), time.UTC)
	require.NoError(t, err)
	return worker.Blackout{Name: name, Reason: "payroll closes", Window: w}
}

func withBlackouts(bs ...worker.Blackout) func(*worker.Config) {
	return func(cfg *worker.Config) { cfg.Projects[0].Blackouts = bs }
}

// In a blackout, urgent operations and undos are sent, and others are not, whatever they name.
func TestBlackout(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	first := s.start()
	before := s.detached(tasks.Request{Desktops: []string{"given-back"}})
	first.Stop()
	bulk := s.enqueue(tasks.Request{Desktops: ids(150)})
	one := s.enqueue(tasks.Request{Desktops: []string{"one"}})
	s.start(withBlackouts(blackout(t, "year-end", -time.Hour, time.Hour)), func(cfg *worker.Config) { cfg.ID = "worker-2" })
	s.detached(tasks.Request{Desktops: []string{"urgent"}, Urgent: true})
	s.ended(s.undo(before))
	require.Equal(t, []string{"given-back", "urgent"}, s.called())
	require.Len(t, s.attaches(), 1)
	require.Equal(t, 150, s.operation(bulk).Counts.Queued)
	require.Equal(t, 1, s.operation(one).Counts.Queued)
}

// What waited is sent when a blackout ends, and one that follows it without a break, and has
// spent no attempt.
func TestBlackoutEnds(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "of-zoe", Users: []fakecloud.User{{Name: "zoe"}}})
	bs := worker.Blackouts{blackout(t, "late", 2*time.Second, 4*time.Second), blackout(t, "early", -time.Hour, 3*time.Second)}
	until := bs.At(time.Now()).Until
	require.Equal(t, bs.At(until.Add(-time.Millisecond)).Until, until, "they are one")
	require.Nil(t, bs.At(until))
	s.start(withBlackouts(bs...))
	bulk, users := s.enqueue(tasks.Request{Desktops: ids(150)}), s.enqueue(tasks.Request{Users: []string{"zoe"}})
	s.ended(users)
	got, rows := s.ended(bulk)
	require.Equal(t, 150, got.Counts.Detached)
	for _, row := range rows {
		require.Zero(t, row.Attempts)
	}
	require.Len(t, s.called(), 151)
	for _, r := range s.cloud.Requests() {
		require.False(t, r.Op == fakecloud.OpDetach && r.Time.Before(until), "%v left in a blackout", r.DesktopIDs)
	}
}

// Rows that wait in a lane when a blackout begins wait for its end.
func TestBlackoutBeginsMeanwhile(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{Latency: 2 * time.Second})
	b := blackout(t, "nightly", 6*time.Second, 9*time.Second)
	until := worker.Blackouts{b}.At(time.Now().Add(7 * time.Second)).Until
	begin, calls := until.Add(-3*time.Second), &departures{}
	s.start(withBlackouts(b), calls.through, func(cfg *worker.Config) { cfg.Projects[0].MaxInFlight = 1 })
	got, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(700)}))
	require.Equal(t, 700, got.Counts.Detached)
	for _, row := range rows {
		require.Zero(t, row.Attempts)
	}
	require.GreaterOrEqual(t, len(calls.left), 7)
	for _, at := range calls.left {
		require.False(t, !at.Before(begin) && at.Before(until), "a call left at %s, between %s and %s", at, begin, until)
	}
}

// departures notes when calls leave: the body of one is sent next. They arrive later.
type departures struct {
	worker.API
	mu   sync.Mutex
	left []time.Time
}

func (d *departures) through(cfg *worker.Config) { d.API, cfg.Projects[0].API = cfg.Projects[0].API, d }

func (d *departures) Detach(ctx context.Context, req apiclient.DetachRequest) (*apiclient.DetachResult, error) {
	var left atomic.Pointer[time.Time]
	res, err := d.API.Detach(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() {
		now := time.Now()
		left.Store(&now)
	}}), req)
	if at := left.Load(); at != nil && !errors.Is(err, apiclient.ErrTooLate) { // else the body was not sent
		d.mu.Lock()
		defer d.mu.Unlock()
		d.left = append(d.left, *at)
	}
	return res, err
}

// The deadline counts: what would be sent too late fails, and says why.
func TestDeadlineInABlackout(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start(withBlackouts(blackout(t, "year-end", -time.Hour, time.Hour)))
	_, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(2), Deadline: time.Now().Add(time.Second)}))
	require.Empty(t, s.called())
	for _, row := range rows {
		require.Equal(t, tasks.CodeDeadline, row.Failure.Code)
		require.Regexp(t, `^the deadline passed in the blackout year-end until .* UTC \(payroll closes\): submit it again`, row.Failure.Message)
	}
}
