package server

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
)

// Origin is where a request of an in-process client came from.
type Origin struct {
	access.Browser
	Session string // id of the session of the dashboard, see access.SessionID
}

// OriginOf is the origin of a request from the network.
func OriginOf(r *http.Request) Origin {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return Origin{Browser: access.Browser{Address: host, UserAgent: r.UserAgent()}}
}

// Audit writes the audit log: an entry before each action, and another if the action fails.
// Each entry is also a line of the log, with its hash.
type Audit struct {
	record *record.Record
	log    zerolog.Logger
	now    func() time.Time
}

// NewAudit makes an Audit. now is usually time.Now.
func NewAudit(r *record.Record, log zerolog.Logger, now func() time.Time) *Audit {
	return &Audit{r, log, now}
}

// Act begins the audit of an action, and writes nothing yet.
func (a *Audit) Act(ctx context.Context, e tasks.AuditEvent) *Act {
	return &Act{Event: e, audit: a, ctx: ctx}
}

// Act is an action that is audited.
type Act struct {
	Event tasks.AuditEvent // until Begin, to be completed

	audit *Audit
	ctx   context.Context
	seq   int64 // of the entry; 0: Begin was not called, or failed
}

// Begin writes the entry. Without it the action must not happen.
func (a *Act) Begin() error {
	a.Event.Outcome = tasks.AuditStarted
	e, err := a.audit.append(a.ctx, a.Event)
	a.seq = e.Seq
	return err
}

// Do is Begin, the action, and End.
func (a *Act) Do(action func() error) error {
	if err := a.Begin(); err != nil {
		return err
	}
	return a.End(action())
}

// End returns the error of the action, after it wrote an entry about it.
func (a *Act) End(err error) error {
	if err == nil || a.seq == 0 {
		return err
	}
	e := a.Event
	// The text of an unknown error may hold anything: the code is enough, the log has more.
	e.Outcome, e.OfSeq, e.Detail = tasks.AuditFailed, a.seq, problemOf(err).Code
	// The action may have failed because the caller left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), 5*time.Second)
	defer cancel()
	if _, failed := a.audit.append(ctx, e); failed != nil {
		a.audit.log.Error().Err(failed).Int64("seq", a.seq).Str("outcome", string(e.Outcome)).Str("detail", e.Detail).
			Msg("the audit log lacks that an action failed")
	}
	return err
}

func (a *Audit) append(ctx context.Context, e tasks.AuditEvent) (tasks.AuditEvent, error) {
	e.At = a.now()
	e, err := a.record.AppendAudit(ctx, e)
	if err != nil {
		return e, err
	}
	a.log.Info().Int64("seq", e.Seq).Str("action", string(e.Action)).Str("outcome", string(e.Outcome)).Func(func(line *zerolog.Event) {
		for _, field := range [][2]string{
			{"key", e.KeyID}, {"name", e.KeyName}, {"owner", e.Owner}, {"address", e.Address}, {"request_id", e.RequestID},
			{"project", e.Project}, {"target", e.Target}, {"reason", e.Reason}, {"detail", e.Detail},
		} {
			if field[1] != "" {
				line.Str(field[0], field[1])
			}
		}
		if e.OfSeq != 0 {
			line.Int64("of_seq", e.OfSeq)
		}
	}).Str("hash", e.Hash).Msg("audit")
	return e, nil
}

// act begins the audit of an action of a request.
func (s *server) act(r *request, action tasks.AuditAction, project, target, reason string) *Act {
	return s.audit.Act(r.Context(), tasks.AuditEvent{
		Action: action, KeyID: r.key.ID, KeyName: r.key.Name, Owner: r.key.Owner, Address: r.origin.Address, RequestID: r.id,
		Project: project, Target: target, Reason: reason,
	})
}

// begins is for actions that learn the id of their object just before they create it.
func (a *Act) begins(id string) error {
	a.Event.Target = id
	return a.Begin()
}

// Refused logs the refusal of a request.
func Refused(log zerolog.Logger, k access.Key, from Origin, requestID, method, path string, status int, code string) {
	log.Info().Str("method", method).Str("path", path).Int("status", status).Str("outcome", code).Str("key", k.ID).Str("name", k.Name).
		Str("owner", k.Owner).Str("address", from.Address).Str("request_id", requestID).Msg("refused")
}

// logRefusal logs the refusal of a request whose sender lacks a right. A 404 is one if there
// is something that the key must not know of.
func (s *server) logRefusal(r *request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden || p.Status == http.StatusNotFound && r.hidden {
		Refused(s.Log, r.key, r.origin, r.id, r.Method, r.URL.Path, p.Status, p.Code)
	}
}

// reason decodes a body that has at most a reason.
func (r *request) reason() (string, error) {
	var in api.ReasonRequest
	if err := r.decode(&in, true); err != nil {
		return "", err
	}
	return in.Reason, checkReason(in.Reason)
}

func checkReason(reason string) error {
	if utf8.RuneCountInString(reason) > maxReason {
		return fault("/reason", "is longer than %d characters", maxReason)
	}
	return nil
}

// listAudit is GET /v1/audit: the audit log, the latest first. A key that is bound to
// projects gets the events of these and its own, without what tells how many others there are.
func (s *server) listAudit(r *request) error {
	q := r.query("action", "by", "target", "from", "to", "page_size", "page_token")
	f := tasks.AuditFilter{
		Action: tasks.AuditAction(q.text("action")), By: q.text("by"), Target: q.text("target"), From: q.time("from"), To: q.time("to"),
	}
	size := q.size()
	if err := q.err(); err != nil {
		return err
	}
	events, next, err := visible(r, size, q.text("page_token"), func(n int, place string) ([]tasks.AuditEvent, string, error) {
		return s.record.AuditLog(r.Context(), f, n, place)
	}, func(e tasks.AuditEvent) bool {
		return e.KeyID == r.key.ID || e.Project != "" && r.key.SeesAll(strings.Split(e.Project, ", "))
	})
	if len(r.key.Projects) > 0 {
		for i := range events {
			events[i].Seq, events[i].OfSeq, events[i].Previous, events[i].Hash = 0, 0, "", ""
		}
	}
	return answerPage(r, events, next, err)
}

// projectsText is a list of projects as an event has it.
func projectsText(projects []string) string {
	return strings.Join(slices.Sorted(slices.Values(projects)), ", ")
}
