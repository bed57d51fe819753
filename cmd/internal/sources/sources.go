package sources

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// Fleet reads the desktops and users of a project; *worker.Planner implements it.
type Fleet interface {
	Fleet(ctx context.Context) iter.Seq2[apiclient.Desktop, error]
	People(ctx context.Context) iter.Seq2[apiclient.Person, error]
	Pool(ctx context.Context, pool string) iter.Seq2[string, error]
	Usage(ctx context.Context, from, to time.Time, idleDays int) iter.Seq2[apiclient.Usage, error]
	// Protections are the rules about what no call may name: a reading selects nothing of it.
	Protections(ctx context.Context) (*record.Protections, error)
	CameBack(ctx context.Context, since time.Time) ([]tasks.Returned, error)
}

// Config makes a Reader.
type Config struct {
	// Lists is the directory that files of schedules must be in, unless the schedule is one of
	// the configuration; empty: only those may name files. Relative paths begin there.
	Lists  string
	Settle time.Duration // how long a file must not change before it is taken
	Fleet  func(project string) (Fleet, error)
	Now    func() time.Time // defaults to time.Now
}

// Reader reads what schedules name. It is safe for concurrent use.
type Reader struct {
	cfg  Config
	wait func(ctx context.Context, d time.Duration) error
}

// New makes a Reader.
func New(cfg Config) *Reader {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Reader{cfg: cfg, wait: wait}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ErrNotReady is that of a source that cannot be read yet: a file that changes, or a cloud that
// does not answer. Another error will not pass by itself.
var ErrNotReady = errors.New("try again later")

// Found is what a source names now.
type Found struct {
	Lists []List
	Rows  int    // of the source
	Note  string // what people should know, such as why nobody is detached; may be empty
}

// List is a part of a source that is taken whole or not at all.
type List struct {
	File   string // the name of the file, without its directory; empty: it is not of a file
	SHA256 string // of the content of a file, in hex; each content is to run once
	// Requests are the list, in order, without idempotency keys. Without any it names nobody.
	Requests []tasks.Request
	// Err is why this list cannot be taken; it may be ErrNotReady. The others can.
	Err error
}

// Err joins the errors of lists. It is ErrNotReady if any of them is.
func (f Found) Err() error {
	var errs []error
	for _, l := range f.Lists {
		if l.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.File, l.Err))
		}
	}
	return errors.Join(errs...)
}

// Read reads the source of a schedule. lastRows is Found.Rows of the last time that the same
// list of those who stay was read; below 0: there was none. An error means that the source has no lists now.
func (r *Reader) Read(ctx context.Context, s tasks.Schedule, lastRows int) (Found, error) {
	s = s.WithDefaults()
	switch src := s.Source; {
	case src.File != "":
		return r.files(ctx, s)
	case src.Selector != nil:
		return r.selected(ctx, s, *src.Selector)
	case src.NotIn != nil:
		return r.notIn(ctx, s, *src.NotIn, lastRows)
	case src.CameBack != nil:
		return r.cameBack(ctx, s, *src.CameBack)
	default:
		l := List{Requests: split(base(s), src.Desktops, src.Users, src.Computers, nil)}
		return Found{Lists: []List{l}, Rows: len(src.Desktops) + len(src.Users) + len(src.Computers)}, nil
	}
}

// ofCloud is an error of a reading as this package returns it.
func ofCloud(err error) error {
	if worker.Refused(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotReady, err)
}

// base is a request with what a schedule says of each.
func base(s tasks.Schedule) tasks.Request {
	return tasks.Request{
		Project: s.Project, UnknownUsers: s.UnknownUsers, AllowShared: s.AllowShared, ShutoffAfterDetach: s.ShutoffAfterDetach,
		Urgent: s.Urgent, Reason: s.Reason, Ticket: s.Ticket, RequestedBy: tasks.ScheduleRequester(s.Name), Owner: s.Owner,
	}
}

// split makes requests of rows, as few as the limits of a request allow.
func split(base tasks.Request, desktops, users, computers []string, expect map[string][]string) (out []tasks.Request) {
	cut := func(list *[]string, most int) []string {
		n := min(len(*list), most)
		head := (*list)[:n:n]
		*list = (*list)[n:]
		if n == 0 {
			return nil
		}
		return head
	}
	for len(desktops)+len(users)+len(computers) > 0 {
		r := base
		r.Desktops = cut(&desktops, tasks.MaxDesktops)
		r.Users = cut(&users, tasks.MaxLookups)
		r.Computers = cut(&computers, tasks.MaxLookups-len(r.Users))
		for _, id := range r.Desktops {
			r.Expect = expecting(r.Expect, id, expect[id])
		}
		for _, name := range r.Computers {
			row := tasks.ComputerRow(name)
			r.Expect = expecting(r.Expect, row, expect[row])
		}
		out = append(out, r)
	}
	return out
}

func expecting(all map[string][]string, row string, users []string) map[string][]string {
	if len(users) == 0 {
		return all
	}
	if all == nil {
		all = map[string][]string{}
	}
	all[row] = users
	return all
}
