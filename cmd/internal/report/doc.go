// Package report writes the evidence of an operation as one file that people can show to
// others, and verifies later that such a file is unchanged.
//
// A report is HTML for reading, CSV for spreadsheets, or JSON for programs. HTML with more
// than 2,000 rows is a summary, whose numbers come from all of them. Its last line
// carries the SHA-256 of all bytes before that line. This finds accidents and careless
// edits. Somebody who recomputes the sum after an edit is found only by comparison with
// what they cannot write: the audit seal, which is the head of the operation's trail (see
// package trail), as the log, a ticket or the record has it.
//
//   - A JSON report carries the request as accepted and the trail as stored. Verify
//     computes the chains and the head from them and replays every step. A head known from
//     elsewhere therefore proves the request, the rows, and each step with its time and
//     text. It does not prove what the trail lacks: attempts, messages of failures, and
//     the responses to calls.
//   - An HTML or CSV report only names its head. Compare proves its rows: it writes the
//     same report again from the current record.
//
// Text of the cloud and of users is hostile: in no format can it run or act as a formula,
// and unprintable characters are escaped.
package report
