package queue

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// TaskType is the asynq type of a chunk's task.
const TaskType = "detachd:chunk"

// MaxChunks is how many chunks an operation can have.
const MaxChunks = 1000

// payloadVersion is written into every payload; a worker refuses others.
const payloadVersion = 1

// Payload is what travels through asynq: which chunk to look at. Everything
// else is read from the record when the task runs, so a payload never goes
// stale. asynq rewrites the payloads of active tasks every 5 s, which is one
// more reason to keep it small.
type Payload struct {
	Version   int    `json:"v"`
	Operation string `json:"op"`
	Project   string `json:"project"`
	Chunk     int    `json:"chunk"`
	// Generation counts how often the chunk was enqueued anew by a reconciler;
	// a task of an older generation than the record's does nothing.
	Generation int `json:"gen,omitempty"`
}

// PayloadError says why a payload cannot be used. Running the task again
// would not help.
type PayloadError struct{ Reason string }

func (e *PayloadError) Error() string { return "unusable task payload: " + e.Reason }

// DecodePayload reads a payload; any error is a *PayloadError.
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
	case p.Chunk < 0 || p.Chunk >= MaxChunks || p.Generation < 0:
		return Payload{}, &PayloadError{Reason: fmt.Sprintf("chunk %d, generation %d is out of range", p.Chunk, p.Generation)}
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

// TaskID names the task of one generation of one chunk, so that enqueuing it
// twice makes one task.
func (p Payload) TaskID() string {
	return fmt.Sprintf("%s:%d:%d", p.Operation, p.Chunk, p.Generation)
}
