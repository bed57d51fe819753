// Package trail defines the audit trail and the audit log: the stored format of its entries, the hash chain
// over them, and whether they match the rows. It has no I/O, and knows states and notes only
// by their codes. It is for this module's record and reports, not a public API.
//
// The trail of an operation is append-only: each change of a chunk adds one entry to the
// chunk's list, atomically with the change. The entries of a chunk are chained by SHA-256,
// starting with the accepted request and the rows of the chunk,
//
//	h(0) = SHA-256("detachd trail 1\n" + accepted operation JSON + "\n" + chunk number + "\n" + rows)
//	h(n) = SHA-256(h(n-1) + entry n as stored)
//
// where a row is its id, a tab, its expected users joined by tabs, and a newline. The head
// of the operation, its audit seal, is SHA-256 of its chunks' last hashes in the order of
// the chunks. With a copy of the seal anyone can detect a later alteration of any entry,
// row or part of the request. It is stored and logged when the operation ends, and part of
// every report.
//
// The audit log is one list of entries over all operations, chained in the same way. The
// first entry is chained to the empty text,
//
//	h(n) = SHA-256(h(n-1) in hex + entry n as stored) in hex
package trail
