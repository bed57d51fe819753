package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/trail"
)

// audited says what a route writes into the audit log.
type audited struct {
	action tasks.AuditAction // none: it changes nothing, and no personal data leaves as a file
	body   string
	target bool // it names what was changed
}

// decisions has every route: a new one needs a row.
var decisions = map[string]audited{
	"POST /v1/operations":                {tasks.AuditOperationCreated, `{"project":"hq","desktops":["d7"],"reason":"left"}`, true},
	"POST /v1/plans":                     {tasks.AuditPlanCreated, `{"project":"hq","desktops":["d7"],"reason":"left"}`, true},
	"POST /v1/operations/{id}:cancel":    {tasks.AuditOperationCancelled, `{"reason":"left"}`, true},
	"POST /v1/operations/{id}:retry":     {tasks.AuditOperationRetried, `{"reason":"left"}`, true},
	"POST /v1/operations/{id}:approve":   {tasks.AuditOperationApproved, `{"reason":"left"}`, true},
	"POST /v1/operations/{id}:reject":    {tasks.AuditOperationRejected, `{"reason":"left"}`, true},
	"POST /v1/operations/{id}:undo":      {tasks.AuditOperationUndone, `{"reason":"left"}`, true},
	"POST /v1/projects:stop":             {tasks.AuditStopped, `{"reason":"left"}`, false},
	"POST /v1/projects:resume":           {tasks.AuditStopEnded, `{"reason":"left"}`, false},
	"POST /v1/failures:dismiss":          {tasks.AuditFailuresDismissed, `{"reason":"left","filter":{"project":"hq"}}`, false},
	"POST /v1/redrives":                  {tasks.AuditRedriveCreated, `{"reason":"left","per_second":1}`, true},
	"POST /v1/redrives/{id}:abort":       {tasks.AuditRedriveAborted, ``, true},
	"POST /v1/keys":                      {tasks.AuditKeyCreated, `{"name":"new","role":"viewer"}`, true},
	"POST /v1/keys/{id}:revoke":          {tasks.AuditKeyRevoked, `{"reason":"left"}`, true},
	"POST /v1/sessions/{id}:end":         {tasks.AuditSessionEnded, `{"reason":"left"}`, true},
	"POST /v1/projects/{alias}:pause":    {tasks.AuditProjectPaused, `{"reason":"left"}`, true},
	"POST /v1/projects/{alias}:resume":   {tasks.AuditProjectResumed, `{"reason":"left"}`, true},
	"POST /v1/protections":               {tasks.AuditProtectionAdded, `{"name":"new","kind":"pool","pattern":"p-2","reason":"left"}`, true},
	"POST /v1/protections/{name}:remove": {tasks.AuditProtectionRemoved, `{"reason":"left"}`, true},
	"GET /v1/protections":                {},
	"GET /v1/operations/{id}/report":     {tasks.AuditPersonalData, "", true},
	"GET /v1/plans/{id}":                 {}, "GET /v1/operations": {}, "GET /v1/operations/{id}": {}, "GET /v1/operations/{id}/desktops": {},
	"GET /v1/operations/{id}/events": {}, "GET /v1/operations/{id}/calls": {}, "GET /v1/desktops": {}, "GET /v1/desktops/{desktop}": {},
	"GET /v1/failures": {}, "GET /v1/failures:count": {}, "GET /v1/redrives": {}, "GET /v1/redrives/{id}": {},
	"GET /v1/redrives/{id}/desktops": {}, "GET /v1/codes": {}, "GET /v1/key": {}, "GET /v1/keys": {}, "GET /v1/sessions": {},
	"GET /v1/audit": {}, "GET /v1/projects": {}, "GET /v1/workers": {}, "GET /v1/stats": {},
	"GET /v1/users/{name}/access": {tasks.AuditPersonalData, "", true},

	"POST /v1/access-reviews":           {tasks.AuditPersonalData, `{"since":"1h"}`, true},
	"GET /v1/access-reviews/{id}":       {},
	"GET /v1/access-reviews/{id}/items": {tasks.AuditPersonalData, "", true}, // as CSV

	"GET /v1/search": {}, "GET /docs": {}, "GET /openapi.json": {}, "GET /healthz": {}, "GET /readyz": {}, "GET /metrics": {},

	"POST /v1/recalls": {tasks.AuditRecallCreated, `{"user":"zoe","reason":"left"}`, true},
	"GET /v1/recalls":  {}, "GET /v1/recalls/{id}": {},

	"POST /v1/cancellations":            {tasks.AuditCancellationCreated, recall, true},
	"POST /v1/cancellations/{id}:abort": {tasks.AuditCancellationAborted, ``, true},
	"GET /v1/cancellations":             {}, "GET /v1/cancellations/{id}": {}, "GET /v1/cancellations/{id}/desktops": {},

	"POST /v1/schedules": {
		tasks.AuditScheduleAdded, `{"name":"new","project":"hq","cron":"@daily","source":{"users":["ann"]},"note":"left","reason":"of the operations"}`, true,
	},
	"POST /v1/schedules/{schedule}:pause":  {tasks.AuditSchedulePaused, `{"reason":"left"}`, true},
	"POST /v1/schedules/{schedule}:resume": {tasks.AuditScheduleResumed, `{"reason":"left"}`, true},
	"POST /v1/schedules/{schedule}:run":    {tasks.AuditScheduleRun, `{"reason":"left"}`, true},
	"POST /v1/schedules/{schedule}:skip":   {tasks.AuditScheduleSkipped, `{"reason":"left"}`, true},
	"POST /v1/schedules/{schedule}:unskip": {tasks.AuditScheduleUnskipped, `{"reason":"left"}`, true},
	"POST /v1/schedules/{schedule}:remove": {tasks.AuditScheduleRemoved, `{"reason":"left"}`, true},
	"POST /v1/schedules:preview":           {"", `{"cron":"@daily"}`, false},
	"GET /v1/schedules":                    {}, "GET /v1/schedules/{schedule}": {}, "GET /v1/schedules/{schedule}/next": {},
}

// auditBench is a bench with one of everything that can be changed.
type auditBench struct {
	*bench
	operation, redrive, cancellation, recall, plan, review, keyID, session, secret, waiting, gone string
}

func newAuditBench(t *testing.T) *auditBench {
	b := &auditBench{bench: newBench(t)}
	op := b.failed("hq", "d1")
	b.operation = op.ID
	b.redrive = b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"per_second":1}`).json(t)["id"].(string)
	b.cancellation = b.do(b.key[access.Operator], "POST", "/v1/cancellations", recall).json(t)["id"].(string)
	b.recall = b.do(b.key[access.Operator], "POST", "/v1/recalls", recallZoe).json(t)["id"].(string)
	b.plan = b.do(b.key[access.Producer], "POST", "/v1/plans", `{"project":"hq","desktops":["d1"]}`).json(t)["id"].(string)
	b.review = b.do(b.key[access.Producer], "POST", "/v1/access-reviews", `{"since":"1h"}`).json(t)["id"].(string)
	b.renew()
	return b
}

// renew makes another key, session and waiting operation, to be revoked, ended and decided on.
func (b *auditBench) renew() {
	b.t.Helper()
	_, key, err := b.keys.Create(b.t.Context(), access.Key{Name: "leaver", Role: access.Viewer})
	require.NoError(b.t, err)
	b.keyID = key.ID
	err = b.store.Record.AddProtection(b.t.Context(), tasks.Protection{Name: "zoe", Kind: tasks.ProtectPool, Pattern: "p-1"})
	require.True(b.t, err == nil || errors.Is(err, tasks.ErrProtectionExists), err)
	b.scheduled("leavers", "hq")
	b.waiting, b.gone = b.waits(), b.detached("d1")
	session, _, err := b.keys.SignIn(b.t.Context(), b.key[access.Viewer], access.Browser{Address: "192.0.2.9"})
	require.NoError(b.t, err)
	b.session, b.secret = access.SessionID(string(session)), string(session)
}

func (b *auditBench) path(rt route) string {
	id := b.operation
	for prefix, other := range map[string]string{"/v1/redrives": b.redrive, "/v1/cancellations": b.cancellation, "/v1/recalls": b.recall, "/v1/plans": b.plan, "/v1/access-reviews": b.review, "/v1/keys": b.keyID, "/v1/sessions": b.session} {
		if strings.HasPrefix(rt.path, prefix) {
			id = other
		}
	}
	if strings.HasSuffix(rt.path, ":approve") || strings.HasSuffix(rt.path, ":reject") {
		id = b.waiting
	}
	if strings.HasSuffix(rt.path, ":undo") {
		id = b.gone
	}
	path := strings.NewReplacer("{id}", id, "{desktop}", "d1", "{alias}", "hq", "{name}", "zoe", "{schedule}", "leavers").Replace(rt.path)
	if rt.path == "/v1/desktops" || rt.path == "/v1/search" {
		path += "?q=d1"
	}
	if strings.HasSuffix(rt.path, "/items") {
		path += "?format=csv"
	}
	return path
}

// audit is the audit log, the latest first, which holds.
func (b *bench) audit() (out []tasks.AuditEvent) {
	b.t.Helper()
	var check trail.LogCheck
	for token := ""; ; {
		page, next, err := b.store.Record.AuditLog(b.t.Context(), tasks.AuditFilter{}, 1000, token)
		require.NoError(b.t, err)
		for _, e := range page {
			require.NoError(b.t, check.Add(record.AuditEntry(e)))
		}
		if out = append(out, page...); next == "" {
			return out
		}
		token = next
	}
}

// lines are the lines of the log with a message.
func (b *bench) lines(message string) (out []map[string]any) {
	b.t.Helper()
	for line := range strings.Lines(b.log.String()) {
		var v map[string]any
		require.NoError(b.t, json.Unmarshal([]byte(line), &v), line)
		if v["message"] == message {
			out = append(out, v)
		}
	}
	return out
}

// Every route that changes something writes exactly one entry and one line, and any other
// none. What was not decided about a new route fails here.
func TestEveryRouteHasAnAuditDecision(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	owner := "Ann Lee <ann@example.com>"
	for _, rt := range routes {
		name := rt.method + " " + rt.path
		want, decided := decisions[name]
		require.True(t, decided, "%s: does it change something, or let personal data out? Then it needs an entry; add it to decisions", name)
		if rt.path == "/v1/operations/{id}/events" {
			continue // it streams, see events_test.go
		}
		b.renew()
		key := ""
		var id string
		if rt.role != "" {
			secret, k, err := b.keys.Create(t.Context(), access.Key{Name: "desk", Owner: owner, Role: rt.role})
			require.NoError(t, err)
			key, id = string(secret), k.ID
		}
		if strings.HasPrefix(rt.path, "/v1/plans/") {
			b.plan = b.do(key, "POST", "/v1/plans", `{"project":"hq","desktops":["d1"]}`).json(t)["id"].(string)
		}
		if strings.HasPrefix(rt.path, "/v1/access-reviews/") {
			b.review = b.do(key, "POST", "/v1/access-reviews", `{"since":"1h"}`).json(t)["id"].(string)
		}
		if strings.HasSuffix(rt.path, ":end") { // of the same key
			session, _, err := b.keys.SignIn(t.Context(), key, access.Browser{})
			require.NoError(t, err)
			b.session = access.SessionID(string(session))
		}
		before := len(b.audit())
		b.log.Reset()
		a := b.do(key, rt.method, b.path(rt), want.body)
		require.Less(t, a.status, 300, "%s: %s", name, a.body)
		events := b.audit()
		events = events[:len(events)-before]
		lines := b.lines("audit")
		if want.action == "" {
			require.Empty(t, events, name)
			require.Empty(t, lines, name)
			continue
		}
		require.Len(t, events, 1, name)
		e := events[0]
		require.Equal(t, want.action, e.Action, name)
		require.Equal(t, tasks.AuditStarted, e.Outcome)
		require.Equal(t, []string{id, "desk", owner, "127.0.0.1", a.header.Get("X-Request-Id")}, []string{e.KeyID, e.KeyName, e.Owner, e.Address, e.RequestID}, name)
		require.WithinDuration(t, time.Now(), e.At, time.Minute)
		require.Equal(t, want.target, e.Target != "", name)
		if want.target {
			require.Contains(t, a.body+b.path(rt), e.Target, "%s says which", name)
		}
		if strings.Contains(want.body, "reason") {
			require.Equal(t, "left", e.Reason, name)
		}
		require.Len(t, lines, 1, name)
		for field, value := range map[string]any{
			"level": "info", "seq": float64(e.Seq), "hash": e.Hash, "key": id, "name": "desk", "owner": owner, "address": "127.0.0.1", "request_id": e.RequestID,
			"action": string(e.Action), "outcome": "started",
		} {
			require.Equal(t, value, lines[0][field], "%s: %s", name, field)
		}
	}
	require.Len(t, decisions, len(routes), "a row without a route")

	// No secret is in an entry or a line: no key, no session.
	text, err := json.Marshal(b.audit())
	require.NoError(t, err)
	for _, secret := range append(slices.Collect(maps.Values(b.key)), b.secret) {
		require.NotContains(t, string(text), secret)
		require.NotContains(t, b.log.String(), secret)
	}
	require.NotRegexp(t, `dk_[a-z2-7]{9}`, string(text), "only the beginning of a key is in it")
}

// Without an entry there is no action: the request is refused, and nothing is written.
func TestNoEntryNoAction(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	log := "detachd:{audit}:log"
	b.redis.Del(log)
	require.NoError(t, b.redis.Set(log, "not a log"))
	for _, rt := range routes {
		want := decisions[rt.method+" "+rt.path]
		if want.action == "" {
			continue
		}
		b.do(b.key[rt.role], "GET", "/v1/key", "") // notes the use of the key
		before := b.redis.Dump()
		a := b.do(b.key[rt.role], rt.method, b.path(rt), want.body)
		require.Equal(t, http.StatusInternalServerError, a.status, "%s %s: %s", rt.method, rt.path, a.body)
		require.Equal(t, before, b.redis.Dump(), "%s %s", rt.method, rt.path)
	}

	// Redis is away: 503, as for all requests.
	b.redis.Del(log)
	b.redis.SetError("LOADING Redis is loading the dataset in memory")
	require.Equal(t, 503, b.do(b.key[access.Operator], "POST", "/v1/projects/hq:pause", "").status)
}

// An action that fails has a second entry.
func TestAFailedActionHasASecondEntry(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	gate := "detachd:{p:hq}:gate"
	b.redis.Del(gate)
	require.NoError(t, b.redis.Set(gate, "not a hash"))
	before := len(b.audit())
	b.log.Reset()
	a := b.do(b.key[access.Operator], "POST", "/v1/projects/hq:resume", `{"reason":"it is over"}`)
	require.Equal(t, 500, a.status)
	events := b.audit()
	require.Len(t, events, before+2)
	failed, started := events[0], events[1]
	require.Equal(t, tasks.AuditStarted, started.Outcome)
	require.Equal(t, tasks.AuditFailed, failed.Outcome)
	require.Equal(t, started.Seq, failed.OfSeq)
	require.Equal(t, "internal", failed.Detail)
	require.Equal(t, "it is over", failed.Reason)
	require.Equal(t, started.RequestID, failed.RequestID)
	lines := b.lines("audit")
	require.Len(t, lines, 2)
	require.InDelta(t, started.Seq, lines[1]["of_seq"], 0)

	// What is refused before it begins has none.
	before = len(b.audit())
	for path, body := range map[string]string{
		"/v1/operations": `{"project":"hq"}`, "/v1/failures:dismiss": `{}`, "/v1/keys": `{"name":"x","role":"owner"}`, "/v1/projects/hq:pause": `{"for_seconds":-1}`,
		"/v1/keys/dk_nowhere0:revoke": "", "/v1/operations/nowhere:cancel": "", "/v1/sessions/nowhere:end": "", "/v1/redrives": `{"per_second":-1}`,
		"/v1/plans": `{}`, "/v1/operations/" + b.operation + ":retry": `{"reason":"` + strings.Repeat("x", 1001) + `"}`,
		"/v1/operations/" + b.operation + ":cancel": `{"reason":"` + strings.Repeat("x", 1001) + `"}`,
	} {
		require.Contains(t, []int{400, 404}, b.do(b.key[access.Admin], "POST", path, body).status, path)
	}
	require.Len(t, b.audit(), before)
}

// A request that is sent again is one entry: it changes nothing the second time.
func TestARepeatedRequestIsOneEntry(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	before := len(b.audit())
	for range 2 {
		b.create(`{"project":"hq","desktops":["d8"]}`, "Idempotency-Key", "k")
		require.Equal(t, 202, b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"per_second":1}`, "Idempotency-Key", "k").status)
	}
	require.Equal(t, 422, b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["d9"]}`, "Idempotency-Key", "k").status)
	events := b.audit()
	require.Len(t, events, before+2)
	require.Equal(t, tasks.AuditRedriveCreated, events[0].Action)
	require.Equal(t, "hq", events[0].Project)
	require.Equal(t, "1 matched", events[0].Detail)
	require.Equal(t, tasks.AuditOperationCreated, events[1].Action)
	require.Equal(t, "1 desktops, 0 users, 0 computers", events[1].Detail)
}

// Every refusal is one line: of no key, of a wrong one, of a role, and of what belongs to
// another project, which the sender cannot tell from what does not exist.
func TestEveryRefusalIsALine(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	other := b.failed("branch", "d1").ID
	redrive := b.do(b.key[access.Operator], "POST", "/v1/redrives", `{"per_second":1,"filter":{"project":"branch"}}`).json(t)["id"].(string)
	bound := b.newKey(access.Key{Name: "bound", Owner: "Bo", Role: access.Admin, Projects: []string{"hq"}})
	refused := func(status int, code, key, method, path string, lines int) {
		t.Helper()
		b.log.Reset()
		a := b.do(key, method, path, "", "X-Request-Id", "mine")
		require.Equal(t, status, a.status, "%s %s: %s", method, path, a.body)
		got := b.lines("refused")
		require.Len(t, got, lines, "%s %s: %s", method, path, b.log)
		for _, line := range got {
			require.Equal(t, []any{"info", code, float64(status), method, "mine", "127.0.0.1"},
				[]any{line["level"], line["outcome"], line["status"], line["method"], line["request_id"], line["address"]})
			if key == bound {
				require.Equal(t, []any{bound[:11], "bound", "Bo"}, []any{line["key"], line["name"], line["owner"]})
			}
			if key != "" {
				require.NotContains(t, fmt.Sprint(line), key)
			}
		}
	}
	for _, rt := range routes {
		if rt.role == "" {
			continue
		}
		refused(401, "no_key", "", rt.method, b.path(rt), 1)
		refused(401, "key_refused", "hunter2", rt.method, b.path(rt), 1)
		if rt.role != access.Viewer {
			refused(403, "role_missing", b.key[access.Roles[slices.Index(access.Roles, rt.role)-1]], rt.method, b.path(rt), 1)
		}
	}
	for _, path := range []string{"", "/desktops", "/calls", "/report", "/events"} {
		refused(404, "operation_not_found", bound, "GET", "/v1/operations/"+other+path, 1)
		refused(404, "operation_not_found", bound, "GET", "/v1/operations/nowhere"+path, 0)
	}
	refused(404, "operation_not_found", bound, "POST", "/v1/operations/"+other+":cancel", 1)
	refused(404, "redrive_not_found", bound, "GET", "/v1/redrives/"+redrive, 1)
	refused(404, "project_not_found", bound, "POST", "/v1/projects/branch:pause", 1)
	refused(404, "project_not_found", bound, "POST", "/v1/projects/nowhere:pause", 0)
	refused(404, "plan_not_found", bound, "GET", "/v1/plans/"+b.plan, 1)
	refused(404, "session_not_found", bound, "POST", "/v1/sessions/"+b.session+":end", 1)
	refused(404, "session_not_found", bound, "POST", "/v1/sessions/5d41402abc4b2a76b971:end", 0)
	refused(403, "project_not_allowed", bound, "GET", "/v1/keys", 1)
}

// An admin of certain projects sees what concerns these and what its key did, and nothing
// from which it could count the rest.
func TestAuditOfABoundKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	secret, bound, err := b.keys.Create(t.Context(), access.Key{Name: "bound", Role: access.Admin, Projects: []string{"hq"}})
	require.NoError(t, err)
	post := func(key, path string) {
		t.Helper()
		require.Less(t, b.do(key, "POST", path, "").status, 300, path)
	}
	root := b.key[access.Admin]
	post(root, "/v1/projects/branch:pause")
	post(root, "/v1/projects/hq:pause")
	require.Equal(t, 201, b.do(root, "POST", "/v1/keys", `{"name":"x","role":"viewer"}`).status)
	require.Equal(t, 201, b.do(root, "POST", "/v1/keys", `{"name":"y","role":"viewer","projects":["hq"]}`).status)
	require.Equal(t, 201, b.do(root, "POST", "/v1/keys", `{"name":"z","role":"viewer","projects":["hq","branch"]}`).status)
	post(string(secret), "/v1/projects/hq:resume")
	post(root, "/v1/projects/branch:resume")

	var all, some api.Page[tasks.AuditEvent]
	require.NoError(t, json.Unmarshal([]byte(b.do(root, "GET", "/v1/audit", "").body), &all))
	require.Len(t, all.Items, 7)
	require.Equal(t, b.audit(), all.Items)
	require.NoError(t, json.Unmarshal([]byte(b.do(string(secret), "GET", "/v1/audit", "").body), &some))
	var got []string
	for _, e := range some.Items {
		got = append(got, string(e.Action)+" "+e.Project)
		require.Zero(t, e.Seq)
		require.Empty(t, e.Hash+e.Previous)
	}
	require.Equal(t, []string{"project.resumed hq", "key.created hq", "project.paused hq"}, got)
	require.Equal(t, bound.ID, some.Items[0].KeyID)

	for query, n := range map[string]int{"action=key.created": 3, "by=admin": 6, "by=" + bound.ID: 1, "target=branch": 2, "from=2199-01-01T00:00:00Z": 0, "to=2199-01-01T00:00:00Z": 7} {
		require.Len(t, b.do(root, "GET", "/v1/audit?"+query, "").json(t)["items"], n, query)
	}
	require.Equal(t, 403, b.do(b.key[access.Operator], "GET", "/v1/audit", "").status)
}

// Sessions are those of the key; an admin of all projects has all.
func TestSessionsOverHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	in := func(role access.Role) string {
		t.Helper()
		session, _, err := b.keys.SignIn(t.Context(), b.key[role], access.Browser{Address: "192.0.2.7", UserAgent: "Mozilla"})
		require.NoError(t, err)
		return access.SessionID(string(session))
	}
	mine, theirs := in(access.Viewer), in(access.Operator)
	list := func(key string) (out []string) {
		t.Helper()
		for _, x := range b.do(key, "GET", "/v1/sessions", "").json(t)["items"].([]any) {
			out = append(out, x.(map[string]any)["id"].(string))
		}
		return out
	}
	require.Equal(t, []string{mine}, list(b.key[access.Viewer]))
	require.ElementsMatch(t, []string{mine, theirs}, list(b.key[access.Admin]))
	bound := b.newKey(access.Key{Name: "bound", Role: access.Admin, Projects: []string{"hq"}})
	require.Empty(t, list(bound))
	require.Equal(t, 404, b.do(b.key[access.Viewer], "POST", "/v1/sessions/"+theirs+":end", "").status)
	require.Equal(t, 404, b.do(bound, "POST", "/v1/sessions/"+theirs+":end", "").status)
	require.Equal(t, 200, b.do(b.key[access.Viewer], "POST", "/v1/sessions/"+mine+":end", "").status)
	require.Equal(t, 200, b.do(b.key[access.Admin], "POST", "/v1/sessions/"+theirs+":end", "").status)
	require.Empty(t, list(b.key[access.Admin]))

	inside := NewInside(Config{Store: b.store, Keys: b.keys, Now: time.Now})
	id := in(access.Viewer)
	sessions, err := inside.As(access.Key{ID: b.key[access.Viewer][:11], Role: access.Viewer}, Origin{Session: id}).Sessions(t.Context())
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	require.True(t, sessions[0].Current)
	require.Equal(t, "192.0.2.7", sessions[0].Address)
}

// A key has an owner: as requested, or that of the key that creates it.
func TestOwnersOfKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	root := b.newKey(access.Key{Name: "root", Owner: "Ann Lee", Role: access.Admin})
	owner := func(key, body string) any {
		t.Helper()
		a := b.do(key, "POST", "/v1/keys", body)
		require.Equal(t, 201, a.status, a.body)
		require.Equal(t, a.json(t)["owner"], b.do(a.json(t)["key"].(string), "GET", "/v1/key", "").json(t)["owner"])
		return a.json(t)["owner"]
	}
	require.Equal(t, "bo@example.com", owner(root, `{"name":"a","role":"viewer","owner":"bo@example.com"}`))
	require.Equal(t, "Ann Lee", owner(root, `{"name":"a","role":"viewer"}`))
	for _, bad := range []string{" x", "a\u0000b", "\u202e", strings.Repeat("x", 121)} {
		text, err := json.Marshal(map[string]string{"name": "a", "role": "viewer", "owner": bad})
		require.NoError(t, err)
		a := b.do(root, "POST", "/v1/keys", string(text))
		require.Equal(t, 400, a.status, "%q", bad)
		require.True(t, bytes.Contains([]byte(a.body), []byte(`"pointer":"/owner"`)), a.body)
	}
}
