// Package queue is for this module's record and its workers, and no public API.
// It is what is known of asynq: what a task carries, the names of tasks and queues, the
// options that a task needs, and the keys of a queue.
package queue
