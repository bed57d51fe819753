// Package record is for the server and the workers of this module, not a public API.
//
// It is the record in Redis of every operation, desktop, failure, plan and bulk retry.
// The record is the truth. Queue messages only carry the ids of chunks.
//
// Three rules hold everywhere:
//
//   - Every change is a compare-and-set: a Lua script writes only if the row still has the
//     value that was read. So two workers may run the same chunk.
//   - All keys of an operation have the same hash tag, and no script touches the keys of two
//     operations. So the record works on a Redis Cluster.
//   - Lists and indexes are derived from the operations' own keys, on other shards, and a
//     failover may lose entries of them. repair.go derives them again.
//
// Start with keys.go (what is stored), codec.go (how a row is stored) and apply.go (how a
// row changes); then producer.go (acceptance) and sweep.go (what a crash left over).
package record
