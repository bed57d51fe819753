package apiclient

import (
	"fmt"
	"strings"
)

// Secret is a credential. It prints, formats and marshals as "<secret>" (as
// nothing when it is empty); Reveal gives the value to the one place that must
// send it.
//
// Trap: fmt cannot call methods on unexported fields, nor on what these point
// to when the verb does not suit a pointer (%s). A struct that keeps a Secret in
// one keeps it behind one more pointer, which fmt does not follow, and has a
// Format method for itself.
type Secret string

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "<secret>"
}

// GoString keeps %#v from printing the value.
func (s Secret) GoString() string { return s.String() }

// Format keeps every fmt verb (%x, %q, …) from printing the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText serves JSON, YAML and zerolog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// inHeader reports whether the value can be sent in a header. net/http refuses
// what is not before it dials, in a way that cannot be told from a lost reply.
func (s Secret) inHeader() bool { return s != "" && validHeader(string(s)) }

func validHeader(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// Shorter ones are no credentials, and striking them out would eat the text.
const minSecretLength = 4

// strike replaces every one of secrets in s. Replies may quote the request.
func strike(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) >= minSecretLength {
			s = strings.ReplaceAll(s, secret, "<secret>")
		}
	}
	return s
}
