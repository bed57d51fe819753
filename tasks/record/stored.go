package record

import (
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
)

// Hashes with fixed fields are read into structs whose tags name the fields. A field that is
// missing in Redis leaves the zero value.

// fieldsOf lists the fields of the hash of a struct.
func fieldsOf[T any]() (out []string) {
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		out = append(out, t.Field(i).Tag.Get("redis"))
	}
	return out
}

// storedOperation is the part of an operation's hash that makes an Operation.
type storedOperation struct {
	Meta     string `redis:"meta"` // JSON of Operation as accepted; if present, it is accepted
	Index    string `redis:"index"`
	Deadline msTime `redis:"deadline"`
	Ended    msTime `redis:"ended"`
	Expired  bool   `redis:"expired"`
	Seal     string `redis:"seal"`
	Found    string `redis:"found"`
	// Clearance and Brake are JSON, or empty.
	Clearance string `redis:"clearance"`
	Bound     bool   `redis:"bound"` // an approval bound its rows to a plan
	Brake     string `redis:"brake"`
	Undos     string `redis:"undos"` // ids, with commas
	Requeued  int    `redis:"requeued"`

	Queued    int `redis:"nQ"`
	Sending   int `redis:"nS"`
	Accepted  int `redis:"nA"`
	Detached  int `redis:"nD"`
	Failed    int `redis:"nF"`
	Held      int `redis:"nH"`
	Cancelled int `redis:"nX"`
	Expanded  int `redis:"nR"`
	NoDesktop int `redis:"nN"`
}

var operationFields = fieldsOf[storedOperation]()

func (s storedOperation) counts() tasks.Counts {
	return tasks.Counts{
		Queued: s.Queued, Sending: s.Sending, Accepted: s.Accepted, Detached: s.Detached, Failed: s.Failed,
		Held: s.Held, Cancelled: s.Cancelled, Expanded: s.Expanded, NoDesktop: s.NoDesktop,
	}
}

// operation makes an Operation; ok is false if it was never accepted, or is being removed.
func (s storedOperation) operation(id string) (op Operation, ok bool, err error) {
	if s.Meta == "" || s.Expired {
		return op, false, nil
	}
	if err := decodeJSON(s.Meta, &op); err != nil {
		return op, false, fmt.Errorf("operation %s cannot be read: %w", id, err)
	}
	if !s.Deadline.IsZero() { // a retry moved it
		op.Deadline = s.Deadline.Time
	}
	op.EndedAt, op.Seal, op.Counts, op.clearance = s.Ended.Time, s.Seal, s.counts(), s.Clearance
	op.bound, op.requeued = s.Bound || op.Plan != "", s.Requeued
	if s.Clearance != "" {
		if err := decodeJSON(s.Clearance, &op.Clearance); err != nil {
			return op, false, fmt.Errorf("the clearance of operation %s cannot be read: %w", id, err)
		}
	}
	if s.Brake != "" {
		if err := decodeJSON(s.Brake, &op.brake); err != nil {
			return op, false, fmt.Errorf("the brake of operation %s cannot be read: %w", id, err)
		}
	}
	op.Undos = decodeUndos(s.Undos)
	return op, true, op.addFound(s.Found)
}

// decodeOperation makes an Operation of a reply that has at least operationFields.
func decodeOperation(id string, cmd *redis.SliceCmd) (op Operation, ok bool, err error) {
	var s storedOperation
	if err := cmd.Scan(&s); err != nil {
		return op, false, fmt.Errorf("operation %s cannot be read: %w", id, err)
	}
	return s.operation(id)
}

// storedPause is a project's pause.
type storedPause struct {
	Kind   tasks.PauseKind `redis:"kind"`
	Until  msTime          `redis:"until"` // zero: until it is resumed
	Reason string          `redis:"reason"`
}

var pauseFields = fieldsOf[storedPause]()

// decodePause makes a Pause of pauseFields; nil if it is over, or there is none.
func decodePause(cmd *redis.SliceCmd) (*tasks.Pause, error) {
	var s storedPause
	if err := cmd.Scan(&s); err != nil || s.Kind == "" || !s.Until.IsZero() && !s.Until.After(time.Now()) {
		return nil, err
	}
	return &tasks.Pause{Kind: s.Kind, Until: s.Until.Time, Reason: s.Reason}, nil
}

// strongerPause is the stop of all projects, or else a project's own pause.
func strongerPause(stop, own *redis.SliceCmd) (*tasks.Pause, error) {
	if p, err := decodePause(stop); err != nil || p != nil {
		return p, err
	}
	return decodePause(own)
}

// msTime is a time that is stored in milliseconds; 0 is the zero time.
type msTime struct{ time.Time }

// ScanRedis is how Scan of go-redis reads the time.
func (t *msTime) ScanRedis(s string) error {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("a time in milliseconds: %w", err)
	}
	if ms != 0 {
		t.Time = time.UnixMilli(ms).UTC()
	}
	return nil
}
