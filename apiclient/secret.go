package apiclient

import (
	"fmt"
	"strings"
)

// Secret is a credential. It prints, formats and marshals as "<secret>", or as "" when
// empty; Reveal returns the value for sending it.
//
// Trap: fmt cannot call methods on unexported fields, nor on what they point to if the
// verb does not suit a pointer (%s). A struct with a Secret in an unexported field must
// therefore hold it behind one more pointer, which fmt does not follow, and have its own
// Format method.
type Secret string

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "<secret>"
}

// GoString prevents %#v from printing the value.
func (s Secret) GoString() string { return s.String() }

// Format prevents every fmt verb (%x, %q, …) from printing the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText hides the value from JSON, YAML and zerolog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// inHeader reports whether the value can be sent in a header. net/http rejects an invalid
// one before it dials, with an error that cannot be told from a lost reply.
func (s Secret) inHeader() bool { return s != "" && validHeader(string(s)) }

func validHeader(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// minSecretLength is the least length of a credential: redacting shorter texts would
// destroy the message.
const minSecretLength = 4

// redact replaces all secrets in s, because replies may quote the request.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) >= minSecretLength {
			s = strings.ReplaceAll(s, secret, "<secret>")
		}
	}
	return s
}
