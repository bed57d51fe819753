// Package policy is for this module's worker and what shows its tables, and no public API.
// It says what an error of the cloud means and what is done about it (policy.go), what a
// reading of a desktop means (reading.go), and what a person can do about a code
// (advice.go). It is pure: it asks nobody, and keeps nothing.
package policy
