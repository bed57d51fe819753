package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker/policy"
)

const (
	hintedRows   = 100 // of an operation; further rows get no hint
	hintsWaiting = 256 // requests; further ones are dropped
)

// hinter finds out what was probably meant by unknown desktop ids: a desktop of another
// project, or the name of a computer. Its readings have the lowest priority. A row is on hold
// with or without a hint.
type hinter struct {
	record   *record.Record
	projects []*shared
	wanted   chan hintRequest
	log      zerolog.Logger
}

type hintRequest struct {
	op  record.Operation
	ids []string
}

func newHinter(rec *record.Record, log zerolog.Logger) *hinter {
	return &hinter{record: rec, wanted: make(chan hintRequest, hintsWaiting), log: log}
}

// requestHints requests hints for items that were not found, as far as they are held.
func (s *shared) requestHints(items []*item) {
	byOp := map[string]*hintRequest{}
	for _, it := range items {
		if it.desktop.State != tasks.StateHeld {
			continue
		}
		w := byOp[it.job.op.ID]
		if w == nil {
			w = &hintRequest{op: it.job.op}
			byOp[it.job.op.ID] = w
		}
		w.ids = append(w.ids, it.desktop.ID)
	}
	for _, w := range byOp {
		offer(s.hints.wanted, *w)
	}
}

func (h *hinter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-h.wanted:
			if err := h.explain(ctx, w); err != nil && ctx.Err() == nil {
				h.log.Warn().Err(err).Str("operation", w.op.ID).Msg("unknown desktops get no hints")
			}
		}
	}
}

func (h *hinter) explain(ctx context.Context, w hintRequest) error {
	n, err := h.record.CountHints(ctx, w.op.ID, len(w.ids), hintedRows)
	if err != nil || n == 0 {
		return err
	}
	w.ids = w.ids[:n]
	hints := map[string]string{}
	for _, s := range h.projects {
		if err := s.hintsFor(ctx, w, hints); err != nil {
			s.log.Warn().Err(err).Str("operation", w.op.ID).Msg("unknown desktops could not be looked up in this project")
		}
	}
	return h.record.AddHints(ctx, w.op, tasks.CodeNotFound, hints)
}

// hintsFor looks ids up in one project: as names of computers in the project of the
// operation, as ids in others.
func (s *shared) hintsFor(ctx context.Context, w hintRequest, hints map[string]string) error {
	own := s.project.Alias == w.op.Project
	if err := s.limit.acquire(ctx, readRequest, toHint); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.project.CallTimeout, errSlowReading)
	defer cancel()
	begun := time.Now()
	var list []apiclient.Desktop
	var err error
	if own {
		list, err = s.project.API.DesktopsNamed(ctx, w.ids)
		s.reportReading(readComputers, len(w.ids), begun, err)
	} else {
		list, err = s.project.API.Desktops(ctx, w.ids)
		s.reportReading(readDesktops, len(w.ids), begun, err)
	}
	if err != nil {
		return err
	}
	for _, d := range list {
		for _, id := range w.ids {
			switch {
			case !own && d.ID == id:
				hints[id] = fmt.Sprintf("project %s has it", s.project.Alias)
			case own && policy.SameName(d.ComputerName, id):
				hints[id] = fmt.Sprintf("it is the name of a computer, whose desktop is %s: name it as a computer", d.ID)
			}
		}
	}
	return nil
}
