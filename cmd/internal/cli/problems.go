package cli

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redisfault"
)

const planAgain = "make the plan again, with the same key or as the same person, and run it within an hour; nothing was queued"

// problemAdvice gives the exit code and the next step for the problems of a server.
var problemAdvice = map[string]struct {
	exit int
	next string
}{
	"no_key": {exitNotAuthorised, "set DETACHD_API_KEY, DETACHD_API_KEY_FILE or --key-file"},
	"key_refused": {exitNotAuthorised,
		"check the key; where Redis is configured, detachd keys list shows if it is revoked or expired"},
	"not_found":             {exitUsage, "check --server or DETACHD_SERVER: the address without /v1; or the server is older than this"},
	"plan_not_found":        {exitUsage, planAgain},
	"plan_expired":          {exitUsage, planAgain},
	"slow_down":             {exitNotAuthorised, "check the key and wait: wrong keys were sent from your address, by you or by others"},
	"role_missing":          {exitNotAuthorised, "use a key with that role; detachd keys create creates one"},
	"project_not_allowed":   {exitNotAuthorised, "use a key for that project, or for all projects"},
	"protection_not_found":  {exitUsage, "detachd protect list shows the protections"},
	"protection_exists":     {exitUsage, "use another name; detachd protect list shows those that are taken"},
	"protection_configured": {exitUsage, "remove it from protected: in the configuration of servers and workers, and restart them"},
	"schedule_not_found":    {exitUsage, "detachd schedule list shows the schedules"},
	"schedule_exists":       {exitUsage, "use another name; detachd schedule list shows those that are taken"},
	"schedule_configured":   {exitUsage, changeConfigured},
	"no_such_tick":          {exitUsage, "detachd schedule show SCHEDULE shows its next runs"},
	"too_many_runs":         {exitInternal, "detachd doctor checks the workers"},
	"session_not_found":     {exitUsage, "detachd sessions list shows the sessions"},
	"key_not_found":         {exitUsage, "detachd keys list shows the keys"},
	"nothing_to_undo":       {exitUsage, seeRows},
	"too_large":             {exitUsage, "split the list"},
	"protected":             {exitUsage, seeProtections},
	api.CodeInvalid:         {exitUsage, fixInput},
	api.CodeNotDetachd:      {exitInternal, "check --server or DETACHD_SERVER, and any proxy in front of the server"},
	api.CodeRecordAltered:   {exitFailed, checkAccess},
	api.CodeUnsettled:       {exitRunning, "run it again in a minute"},
}

// explainServer explains the problems of a server and errors of the connection to
// it; nil for others.
func explainServer(err error) *failure {
	var p *api.Problem
	var way *url.Error
	switch {
	case errors.As(err, &p):
		return explainProblem(p)
	case errors.As(err, &way):
		next := "check that it runs (detachd serve) and that --server or DETACHD_SERVER is right"
		if dial, ok := errors.AsType[*net.OpError](err); way.Op != "Get" && !(ok && dial.Op == "dial") {
			next += "; the request may have taken effect: check first"
		}
		return &failure{exitInternal, fmt.Errorf("cannot reach the server at %s: %w", hostOf(way.URL), way.Err), next}
	case errors.Is(err, api.ErrBrokeOff):
		return &failure{exitInternal, err, "run it again; if it fails again, check the server's log"}
	}
	return nil
}

// hostOf is the host of a URL. The path is of the client's making and tells people nothing.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the address"
	}
	return u.Host
}

func explainProblem(p *api.Problem) *failure {
	advice, known := problemAdvice[p.Code]
	fault := redisfault.ByCode(p.Code)
	switch {
	case known:
	case fault != nil && fault.Passes:
		advice.exit, advice.next = exitInternal, "the server's Redis has a problem that may pass: run the command again; "+
			"if it lasts, where the server runs: "+fault.Advice
	case fault != nil:
		advice.exit, advice.next = exitInternal, "the server's Redis has a problem; where the server runs: "+fault.Advice
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		advice.exit, advice.next = exitNotAuthorised, "check the key, its role and its projects"
	case p.Status == http.StatusTooManyRequests:
		advice.exit, advice.next = exitInternal, "wait, then run it again"
	case p.Status >= 400 && p.Status < 500:
		advice.exit, advice.next = exitUsage, fixInput
	default:
		advice.exit, advice.next = exitInternal, "look for the request in the server's log, and run detachd doctor where the server runs"
	}
	if p.RetryAfter > 0 {
		advice.next += fmt.Sprintf(" (the server asks to wait %s)", p.RetryAfter)
	}
	return &failure{advice.exit, &refusal{p}, advice.next}
}

// refusal is a problem for people: it names flags in place of the request's fields,
// and the request id, which is in the server's log.
type refusal struct{ *api.Problem }

func (r *refusal) Unwrap() error { return r.Problem }

func (r *refusal) Error() string {
	shown := *r.Problem
	shown.Errors = nil
	for _, f := range r.Errors {
		shown.Errors = append(shown.Errors, api.Fault{Pointer: flagOf(f.Pointer), Detail: f.Detail})
	}
	text := shown.Error()
	if r.RequestID == "" && r.Code != api.CodeNotDetachd {
		return text // of this process
	}
	about := []string{fmt.Sprintf("%d %s", r.Status, r.Code)}
	if r.RequestID != "" {
		about = append(about, "request "+r.RequestID)
	}
	return fmt.Sprintf("the server refused: %s (%s)", text, strings.Join(about, ", "))
}

// flags are the flags whose names differ from the field or parameter.
var flags = map[string]string{
	"/last_working_day/date": "--last-day", "/last_working_day/zone": "--zone",
	"/not_before": "--at", "/expires_at": "--expires", "/projects": "--project", "/for_seconds": "--for", "/users": "--user",
	"/expected_users": "--expected-user", "/shutoff_after_detach": "--shutoff", "from": "--since", "to": "--until",
}

// sourceFlags are those of the source of a schedule.
var sourceFlags = map[string]string{
	"desktops": "--desktop", "users": "--user", "computers": "--computer", "file": "--file", "pool": "--pool", "tag": "--tag",
	"computer": "--pattern", "unused_days": "--unused-days", "user": "--users-are", "at_least": "--at-least", "rows": "--rows",
	"since": "--came-back",
}

// sourceFlag gives the flag for a pointer into the source of a schedule.
func sourceFlag(pointer string) string {
	parts := strings.Split(strings.TrimLeft(pointer, "/"), "/")
	if len(parts) > 1 && parts[0] == "not_in" && parts[1] == "file" {
		return "--not-in:"
	}
	for _, part := range parts {
		if flag := sourceFlags[part]; flag != "" {
			return flag + ":"
		}
	}
	return "the source"
}

// flagOf gives the flag for a pointer into a request, for example --at for
// /not_before. A desktop gets its position in the list.
func flagOf(pointer string) string {
	field, place, _ := strings.Cut(strings.TrimPrefix(pointer, "/"), "/")
	switch {
	case pointer == "":
		return ""
	case field == "source":
		return sourceFlag(place)
	case field == "desktops":
		return "desktop " + place
	case strings.HasPrefix(pointer, "/") && flags["/"+field] != "":
		return flags["/"+field] + ":"
	case flags[pointer] != "":
		return flags[pointer] + ":"
	}
	return "--" + strings.ReplaceAll(field, "_", "-") + ":"
}

// retryAfter is how long the server asks to wait.
func retryAfter(err error) time.Duration {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.RetryAfter
	}
	return 0
}

// mayPass reports that a repeated request may succeed: the error is not a refusal.
func mayPass(err error) bool {
	var p *api.Problem
	known := redisfault.Of(localCause(err))
	if errors.As(localCause(err), &p) {
		known = redisfault.ByCode(p.Code)
	}
	if known != nil {
		return known.Passes
	}
	return p == nil || p.Status >= 500 || p.Status == http.StatusTooManyRequests || p.Code == api.CodeNotDetachd
}
