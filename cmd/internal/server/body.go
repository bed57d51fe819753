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
	// smallBody needs no turn: this many bytes of each request are no danger.
	smallBody = 64 << 10
	// bodyPatience is how long a body may take to arrive.
	bodyPatience = 20 * time.Second
	// turnPatience is how long a larger body waits for its turn.
	turnPatience = 5 * time.Second
)

// turns are for larger bodies: so many are read, decoded and worked on at a time.
// One takes about 60 MB.
type turns chan struct{}

const largeBodies = 4

// wait takes a turn; done gives it back.
func (t turns) wait(ctx context.Context, patience time.Duration) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, problem(http.StatusServiceUnavailable, api.CodeBusy, "too many large requests are being worked on; nothing was done: send it again")
	}
}

// read reads the body. A larger one has its turn until the request is answered,
// as what was made of it is held until then.
func (r *request) read() ([]byte, error) {
	if r.server.Local {
		return io.ReadAll(r.Body)
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	control := http.NewResponseController(r.w)
	// Not every way here has deadlines: within the process there is nobody slow.
	_ = control.SetReadDeadline(time.Now().Add(r.server.bodyPatience))
	var text bytes.Buffer
	_, err := io.CopyN(&text, r.Body, smallBody)
	if err == nil {
		done, busy := r.server.turns.wait(r.Context(), r.server.turnPatience)
		if busy != nil {
			return nil, busy
		}
		r.after = append(r.after, done)
		text.Grow(int(max(0, r.ContentLength-smallBody)) + bytes.MinRead) // at most maxBody, and not twice that
		_, err = text.ReadFrom(r.Body)
	}
	var tooBig *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem(http.StatusRequestTimeout, "too_slow", "the body took longer than %s to arrive; nothing was done: send it again", r.server.bodyPatience)
	case errors.As(err, &tooBig):
		return nil, tooLarge()
	case err != nil && !errors.Is(err, io.EOF):
		return nil, problem(http.StatusBadRequest, "unreadable", "the body could not be read to its end; nothing was done: send it again")
	}
	// The deadline must not stay: passing it ends the request, however far it is. It
	// stays where the body was not read, as the server then reads on by itself.
	_ = control.SetReadDeadline(time.Time{})
	return text.Bytes(), nil
}

func tooLarge() *api.Problem {
	return problem(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than %d bytes; nothing was done: split the request", maxBody)
}
