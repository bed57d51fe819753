package worker

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks/record"
)

// pageTries is how often a page of a fleet is read that fails and is not refused.
const pageTries = 5

// Fleet returns all desktops of the project, each once. Like People, Pool and Usage it reads
// with the lowest priority, each page within the limit of readings, and an error, which is the
// last thing returned, means that nothing may be concluded from what came before it.
func (p *Planner) Fleet(ctx context.Context) iter.Seq2[apiclient.Desktop, error] {
	return p.project.API.Fleet(ctx, p.pages(ctx))
}

// People returns all users of the project.
func (p *Planner) People(ctx context.Context) iter.Seq2[apiclient.Person, error] {
	return p.project.API.People(ctx, p.pages(ctx))
}

// Pool returns the ids of the desktops of a pool.
func (p *Planner) Pool(ctx context.Context, pool string) iter.Seq2[string, error] {
	return p.project.API.PoolOf(ctx, pool, p.pages(ctx))
}

// Usage returns how the desktops were used that were idle for at least so many days.
func (p *Planner) Usage(ctx context.Context, from, to time.Time, idleDays int) iter.Seq2[apiclient.Usage, error] {
	return p.project.API.Usage(ctx, from, to, idleDays, p.pages(ctx))
}

// Protections are the rules in force about what no call may name.
func (p *Planner) Protections(ctx context.Context) (*record.Protections, error) {
	return p.record.Protections(ctx)
}

func (p *Planner) pages(ctx context.Context) apiclient.Pages {
	return func(read func() error) error {
		for try := 1; ; try++ {
			if err := p.limit.acquire(ctx, readRequest, toHint); err != nil {
				return err
			}
			err := read()
			if err == nil || Refused(err) || try == pageTries || !wait(ctx, backoff(planRetry, planRetryMax, try)) {
				return err
			}
		}
	}
}

// Refused reports whether an error is an answer of the cloud, or of the record, that a retry would
// not change.
func Refused(err error) bool {
	_, cannot := errors.AsType[unreadable](err)
	return cannot || ofCloud(err) && refused(err)
}
