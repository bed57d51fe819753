// Package tasks holds what a detach request is and what became of it: the
// operation, its desktops and their states, the producer that accepts requests,
// and the record in Redis that remembers every desktop.
//
// A producer validates a request whole, writes it to the record, and only then
// enqueues it; what it returned as accepted is never lost. The record is the
// truth: queue messages may come twice or not at all, and a worker that finds
// nothing left to do in the record does nothing.
//
// Every change of a chunk adds an entry to its trail, which is hash-chained and
// sealed when the operation ends: see package trail.
//
// This package does not call the cloud and does not decide about errors; that
// is package worker.
package tasks
