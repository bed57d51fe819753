// Package policy decides, for this module's worker and for the commands and pages that print
// its tables; it is not a public API. It says what an error of the cloud means and what
// follows (policy.go), what a reading of a desktop means (reading.go), and what a person can
// do about a code (advice.go). It is pure: no I/O, no state.
package policy
