package tasks

import (
	"regexp"
	"strings"
)

var traceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// ValidTraceparent reports whether s is a W3C traceparent of version 00: trace id,
// span id and flags, in small hex digits, neither id all zeros.
func ValidTraceparent(s string) bool {
	return traceparent.MatchString(s) && strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}
