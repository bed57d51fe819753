// Package report writes the evidence of an operation, for an auditor, and
// verifies it: per desktop who asked and why, whose it was before, the calls, the
// times, and the proof, as a page, as JSON, or as a table for a spreadsheet.
//
// The last line of a report has the SHA-256 of every byte before it, so that
// whatever is altered afterwards is found. Somebody who computes that anew as
// well is found by the head of the operation's trail (see tasks.Chain), which
// every report has and which can be compared with what was kept elsewhere: the
// log of the worker that ended the operation, or the record. A report in JSON has
// all that the trail was made of: its head is computed anew, and every state and
// time is held against it.
package report
