package queue

import "time"

// Queues is the key of the set of all queues.
const Queues = "asynq:queues"

// Keys are the keys of a queue: asynq:{queue}:….
type Keys string

// KeysOf gives those of a queue.
func KeysOf(queue string) Keys { return Keys("asynq:{" + queue + "}:") }

// Waiting are those of the tasks that wait: pending, scheduled, and to be tried again.
func (k Keys) Waiting() []string {
	return []string{string(k) + "pending", string(k) + "scheduled", string(k) + "retry"}
}

// Task is that of a task; of "" it is what all of them begin with.
func (k Keys) Task(id string) string { return string(k) + "t:" + id }

// All are those that a queue with one task can have had, as long as that was today or
// yesterday.
func (k Keys) All(task string, now time.Time) []string {
	out := append(k.Waiting(), k.Task(task))
	for _, name := range []string{"active", "lease", "archived", "completed", "processed", "failed"} {
		out = append(out, string(k)+name)
	}
	for _, day := range []time.Time{now.UTC().AddDate(0, 0, -1), now.UTC()} {
		out = append(out, string(k)+"processed:"+day.Format(time.DateOnly), string(k)+"failed:"+day.Format(time.DateOnly))
	}
	return out
}
