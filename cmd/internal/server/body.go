package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/detachd/detachd/tasks/api"
)

const (
	// smallBody is the size up to which a body needs no turn.
	smallBody = 64 << 10
	// bodyPatience is how long a body may take to arrive.
	bodyPatience = 20 * time.Second
	// maxLargeBodies are read, decoded and worked on at a time, of one key half as many: each
	// takes about 60 MB.
	maxLargeBodies = 4
	// acquirePatience is how long a large body waits for its turn.
	acquirePatience = 5 * time.Second
)

// takeTurn waits for the turn of a large body, and keeps it until the request is answered:
// what was decoded stays in memory until then.
func (r *request) takeTurn() error {
	ctx, cancel := context.WithTimeout(r.Context(), r.server.acquirePatience)
	defer cancel()
	release, err := r.server.largeBodies.Acquire(ctx, r.key.ID)
	if err != nil {
		return problem(http.StatusServiceUnavailable, api.CodeBusy, "too many large requests at once; nothing was changed: send it again")
	}
	r.after = append(r.after, release)
	return nil
}

// read reads the body.
func (r *request) read() ([]byte, error) {
	if r.server.Local {
		return io.ReadAll(r.Body)
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	control := http.NewResponseController(r.w)
	// Connections within the process have no deadlines and need none.
	_ = control.SetReadDeadline(time.Now().Add(r.server.bodyPatience))
	var text bytes.Buffer
	_, err := io.CopyN(&text, r.Body, smallBody)
	if err == nil {
		if busy := r.takeTurn(); busy != nil {
			return nil, busy
		}
		text.Grow(int(max(0, r.ContentLength-smallBody)) + bytes.MinRead) // once, not by doubling
		_, err = text.ReadFrom(r.Body)
	}
	var tooBig *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem(http.StatusRequestTimeout, "too_slow",
			"the body took longer than %s to arrive; nothing was changed: send it again", r.server.bodyPatience)
	case errors.As(err, &tooBig):
		return nil, tooLarge()
	case err != nil && !errors.Is(err, io.EOF):
		return nil, problem(http.StatusBadRequest, "unreadable", "the connection broke within the body; nothing was changed: send it again")
	}
	// Clear the deadline: when it passes, it ends the request, even while it is answered. If
	// the body was not read it stays, because the server then reads the rest by itself.
	_ = control.SetReadDeadline(time.Time{})
	return text.Bytes(), nil
}

func tooLarge() *api.Problem {
	return problem(http.StatusRequestEntityTooLarge, "too_large",
		"the body is larger than %d bytes; nothing was changed: split the request", maxBody)
}
