package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redisfault"
)

// problemAdvice says what to do about the answers of a server, by their code.
var problemAdvice = map[string]struct {
	exit int
	next string
}{
	"no_key":              {exitNotAuthorised, "give a key: DETACHD_API_KEY, DETACHD_API_KEY_FILE or --key-file"},
	"key_refused":         {exitNotAuthorised, "check the key; detachd keys list, where Redis is configured, says whether it was revoked or has expired"},
	"slow_down":           {exitNotAuthorised, "check the key, and wait: wrong keys have come from this address, yours or others'"},
	"role_missing":        {exitNotAuthorised, "use a key with that role; detachd keys create makes one"},
	"project_not_allowed": {exitNotAuthorised, "use a key that is for the project, or for all"},
	"key_not_found":       {exitUsage, "detachd keys list shows the keys there are"},
	"too_large":           {exitUsage, "split the list"},
	api.CodeInvalid:       {exitUsage, "mend what is named and run it again"},
	api.CodeNotDetachd:    {exitInternal, "check the address given with --server or DETACHD_SERVER, and what stands in front of the server"},
	api.CodeRecordAltered: {exitFailed, askWho},
	api.CodeUnsettled:     {exitRunning, "run it again in a minute"},
}

// explainServer knows what servers answer, and errors on the way to one; nil if
// err is neither.
func explainServer(err error) *failure {
	var p *api.Problem
	var way *url.Error
	switch {
	case errors.As(err, &p):
		return explainProblem(p)
	case errors.As(err, &way):
		return &failure{exitInternal, fmt.Errorf("cannot reach the server at %s: %w", hostOf(way.URL), way.Err),
			"check that it runs (detachd serve) and that --server or DETACHD_SERVER is right; " +
				"what was being asked for may have been done: look, or repeat detach with the same --idempotency-key"}
	case errors.Is(err, api.ErrBrokeOff):
		return &failure{exitInternal, err, "run it again; if it breaks off again, the server's log says why"}
	}
	return nil
}

// hostOf is where a URL goes; the rest of it says nothing to who did not write it.
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
		advice.exit, advice.next = exitInternal, "it is the server's Redis, and it may pass: run it again, detach with the same --idempotency-key; if it lasts, where the server runs: "+fault.Advice
	case fault != nil:
		advice.exit, advice.next = exitInternal, "it is the server's Redis; where the server runs: "+fault.Advice
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		advice.exit, advice.next = exitNotAuthorised, "check the key, and what it is for"
	case p.Status == http.StatusTooManyRequests:
		advice.exit, advice.next = exitInternal, "wait, and run it again"
	case p.Status >= 400 && p.Status < 500:
		advice.exit, advice.next = exitUsage, "mend it and run it again"
	default:
		advice.exit, advice.next = exitInternal, "look for the request in the server's log; detachd doctor, where it runs, looks at what it depends on"
	}
	if p.RetryAfter > 0 {
		advice.next += fmt.Sprintf(" (it asks to wait %s)", p.RetryAfter)
	}
	return &failure{advice.exit, &refusal{p}, advice.next}
}

// refusal is a problem as it is shown: with the flags in place of the fields of
// the request, and by what it can be found in the server's log.
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

// flags are the flags that are not called as the field or parameter is.
var flags = map[string]string{
	"/not_before": "--at", "/expires_at": "--expires", "/projects": "--project", "/for_seconds": "--for", "/users": "--user",
	"/expected_users": "--expected-user", "/shutoff_after_detach": "--shutoff", "from": "--since", "to": "--until",
}

// flagOf names the flag that a pointer into a request is about: --at for
// /not_before. Desktops are named by their place in the list.
func flagOf(pointer string) string {
	field, place, _ := strings.Cut(strings.TrimPrefix(pointer, "/"), "/")
	switch {
	case pointer == "":
		return ""
	case field == "desktops":
		return "desktop " + place
	case strings.HasPrefix(pointer, "/") && flags["/"+field] != "":
		return flags["/"+field] + ":"
	case flags[pointer] != "":
		return flags[pointer] + ":"
	}
	return "--" + strings.ReplaceAll(field, "_", "-") + ":"
}

// retryAfter is how long a server has asked to wait.
func retryAfter(err error) time.Duration {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.RetryAfter
	}
	return 0
}

// mayPass reports that asking again may help: it is not that the server refuses.
func mayPass(err error) bool {
	var p *api.Problem
	known := redisfault.Of(asItWas(err))
	if errors.As(asItWas(err), &p) {
		known = redisfault.ByCode(p.Code)
	}
	if known != nil {
		return known.Passes
	}
	return p == nil || p.Status >= 500 || p.Status == http.StatusTooManyRequests || p.Code == api.CodeNotDetachd
}
