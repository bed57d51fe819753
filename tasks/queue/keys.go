package queue

import "time"

// Queues is the key of asynq's set of all queues.
const Queues = "asynq:queues"

// Keys is the prefix of the keys of a queue: asynq:{queue}:
type Keys string

// KeysOf returns the Keys of a queue.
func KeysOf(queue string) Keys { return Keys("asynq:{" + queue + "}:") }

// Pending returns the key of the list of tasks that are to run now.
func (k Keys) Pending() string { return string(k) + "pending" }

// Later returns the keys of the zsets of tasks that are to run later, by their Unix seconds.
func (k Keys) Later() []string { return []string{string(k) + "scheduled", string(k) + "retry"} }

// Waiting returns the keys of waiting tasks: pending, scheduled and retry.
func (k Keys) Waiting() []string { return append([]string{k.Pending()}, k.Later()...) }

// Task returns the key of a task; of "" it is the prefix of all of them.
func (k Keys) Task(id string) string { return string(k) + "t:" + id }

// All returns every key that a queue with one task may have had since the day before now.
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
