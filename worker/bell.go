package worker

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/tasks/record"
)

const (
	hearFor    = 2 * time.Second // a wait for rings; also how long a Stop may take if Redis hangs
	hearMargin = 3 * time.Second // how much later the reply may come
	deafPause  = time.Second     // the longest between looks at all projects while the bell cannot be heard
)

// listener hears the bell, and passes on what it says to the runners. When it starts, and
// whenever it was out of touch with the bell, it looks at the queues of all projects: so a Redis
// that refuses streams is polled.
type listener struct {
	record  *record.Record
	log     zerolog.Logger
	runners []*runner
}

// run listens until ctx ends. Then it rings itself: that ends its wait, and makes other workers
// look for what this one gave back.
func (l *listener) run(ctx context.Context) {
	var last sync.WaitGroup
	defer last.Wait()
	last.Go(func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatDeadline)
		defer cancel()
		if err := l.record.Ring(ctx, record.Ring{}); err != nil {
			l.log.Warn().Err(err).Msg("other workers could not be told that this one stops; a sweep will")
		}
	})
	pause := refusedPause
	for ctx.Err() == nil {
		heard, err := l.listen(ctx)
		if heard {
			pause = refusedPause
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && pause == refusedPause:
			l.log.Warn().Err(err).Msg("new work cannot be heard of; retrying, and looking at all queues meanwhile")
		}
		if err != nil {
			wait(ctx, pause)
			pause = min(2*pause, deafPause)
		}
	}
}

// listen looks at all projects, and then hears rings until it may have missed one, or an error
// ends it. heard: it has heard the bell, or its silence.
func (l *listener) listen(ctx context.Context) (heard bool, err error) {
	at, err := l.record.BellSince(ctx, record.RingHeard)
	if err == nil {
		err = l.pass(ctx, []record.Ring{{}})
	}
	for begun := time.Now(); err == nil && ctx.Err() == nil && time.Since(begun) < record.RingHeard/2; {
		begun = time.Now()
		var rings []record.Ring
		rings, at, err = l.hear(ctx, at)
		if err == nil {
			heard = true
			err = l.pass(ctx, rings)
		}
	}
	return heard, err
}

func (l *listener) hear(ctx context.Context, after string) ([]record.Ring, string, error) {
	ctx, cancel := context.WithTimeout(ctx, hearFor+hearMargin)
	defer cancel()
	return l.record.Hear(ctx, after, hearFor)
}

// pass passes on rings, and looks at the projects that they say so of and that have nobody else to
// look.
func (l *listener) pass(ctx context.Context, rings []record.Ring) error {
	var look []*runner
	for _, r := range l.runners {
		mustLook := false
		for _, x := range rings {
			switch {
			case x.Project != "" && x.Project != r.project:
			case x.Queue == "":
				mustLook = r.mustLook() || mustLook
			case x.At.IsZero():
				r.ring(x.Queue)
			default:
				r.dueAt(x.At)
			}
		}
		if mustLook {
			look = append(look, r)
		}
	}
	if len(look) == 0 {
		return nil
	}
	projects := make([]string, len(look))
	for i, r := range look {
		projects[i] = r.project
	}
	work, err := l.record.Due(ctx, projects)
	if err != nil {
		return err
	}
	for _, r := range look {
		if due := work[r.project].Due; !due.IsZero() {
			r.dueAt(due)
		}
	}
	return nil
}
