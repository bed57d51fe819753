package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/apiclient"
)

// directoryAge is how long a list of a project's users is used. Feeds name one leaver
// after the other, and the list has to be read whole: the API has no exact filter.
const directoryAge = time.Minute

// directory is the list of a project's users.
type directory struct {
	mu      sync.Mutex
	readAt  time.Time
	people  []apiclient.Person
	refusal error // why the cloud does not show it
}

// read gives the list as it was at a time, or later, and which the caller may append
// to. refusal says that the cloud does not show it; err that it could not be read for
// now.
func (d *directory) read(ctx context.Context, f *finder, since time.Time) (people []apiclient.Person, refusal, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.readAt.IsZero() || d.readAt.Before(since) {
		if err := f.admit(ctx); err != nil {
			return nil, nil, err
		}
		begun := f.now()
		people, err := f.api.Users(ctx)
		f.told(ReadDirectory, 0, begun, err)
		if err != nil && !refused(err) {
			return nil, nil, err
		}
		d.people, d.refusal, d.readAt = people, err, begun
	}
	return slices.Clip(d.people), d.refusal, nil
}
