package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/redisfault"
)

// Exit codes.
const (
	exitOK            = 0
	exitInternal      = 1
	exitUsage         = 2
	exitFailed        = 3
	exitHeld          = 4
	exitRunning       = 5
	exitNotAuthorised = 6
)

// failure ends the program: with an exit code, why, and what to do next.
type failure struct {
	code int
	err  error
	next string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, next, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...), next}
}

func usage(next, format string, args ...any) error { return fail(exitUsage, next, format, args...) }

// report tells a person what went wrong and what to do, and gives the exit code.
func (p *Program) report(err error) int {
	f := explain(err)
	p.say("detachd: %s", printableLines(f.Error()))
	p.say("  next: %s", printableLines(f.next))
	return f.code
}

// printableLines keeps line breaks.
func printableLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = printable(strings.ReplaceAll(strings.TrimRight(lines[i], "\r"), "\t", "  "))
	}
	return strings.Join(lines, "\n")
}

// explain finds the exit code and the advice for an error that came from below.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	err = asItWas(err)
	var invalid *tasks.ValidationError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &invalid):
		return &failure{exitUsage, err, "mend what is named and run it again"}
	case errors.Is(err, tasks.ErrKeyReused):
		return &failure{exitUsage, err, "give another --idempotency-key; or the same desktops and options as before, " +
			"with --at and --deadline as points in time (a time counted from now makes other content)"}
	case errors.Is(err, tasks.ErrNotFound):
		return &failure{exitUsage, err, "detachd list shows the operations there are"}
	case errors.Is(err, context.Canceled):
		return &failure{exitInternal, errors.New("interrupted"), "run it again"}
	}
	if f := explainServer(err); f != nil {
		return f
	}
	if f := explainRedis(err); f != nil {
		return f
	}
	return &failure{exitInternal, err, "detachd doctor looks at Redis, the workers and the credentials"}
}

// asItWas is an error of a server within this process without the way it took.
func asItWas(err error) error {
	var local *server.LocalError
	if errors.As(err, &local) {
		return local.Err
	}
	return err
}

// ofOperation names the operation that a server does not know.
func ofOperation(id string, err error) error {
	var p *api.Problem
	if errors.As(asItWas(err), &p) && p.Code == api.CodeNotFound {
		return usage("detachd list shows the operations there are", "operation %s: %w", id, tasks.ErrNotFound)
	}
	return err
}

// explainRedis knows errors of Redis and of the way to it; nil if err is none.
// explainServer was asked first: what is left is of nothing else.
func explainRedis(err error) *failure {
	f := redisfault.Of(err)
	if f == nil {
		return nil
	}
	code := exitInternal
	if f.Rights {
		code = exitNotAuthorised
	}
	return &failure{code, fmt.Errorf("%s: %w", f.Meaning, err), f.Advice}
}
