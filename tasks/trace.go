package tasks

import (
	"regexp"
	"slices"
	"strings"
)

var (
	traceparent  = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)
	traceMember  = regexp.MustCompile(`^([a-z0-9][a-z0-9_*/@-]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$`)
	zeroTraceID  = strings.Repeat("0", 32)
	zeroParentID = strings.Repeat("0", 16)
)

// Traceparent returns a W3C traceparent in version 00, or "" if s is invalid. Of later
// versions it reads what they share with 00, as the specification asks.
func Traceparent(s string) string {
	m := traceparent.FindStringSubmatch(s)
	if m == nil || m[1] == "ff" || m[1] == "00" && m[5] != "" || m[2] == zeroTraceID || m[3] == zeroParentID {
		return ""
	}
	return "00-" + m[2] + "-" + m[3] + "-" + m[4]
}

// TraceID returns the trace of a valid traceparent, else "".
func TraceID(s string) string {
	if s = Traceparent(s); s == "" {
		return ""
	}
	return s[3:35]
}

// SpanID returns the span of a valid traceparent, else "".
func SpanID(s string) string {
	if s = Traceparent(s); s == "" {
		return ""
	}
	return s[36:52]
}

const (
	maxTraceMembers = 32
	maxTracestate   = 512 // characters, as many as everybody must pass on
)

// Tracestate joins the values of tracestate headers, or returns "" if they are not what W3C
// Trace Context allows. The last members are dropped if all are longer than 512 characters.
func Tracestate(values ...string) string {
	var members, keys []string
	for member := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if member = strings.Trim(member, " \t"); member == "" {
			continue
		}
		m := traceMember.FindStringSubmatch(member)
		if m == nil || slices.Contains(keys, m[1]) || len(members) == maxTraceMembers {
			return ""
		}
		members, keys = append(members, member), append(keys, m[1])
	}
	for len(strings.Join(members, ",")) > maxTracestate {
		members = members[:len(members)-1]
	}
	return strings.Join(members, ",")
}
