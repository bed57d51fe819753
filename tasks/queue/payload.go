package queue

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// TaskType is the asynq type of a chunk's task.
const TaskType = "detachd:chunk"

// payloadVersion is in every payload; a worker rejects others.
const payloadVersion = 1

// Payload is the payload of a task: the chunk to process. Everything else is read from the
// record when the task runs, so a payload never becomes stale. It is small also because
// asynq rewrites the payloads of active tasks every 5 s.
type Payload struct {
	Version   int    `json:"v"`
	Operation string `json:"op"`
	Project   string `json:"project"`
	Chunk     int    `json:"chunk"`
	// Generation counts how often a reconciler enqueued the chunk again. A task with an
	// older generation than the record does nothing.
	Generation int `json:"gen,omitempty"`
}

// PayloadError is the error of an invalid payload. Retrying the task is useless.
type PayloadError struct{ Reason string }

func (e *PayloadError) Error() string { return "unusable task payload: " + e.Reason }

// DecodePayload decodes and validates a payload. Any error is a *PayloadError.
func DecodePayload(b []byte) (Payload, error) {
	var p Payload
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return Payload{}, &PayloadError{Reason: err.Error()}
	}
	switch {
	case dec.More():
		return Payload{}, &PayloadError{Reason: "more than one JSON value"}
	case p.Version != payloadVersion:
		return Payload{}, &PayloadError{Reason: fmt.Sprintf("version %d, this worker reads version %d", p.Version, payloadVersion)}
	case p.Operation == "" || p.Project == "":
		return Payload{}, &PayloadError{Reason: "operation or project is missing"}
	case p.Chunk < 0 || p.Generation < 0:
		return Payload{}, &PayloadError{Reason: fmt.Sprintf("chunk %d, generation %d is below 0", p.Chunk, p.Generation)}
	}
	return p, nil
}

func (p Payload) encode() []byte {
	p.Version = payloadVersion
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and ints always marshal
	}
	return b
}

// TaskID returns the id of the task of one generation of one chunk, so that enqueuing it
// twice creates one task.
func (p Payload) TaskID() string {
	return fmt.Sprintf("%s:%d:%d", p.Operation, p.Chunk, p.Generation)
}
