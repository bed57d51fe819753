package record

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// ChunkSize is the number of desktops of one operation in one asynq task and one Redis
// hash. It is the most that one API call may name.
const ChunkSize = 100

// chunksOf is the number of chunks for a number of rows.
func chunksOf(total int) int { return (total + ChunkSize - 1) / ChunkSize }

// The rows of an operation are in chunks: first those of the desktops that the
// request names, then the look-ups (users, then computers), then those of the
// desktops found. Each of the three begins a new chunk.

// lookups is how many rows name a user or a computer.
func (o Operation) lookups() int { return o.Users + o.Computers }

func (o Operation) lookupChunks() (first, end int) {
	first = chunksOf(o.named())
	return first, first + chunksOf(o.lookups())
}

// named is the number of desktops that the request names.
func (o Operation) named() int {
	n := o.Total - o.lookups()
	for _, found := range o.found {
		n -= found
	}
	return n
}

// Chunks is the number of chunks of the operation.
func (o Operation) Chunks() int {
	_, end := o.lookupChunks()
	return end + len(o.found)
}

// LooksUp reports that a chunk's rows name users or computers, not desktops.
func (o Operation) LooksUp(chunk int) bool {
	first, end := o.lookupChunks()
	return first <= chunk && chunk < end
}

// chunkSize is the number of rows of a chunk.
func (o Operation) chunkSize(chunk int) int {
	first, end := o.lookupChunks()
	switch {
	case chunk < first:
		return min(ChunkSize, o.named()-chunk*ChunkSize)
	case chunk < end:
		return min(ChunkSize, o.lookups()-(chunk-first)*ChunkSize)
	}
	return o.found[chunk-end]
}

// Place is the row's place in its operation: chunk times ChunkSize, plus the
// position within the chunk. Without look-ups it is the place in the request.
func (d Row) Place() int { return d.Chunk*ChunkSize + d.Position }

func encodeSizes(sizes []int) string {
	parts := make([]string, len(sizes))
	for i, n := range sizes {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

func decodeSizes(s string) (out []int, total int, err error) {
	if s == "" {
		return nil, 0, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, 0, fmt.Errorf("the sizes of chunks, %q, cannot be read", s)
		}
		out, total = append(out, n), total+n
	}
	return out, total, nil
}

// chunkRange lists the chunks from first to before end.
func chunkRange(first, end int) []int {
	out := make([]int, 0, max(0, end-first))
	for n := first; n < end; n++ {
		out = append(out, n)
	}
	return out
}

// Operation is an operation as the record has it.
type Operation struct {
	tasks.Operation

	found     []int  // rows of each chunk of desktops that were found by their users' names
	clearance string // as stored, for compare-and-set
	bound     bool   // Planned of its rows counts: it runs a plan, or was approved by one
	brake     *brake // nil: it has none
	requeued  int    // rows that retries have queued again
}

// Row is a row of an operation as the record has it, with its place and the value that
// was read.
type Row struct {
	tasks.Desktop
	Chunk    int `json:"-"`
	Position int `json:"-"` // within the chunk
	// Planned is the reading of the plan that binds the row; nil: none does. It has no users
	// if the plan found nobody on the desktop, or no desktop. Set for workers.
	Planned *tasks.Before `json:"-"`
	// Had is, of an undo, the reading before the detach, with the users who lost the desktop by
	// it; nil: there is none.
	Had *tasks.Before `json:"-"`

	// The value that was read, for compare-and-set; see codec.go.
	stored    string // its own value
	common    string // the status that it shares with other rows; "": its own
	followers int    // number of rows that share it
}

// Call is a call with this operation's desktops in it, as places in the operation.
type Call struct {
	tasks.Call
	Desktops []trail.Range `json:"-"`
}

// Plan is a plan and the person who requested it.
type Plan struct {
	tasks.Plan
	Owner string `json:"-"`

	chunks int // of rows, once it is done
}

// Redrive is a redrive and the key of its matches.
type Redrive struct {
	tasks.Redrive

	// Scope are the projects in which it looked, if it matched nothing; empty: all.
	Scope    []string `json:"scope,omitempty"`
	Replayed bool     `json:"-"` // it was begun earlier, with the same idempotency key

	items string // key of the matches
}

// Cancellation is a cancellation and the key of its matches.
type Cancellation struct {
	tasks.Cancellation

	// Scope are the projects in which it looked; empty: all.
	Scope    []string `json:"scope,omitempty"`
	Replayed bool     `json:"-"` // it was begun earlier, with the same idempotency key

	items string // key of the matches
	next  int    // number of items that were looked at
}

// Tally is a tasks.Tally with the times that the removal of access took.
type Tally struct {
	tasks.Tally
	// Removed counts desktops by the time from being due to the confirmation; see RemovedSteps.
	Removed [len(RemovedSteps) + 1]int
	// RemovedSinceAccepted is the same from the acceptance to the confirmation.
	RemovedSinceAccepted [len(RemovedSteps) + 1]int
}
