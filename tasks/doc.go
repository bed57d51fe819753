// Package tasks holds the words that every part shares: requests, operations, their
// rows and states, failures, retries, plans, statistics, and errors. It does no I/O.
//
// To submit operations use package tasks/api (HTTP) or tasks/producer (Redis). What is
// stored in Redis is package tasks/record, which is not a public API.
package tasks
