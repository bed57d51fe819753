package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// ranks share out the projects among the living workers: in each project they have an order, the
// same for all of them, and the first begins to serve it alone. Workers that disagree for a while,
// because one has come or gone, are both first or look a moment later; neither loses work.
type ranks struct {
	worker   string
	projects []string
	record   *record.Record
	changed  func() // called after a change

	mu      sync.Mutex
	living  []string       // when the ranks were last determined
	before  map[string]int // living workers that come before this one, by project
	renewal int            // calls of update since then
}

// update determines the ranks again if other workers live than before, and else once in
// servesRounds calls, as a worker may have come back with other projects.
func (r *ranks) update(ctx context.Context, workers []tasks.Worker, silent time.Duration) error {
	var living []string
	for _, w := range workers {
		if w.ID != r.worker && w.Silent < silent {
			living = append(living, w.ID)
		}
	}
	slices.Sort(living)
	r.mu.Lock()
	r.renewal++
	same := slices.Equal(living, r.living) && (r.renewal < servesRounds || len(living) == 0)
	r.mu.Unlock()
	if same {
		return nil
	}
	serve, err := r.record.Announced(ctx)
	if err != nil {
		return err
	}
	before := map[string]int{}
	for _, project := range r.projects {
		for _, other := range living {
			// One that has announced nothing, as older versions, serves all projects.
			if its, said := serve[other]; (!said || slices.Contains(its, project)) && precedes(project, other, r.worker) {
				before[project]++
			}
		}
	}
	r.mu.Lock()
	r.living, r.before, r.renewal = living, before, 0
	r.mu.Unlock()
	r.changed()
	return nil
}

// of returns how many workers come before this one in a project.
func (r *ranks) of(project string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.before[project]
}

// precedes reports whether worker a comes before worker b in a project (rendezvous hashing: when a
// worker comes or goes, only its own places change).
func precedes(project, a, b string) bool {
	weight := func(worker string) uint64 {
		sum := sha256.Sum256([]byte(worker + "/" + project)) // ids of workers have no slash
		return binary.BigEndian.Uint64(sum[:])
	}
	return cmp.Or(cmp.Compare(weight(a), weight(b)), cmp.Compare(a, b)) < 0
}
