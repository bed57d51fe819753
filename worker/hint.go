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
	// notFound is the code of a desktop that no list has and no reading ever showed.
	notFound = "NOT_FOUND"
	// hintedRows is for how many rows of an operation it is looked up what was meant.
	hintedRows = 100
	// hintsWaiting bounds what waits for that; what is more goes without.
	hintsWaiting = 256
)

// hinter finds out what was probably meant by ids that mean nothing: a desktop of
// another project, or the name of a computer. It reads when nothing else has to, and
// what it does not get to is held all the same.
type hinter struct {
	record  *record.Record
	senders []*sender // one of each project
	wanted  chan hintWish
	log     zerolog.Logger
}

type hintWish struct {
	op  record.Operation
	ids []string
}

func newHinter(rec *record.Record, log zerolog.Logger) *hinter {
	return &hinter{record: rec, wanted: make(chan hintWish, hintsWaiting), log: log}
}

// explainMissing has it looked up what was meant by desktops that were held as not found.
func (s *sender) explainMissing(items []*item) {
	byOp := map[string]*hintWish{}
	for _, it := range items {
		if it.desktop.State != tasks.StateHeld || it.heldAs != notFound {
			continue
		}
		w := byOp[it.job.op.ID]
		if w == nil {
			w = &hintWish{op: it.job.op}
			byOp[it.job.op.ID] = w
		}
		w.ids = append(w.ids, it.desktop.ID)
	}
	for _, w := range byOp {
		select {
		case s.hints.wanted <- *w:
		default:
		}
	}
}

func (h *hinter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-h.wanted:
			if err := h.explain(ctx, w); err != nil && ctx.Err() == nil {
				h.log.Warn().Err(err).Str("operation", w.op.ID).Msg("what was meant by unknown desktops could not be looked up")
			}
		}
	}
}

func (h *hinter) explain(ctx context.Context, w hintWish) error {
	n, err := h.record.CountHints(ctx, w.op.ID, len(w.ids), hintedRows)
	if err != nil || n == 0 {
		return err
	}
	w.ids = w.ids[:n]
	hints := map[string]string{}
	for _, s := range h.senders {
		if err := s.hintsFor(ctx, w, hints); err != nil {
			h.log.Warn().Err(err).Str("operation", w.op.ID).Str("project", s.project.Alias).Msg("what was meant by unknown desktops could not be looked up there")
		}
	}
	return h.record.AddHints(ctx, w.op, notFound, hints)
}

// hintsFor looks ids up in one project: in the operation's own as names of computers,
// in others as what they are.
func (s *sender) hintsFor(ctx context.Context, w hintWish, hints map[string]string) error {
	own := s.project.Alias == w.op.Project
	if err := s.limit.take(ctx, readRequest, toHint); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.project.CallTimeout, errSlowReading)
	defer cancel()
	begun := time.Now()
	var list []apiclient.Desktop
	var err error
	if own {
		list, err = s.project.API.DesktopsNamed(ctx, w.ids)
		s.tellReading(ReadComputers, len(w.ids), begun, err)
	} else {
		list, err = s.project.API.Desktops(ctx, w.ids)
		s.tellReading(ReadDesktops, len(w.ids), begun, err)
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
