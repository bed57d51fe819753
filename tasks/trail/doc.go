// Package trail is for this module's record and its reports, and no public API.
// It is how an entry of a trail is stored, the hash chain over the entries, and whether
// they fit the rows. It is pure, and knows states and notes by their letters only.
//
// The trail of an operation is append-only: each change of a chunk adds one
// entry to the chunk's list, in the same step that makes the change. The
// entries of a chunk are chained by SHA-256, beginning with what was asked and
// the rows of the chunk,
//
//	h(0) = SHA-256("detachd trail 1\n" + accepted operation JSON + "\n" + chunk number + "\n" + rows)
//	h(n) = SHA-256(h(n-1) + entry n as stored)
//
// where a row is its id, a tab, its expected users joined by tabs, and a
// newline. The operation's head is SHA-256 of its chunks' last hashes, in the
// order of the chunks. Whoever has kept a head can tell whether any entry, row
// or part of the request was altered since: the head is stored when the
// operation ends, logged then, and part of every report.
package trail
