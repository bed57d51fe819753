package apiclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Effect says whether a failed request may have changed something.
type Effect int

const (
	// EffectPossible: the request may have been executed (time-out, broken connection,
	// 500, 502, 503, 504, an unreadable 200). Read the desktops before sending it again.
	EffectPossible Effect = iota
	// EffectNone: the request was refused, was not sent, or only reads. It is safe to
	// send it again.
	EffectNone
)

func (e Effect) String() string {
	if e == EffectNone {
		return "none"
	}
	return "possible"
}

// Error is the error of every method of Client. Its texts are as received, but cut to
// 1000 characters (codes and ids: 255) and without the credentials of the request.
type Error struct {
	Op         string        // the API operation, for example "DetachInstances"
	Status     int           // HTTP status; 0 when no reply came
	Code       string        // error_code, for example "WKS.00010032" or "APIGW.0308"; may be empty
	Message    string        // error_msg, or a summary of a reply that is not from the API; hostile input
	Detail     string        // error_detail; hostile input
	AuthzInfo  string        // encoded_authorization_message of a 403, opaque
	RequestID  string        // X-Request-Id header, else request_id of a gateway body, else X-IAM-Trace-Id
	RetryAfter time.Duration // from Retry-After (seconds or date); 0 if absent, at most 1 hour
	Effect     Effect
	AuthFault  bool // the credentials were refused (401, or IAM refused the password): stop using them
	// NotAPI: a proxy, firewall or login page answered instead of the API: a 407, any
	// 3xx, HTML, or other content that is not a JSON object (except with 502 to 504,
	// which are outages). With 407, 3xx and 4xx nothing was executed; with 2xx and 5xx
	// see Effect.
	NotAPI bool
	Host   string // that answered, with its port if the address has one; empty without a reply
	Local  bool   // the client rejected the request as invalid and did not send it; retrying is useless
	About  string // the only id or name in a read request that was refused; else empty
	Err    error  // the cause, if any (context, net, decoding)
}

const (
	maxText       = 1000          // documented length of error_msg and error_detail
	maxName       = 255           // documented length of ids, names and codes
	maxAuthzInfo  = 64 << 10      // undocumented; the message is useless when cut
	maxSummary    = 120           // characters quoted from a reply that is not JSON
	maxRetryAfter = 1 * time.Hour // a longer wait needs a person
)

// Error returns a text that is safe to print on a terminal and has no credentials.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.About != "" {
		b.WriteString(" of " + printable(strconv.Quote(e.About), maxName))
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": HTTP %d", e.Status)
	} else if e.Effect == EffectPossible {
		b.WriteString(": no reply")
	}
	if e.NotAPI {
		b.WriteString(": answered by " + printable(e.Host, maxName))
	}
	for _, text := range []string{e.Code, e.Message, e.Detail} {
		if text != "" {
			b.WriteString(": " + printable(text, maxText))
		}
	}
	if e.Err != nil {
		b.WriteString(": " + printable(e.Err.Error(), maxText))
	}
	if e.Effect == EffectPossible {
		b.WriteString("; it may have been executed")
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", printable(e.RequestID, maxName))
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// culpritPattern matches the desktops in a message such as "Operation conflict. The
// desktop current instance status is [x] and deny operation [y], resource id [z]."
var culpritPattern = regexp.MustCompile(`(?i)resource ids? \[([^\]]+)\]`)

// Culprits returns the desktop ids that caused a call to be refused: About, and those in
// Message and Detail, in that order. It may repeat ids or return ids that were not in the
// call, because the texts are hostile input; nil if the error names no desktop.
func (e *Error) Culprits() []string {
	var ids []string
	if e.About != "" {
		ids = append(ids, e.About)
	}
	for _, text := range []string{e.Message, e.Detail} {
		for _, match := range culpritPattern.FindAllStringSubmatch(text, -1) {
			for id := range strings.SplitSeq(match[1], ",") {
				ids = append(ids, strings.TrimSpace(id))
			}
		}
	}
	return ids
}

// newError makes an Error of the reply to c. cause may be nil.
func newError(c call, r reply, cause error) *Error {
	e := &Error{Op: c.op, Status: r.status, RetryAfter: retryAfter(r.header), Err: cause}
	if r.status != 0 {
		e.describe(r)
	}
	e.setHost(r)
	e.RequestID = requestID(r.header, e.RequestID)
	for _, text := range []*string{&e.Code, &e.Message, &e.Detail, &e.AuthzInfo, &e.RequestID} {
		*text = redact(*text, r.secrets)
	}
	e.Code, e.RequestID = clip(e.Code, maxName), clip(e.RequestID, maxName)
	e.Message, e.Detail = clip(e.Message, maxText), clip(e.Detail, maxText)
	e.AuthzInfo = clip(e.AuthzInfo, maxAuthzInfo)
	e.Effect = effectOf(c, r, e.Code)
	return e
}

// effectOf is conservative: a request may have been executed unless the reply is known to
// be a refusal. Of the 5xx only the two that are documented as "could not be processed"
// are refusals; a 502 or 504 of the gateway says nothing about the service behind it.
func effectOf(c call, r reply, code string) Effect {
	switch {
	case c.harmless, !r.left:
		return EffectNone
	case r.status >= 300 && r.status < 500:
		return EffectNone
	case r.status == http.StatusServiceUnavailable && (code == "APIGW.0613" || code == "WKS.00050902"):
		return EffectNone
	default:
		return EffectPossible
	}
}

// errorBody decodes the errors of the service (BaseResponse), of the gateway (request_id)
// and of IAM in both formats ({"error":{…}} and error_code).
type errorBody struct {
	Code      text            `json:"error_code"`
	Message   text            `json:"error_msg"`
	Detail    text            `json:"error_detail"`
	AuthzInfo text            `json:"encoded_authorization_message"`
	RequestID text            `json:"request_id"`
	Error     json.RawMessage `json:"error"`
}

type keystoneError struct {
	Message text `json:"message"`
	Title   text `json:"title"`
}

func (e *Error) describe(r reply) {
	var b errorBody
	if err := decodeObject(r.body, &b); err == nil {
		var k keystoneError
		if decodeObject(b.Error, &k) == nil {
			b.Message = firstText(b.Message, k.Message, k.Title)
		}
		e.Code, e.Message, e.Detail = string(b.Code), string(b.Message), string(b.Detail)
		e.AuthzInfo, e.RequestID = string(b.AuthzInfo), string(b.RequestID)
	}
	if e.Code == "" && e.Message == "" {
		e.Message = summary(r)
	}
	switch {
	case r.status == http.StatusProxyAuthRequired:
		e.Message = "a proxy requires a user and a password: " + e.Message
	case isRedirect(r.status):
		e.Message = redirection(r.header) + ": " + e.Message
	}
}

// summary describes a reply that is not from the API, usually a page of a firewall.
func summary(r reply) string {
	kind := r.header.Get("Content-Type")
	if kind == "" {
		kind = "no content type"
	}
	if len(r.body) == 0 {
		return "empty reply, " + kind
	}
	start := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, clip(redact(string(r.body), r.secrets), 8*maxSummary))
	return fmt.Sprintf("the reply is not from the API: %s, %d bytes: %s",
		kind, len(r.body), clip(strings.Join(strings.Fields(start), " "), maxSummary))
}

func requestID(h http.Header, inBody string) string {
	for _, id := range []string{h.Get("X-Request-Id"), inBody, h.Get("X-Iam-Trace-Id")} {
		if id != "" {
			return id
		}
	}
	return ""
}

// retryAfter parses seconds or a date. A date is relative to the reply's own Date, so that
// a wrong clock on this machine does not matter.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		seconds = min(max(seconds, 0), int64(maxRetryAfter/time.Second))
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// printable escapes s, cut to limit characters, for a terminal or a log line.
func printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range clip(s, limit) {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// clip cuts s to limit characters and marks the cut with "…".
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n == limit {
			return s[:i] + "…"
		}
		n++
	}
	return s
}
