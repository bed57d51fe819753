package apiclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Effect says whether a request that failed can have changed anything.
type Effect int

const (
	// EffectPossible: the request may have left and no answer rules its
	// execution out (time-out, cut connection, 500, 502, 503, 504, an
	// unreadable 200). Read the desktops before sending again.
	EffectPossible Effect = iota
	// EffectNone: the request was refused, never left, or only reads;
	// repeating it is safe.
	EffectNone
)

func (e Effect) String() string {
	if e == EffectNone {
		return "none"
	}
	return "possible"
}

// Error is what every method of Client returns when there is no usable result.
// Its texts are cut to maxText characters and hold no credential of the
// request; apart from that they are as they came.
type Error struct {
	Op         string        // the API operation, for example "DetachInstances"
	Status     int           // HTTP status; 0 when no reply came
	Code       string        // error_code, for example "WKS.00010032" or "APIGW.0308"; may be empty
	Message    string        // error_msg, or what the reply looks like when it is not one of the API; hostile input
	Detail     string        // error_detail; hostile input
	AuthzInfo  string        // encoded_authorization_message of a 403, opaque
	RequestID  string        // X-Request-Id header, else request_id of a gateway body, else X-IAM-Trace-Id
	RetryAfter time.Duration // from Retry-After (seconds or date), 0 when absent, at most an hour
	Effect     Effect
	AuthFault  bool // the credentials were refused (401, or IAM refused the password): do not go on with them
	// NotAPI: what answered is not the API: 407, any 3xx, HTML whatever its status,
	// other content that is no JSON object (502 to 504 apart, which are an outage).
	// It says nothing about what was asked. Nothing was executed with 407, 3xx and
	// 4xx; with 2xx and 5xx it may have been, as Effect says.
	NotAPI bool
	Host   string // that answered, with its port if it has one; empty when no reply came
	// Local: this client refused the request for what it says, before anything was
	// sent. It tells nothing about the cloud, and would be refused again.
	Local bool
	About string // the one id or name that a reading was refused for; else empty
	Err   error  // the cause where there is one (context, net, decoding)
}

const (
	maxText       = 1000          // documented length of error_msg and error_detail
	maxName       = 255           // documented length of ids, names and codes
	maxAuthzInfo  = 64 << 10      // undocumented; the message is useless when cut
	maxSummary    = 120           // of a reply that is not JSON
	maxRetryAfter = 1 * time.Hour // a longer wait is a person's business
)

// Error is for people: printable on a terminal, free of credentials.
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

// Unwrap gives the cause: a context error, a net error, a decoding error.
func (e *Error) Unwrap() error { return e.Err }

// newError turns what came back for c into an Error. cause may be nil.
func newError(c call, r reply, cause error) *Error {
	e := &Error{Op: c.op, Status: r.status, RetryAfter: retryAfter(r.header), Err: cause}
	if r.status != 0 {
		e.describe(r)
	}
	e.whoAnswered(r)
	e.RequestID = requestID(r.header, e.RequestID)
	for _, text := range []*string{&e.Code, &e.Message, &e.Detail, &e.AuthzInfo, &e.RequestID} {
		*text = strike(*text, r.secrets)
	}
	e.Code, e.RequestID = clip(e.Code, maxName), clip(e.RequestID, maxName)
	e.Message, e.Detail = clip(e.Message, maxText), clip(e.Detail, maxText)
	e.AuthzInfo = clip(e.AuthzInfo, maxAuthzInfo)
	e.Effect = effectOf(c, r, e.Code)
	return e
}

// effectOf is conservative: what is not known to be a refusal may have been
// executed. Of the 5xx only the two that are documented as "could not be
// processed" are refusals; a 502 or a 504 of the gateway says nothing about
// the service behind it.
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

// errorBody covers the service (BaseResponse), the gateway (request_id) and
// both shapes of IAM ({"error":{…}} and error_code).
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
		e.Message = "a proxy asks for a user and a password: " + e.Message
	case isRedirect(r.status):
		e.Message = redirection(r.header) + ": " + e.Message
	}
}

// summary says what came in place of an answer, usually a page of a firewall.
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
	}, clip(strike(string(r.body), r.secrets), 8*maxSummary))
	return fmt.Sprintf("reply is not one of the API: %s, %d bytes: %s",
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

// retryAfter reads seconds or a date. A date counts from the reply's own Date,
// so that a wrong clock here does no harm.
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

// printable makes s safe for a terminal and a log line.
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

// clip cuts s to limit characters, and marks the cut.
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
