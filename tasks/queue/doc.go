// Package queue has what depends on asynq: the payload of a task, the names of tasks and
// queues, the options of a task, and the keys of a queue. It is for this module's record and
// workers, not a public API.
package queue
