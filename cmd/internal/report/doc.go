// Package report writes what became of an operation as one file for people who
// have to show it to others, and tells later whether such a file is as it was
// written.
//
// A report is HTML to be read, CSV to be counted, or JSON to be computed with.
// Its last line carries the SHA-256 of all bytes before that line. That finds
// accidents and clumsy edits; whoever edits a report and computes the sum anew
// is found only by holding it against something that they cannot write: the
// head of the operation's trail (see package trail) as the log, a ticket or
// the record has it.
//
//   - A JSON report carries the request as it was accepted and the trail as it
//     is stored. Verify computes the chains and the head from them, and replays
//     every step. So a head that is known from elsewhere proves of a JSON report
//     what was asked, the rows, and each step with its time and its text. It does
//     not prove what the trail does not have: attempts, the messages of failures,
//     and what the calls were answered.
//   - An HTML or CSV report only names its head. Its rows are proven by Compare,
//     which writes the same report again from what the record gives now.
//
// Texts of the cloud and of users are hostile: in no format can they act, and
// nothing that is not printable reaches a report as it is.
package report
