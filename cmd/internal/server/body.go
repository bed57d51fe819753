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
	// smallBody is the size up to which a body needs no semaphore.
	smallBody = 64 << 10
	// bodyPatience is how long a body may take to arrive.
	bodyPatience = 20 * time.Second
	// maxLargeBodies are read, decoded and worked on at a time: each takes about 60 MB.
	maxLargeBodies = 4
	// acquirePatience is how long a large body waits for the semaphore.
	acquirePatience = 5 * time.Second
)

// semaphore limits how many do the same at a time.
type semaphore chan struct{}

func (s semaphore) acquire(ctx context.Context, patience time.Duration) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, problem(http.StatusServiceUnavailable, api.CodeBusy, "too many large requests at once; nothing was changed: send it again")
	}
}

// read reads the body. A large one holds the semaphore until the request is answered,
// because what was decoded stays in memory until then.
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
		release, busy := r.server.largeBodies.acquire(r.Context(), r.server.acquirePatience)
		if busy != nil {
			return nil, busy
		}
		r.after = append(r.after, release)
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
