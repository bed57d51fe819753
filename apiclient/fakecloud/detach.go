package fakecloud

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"
)

const (
	maxDesktops = 100 // of one detach call, or ids in the query of a list
	maxUsers    = 500 // of one desktop in a batch-detach
	maxID       = 255 // characters of an id
)

// detachCall is the body of either detach call. In a batch, users[i] are the users to
// remove from ids[i]; nil: all.
type detachCall struct {
	ids     []string
	users   [][]User
	shutoff *bool
}

// fields decodes an object with case-sensitive keys; encoding/json would also accept
// DESKTOP_IDS.
func fields(body []byte, into map[string]any) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return err
	}
	for name, target := range into {
		if value := raw[name]; value != nil {
			if err := json.Unmarshal(value, target); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// parseDetach reads a detach call. The reply is that to an invalid call, nil for a valid
// one; the call of an invalid one has the ids that could be read.
func parseDetach(body []byte, batch bool) (detachCall, *reply) {
	var call detachCall
	var err error
	switch {
	case batch:
		err = call.readBatch(body)
	case call.readPlain(string(body)):
	default:
		err = fields(body, map[string]any{"desktop_ids": &call.ids, "shutoff_after_detach": &call.shutoff})
	}
	if err != nil {
		return call, invalidParameter(err.Error())
	}
	return call, checkIDs(call.ids)
}

// readBatch reads {"desktops":[{"desktop_id","is_detach_all_users","detach_user_infos":[...]}]}.
func (call *detachCall) readBatch(body []byte) error {
	var desktops []json.RawMessage
	if err := fields(body, map[string]any{"desktops": &desktops}); err != nil {
		return err
	}
	var problem error
	for _, raw := range desktops {
		var id string
		var all bool
		var infos []json.RawMessage
		err := fields(raw, map[string]any{"desktop_id": &id, "is_detach_all_users": &all, "detach_user_infos": &infos})
		if err != nil {
			return err
		}
		users, err := readUsers(infos, all)
		if err != nil && problem == nil {
			problem = err
		}
		call.ids = append(call.ids, id)
		call.users = append(call.users, users)
	}
	return problem
}

// readUsers reads detach_user_infos, which all overrides.
func readUsers(infos []json.RawMessage, all bool) ([]User, error) {
	switch {
	case all:
		return nil, nil
	case len(infos) == 0:
		return nil, fmt.Errorf("detach_user_infos: empty without is_detach_all_users")
	case len(infos) > maxUsers:
		return nil, fmt.Errorf("detach_user_infos: more than %d", maxUsers)
	}
	users := make([]User, len(infos))
	for i, raw := range infos {
		u := &users[i]
		if err := fields(raw, map[string]any{"user_id": &u.ID, "user_name": &u.Name, "domain": &u.Domain, "type": &u.Type}); err != nil {
			return nil, err
		}
		if u.Name == "" {
			return nil, fmt.Errorf("user_name: empty")
		}
		*u = u.withDefaults()
	}
	return users, nil
}

// checkIDs returns the reply to a list of ids that is not within the limits; nil: it is.
func checkIDs(ids []string) *reply {
	if len(ids) == 0 {
		return fail(http.StatusBadRequest, "WKS.0001", "")
	}
	if len(ids) > maxDesktops {
		return invalidParameter(fmt.Sprintf("desktop_ids: %d, the limit is %d", len(ids), maxDesktops))
	}
	seen := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		if id == "" || utf8.RuneCountInString(id) > maxID {
			return invalidParameter("desktop_ids: an id of wrong length")
		}
		if _, twice := seen[id]; twice {
			return invalidParameter("desktop_ids: " + id + " is repeated")
		}
		seen[id] = struct{}{}
	}
	return nil
}

func invalidParameter(why string) *reply {
	return fail(http.StatusBadRequest, "WKS.00211102", "The parameter is invalid. "+why)
}

// detachReply is the body of a 200.
type detachReply struct {
	Failed        []failedOperation `json:"failed_operation_list"`
	JobID         string            `json:"job_id"`
	SuccessJobIDs []string          `json:"success_job_ids,omitempty"`
}

type failedOperation struct {
	ID      string `json:"desktop_id"`
	Name    string `json:"desktop_name"`
	Code    string `json:"error_code"`
	Message string `json:"error_msg"`
}

// nothingFailed is the body of most replies, encoded once for load tests.
var nothingFailed = marshal(detachReply{Failed: []failedOperation{}})

// performDetach starts the detach of every desktop that is not refused; if one is busy, the
// whole call is refused.
func (x *exchange) performDetach() (rep *reply, effect bool) {
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rec := range x.entered {
		p.settle(rec, now)
		if rep := conflict(rec, "DETACH_DESKTOP"); rep != nil {
			return rep, false
		}
	}
	refusals := x.faults.refusals(x.projectID, x.number, x.ids)
	body := detachReply{Failed: []failedOperation{}}
	work := job{kind: "detachDesktops", begin: now}
	if x.detach.users != nil {
		work.kind = "batchDetachDesktops"
	}
	for i, rec := range x.entered {
		if failed := refuse(rec, refusals); failed != nil {
			body.Failed = append(body.Failed, *failed)
			continue
		}
		effect = true
		x.accept(i, rec, now, &work)
		if x.cfg.SuccessJobIDs {
			body.SuccessJobIDs = append(body.SuccessJobIDs, uuid(uint64(x.number.cloud), uint64(i)))
		}
	}
	if len(work.subs) > 0 {
		body.JobID = p.jobs.add(work, mix(x.cfg.Seed)+uint64(x.number.cloud))
	}
	if len(body.Failed) == 0 && body.JobID == "" && body.SuccessJobIDs == nil {
		return &reply{status: http.StatusOK, body: nothingFailed}, effect
	}
	return ok(body), effect
}

// accept starts the detach of the i-th desktop of the call; that of a pool desktop becomes
// a part of work.
func (x *exchange) accept(i int, rec *record, now time.Time, work *job) {
	pend := detachment{due: now.Add(x.cfg.DetachDelay + rec.base.DetachTakes), shutoff: x.detach.shutoff, call: x.requestID}
	if x.detach.users != nil {
		pend.users = x.detach.users[i]
	}
	pooled := rec.base.Type == Pooled
	var before Desktop
	if pooled {
		before = rec.desktop()
	}
	x.project.accept(rec, pend, now)
	if pooled {
		end := rec.base.AttachState
		if rec.leaving != nil {
			end = rec.leaving.end
		}
		work.subs = append(work.subs, subJob{desktop: before, due: pend.due.Add(x.cfg.JobLag), end: end})
	}
}

// conflict returns the reply to a call with a busy desktop; nil: it is not busy.
func conflict(rec *record, denied string) *reply {
	if rec.base == nil {
		return nil
	}
	state := rec.base.busyWith()
	if rec.leaving != nil {
		state = Detaching
	}
	if rec.coming != nil {
		state = Attaching
	}
	if state == "" {
		return nil
	}
	return fail(http.StatusConflict, "WKS.00010032", conflictMessage(state, denied, rec.id))
}

// conflictMessage returns the documented text.
func conflictMessage(state, denied, id string) string {
	return fmt.Sprintf("Operation conflict. The desktop current instance status is [%s] and deny operation [%s], resource id [%s].",
		state, denied, id)
}

// refuse returns the entry of a desktop that cannot be detached; nil: it can.
func refuse(rec *record, refusals map[string]Refusal) *failedOperation {
	failed := &failedOperation{ID: rec.id}
	if rec.base == nil {
		failed.Code, failed.Message = CodeNotFound, "The desktop does not exist."
		return failed
	}
	wanted, hit := refusals[rec.id]
	switch {
	case hit:
		failed.Code, failed.Message = wanted.Code, wanted.Message
	case rec.base.Status == Hibernated:
		failed.Code, failed.Message = CodeHibernated, "Desktops in the hibernated state cannot be unbound."
	case rec.base.Frozen:
		failed.Code, failed.Message = CodeFrozen, "The desktop is frozen."
	case rec.base.Maintenance:
		failed.Code, failed.Message = CodeMaintenance, "The desktop is in maintenance mode."
	default:
		return nil
	}
	failed.Name = rec.desktop().ComputerName
	return failed
}
