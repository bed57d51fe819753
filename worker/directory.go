package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/apiclient"
)

// directoryAge is how long a list of a project's users is used. Feeds name leavers one by
// one, and the list must be read whole because the API has no exact filter.
const directoryAge = time.Minute

// directory is the list of a project's users.
type directory struct {
	mu      sync.Mutex
	readAt  time.Time
	people  []apiclient.Person
	refusal error // why the cloud does not show them
}

// read returns the list as it was at a time, or later; the caller may append to it. refusal is
// that the cloud does not show the list; err that it could not be read for now.
func (d *directory) read(ctx context.Context, f *finder, since time.Time) (people []apiclient.Person, refusal, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.readAt.IsZero() || d.readAt.Before(since) {
		if err := f.admit(ctx); err != nil {
			return nil, nil, err
		}
		begun := time.Now()
		people, err := f.api.Users(ctx)
		f.report(readDirectory, 0, begun, err)
		if err != nil && !refused(err) {
			return nil, nil, err
		}
		d.people, d.refusal, d.readAt = people, err, begun
	}
	return slices.Clip(d.people), d.refusal, nil
}
