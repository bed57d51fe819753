package server

import "github.com/detachd/detachd/tasks/api"

// listWorkers is GET /v1/workers. Workers serve all projects, so every key may see them.
func (s *server) listWorkers(r *request) error {
	workers, err := s.record.Workers(r.Context())
	var out []api.Worker
	for _, w := range workers {
		out = append(out, api.Worker{ID: w.ID, LastBeat: w.LastBeat, SilentMS: w.Silent.Milliseconds()})
	}
	return answerPage(r, out, "", err)
}
