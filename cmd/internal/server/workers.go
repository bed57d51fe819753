package server

import "github.com/detachd/detachd/tasks/api"

// listWorkers is GET /v1/workers: the workers that have beaten and not left. They
// work for every project, so that every key may know of them.
func (s *server) listWorkers(r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	workers, err := s.record.Workers(r.Context())
	var out []api.Worker
	for _, w := range workers {
		out = append(out, api.Worker{ID: w.ID, LastBeat: w.LastBeat, SilentMS: w.Silent.Milliseconds()})
	}
	return answerPage(r, out, "", err)
}
