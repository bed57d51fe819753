package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/record"
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

// failure is an error with an exit code and the next step for the user.
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

// printError prints an error and its next step, and returns the exit code.
func (p *Program) printError(err error) int {
	f := explain(err)
	p.say("%s %s", p.screen(p.Stderr).paint(red, "detachd:"), printableLines(f.Error()))
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

const seeProtections = "take it out of the request; detachd protect list shows the rules, and who added them why"

const changeConfigured = "change it under schedules: in the configuration of workers and servers, and restart them; " +
	"detachd schedule pause stops it at once"

const startNewer = "start the release that wrote it, or a later one"

const seeRows = "detachd desktops OPERATION shows what became of its desktops"

const fixInput = "correct the input and run the command again"

// explain finds the exit code and the next step for an error of another package.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	err = localCause(err)
	var invalid *tasks.ValidationError
	var protected *tasks.ProtectedError
	var newer *record.FormatError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &protected):
		return &failure{exitUsage, err, seeProtections}
	case errors.Is(err, tasks.ErrNoProtection), errors.Is(err, tasks.ErrProtectionExists), errors.Is(err, tasks.ErrTooManyProtections):
		return &failure{exitUsage, err, "detachd protect list shows the protections"}
	case errors.Is(err, tasks.ErrNoSchedule), errors.Is(err, tasks.ErrScheduleExists), errors.Is(err, tasks.ErrTooManySchedules):
		return &failure{exitUsage, err, "detachd schedule list shows the schedules"}
	case errors.Is(err, tasks.ErrScheduleConfigured):
		return &failure{exitUsage, err, changeConfigured}
	case errors.Is(err, tasks.ErrNoTick):
		return &failure{exitUsage, err, "detachd schedule show SCHEDULE shows its next runs"}
	case errors.Is(err, tasks.ErrTooManyRuns):
		return &failure{exitInternal, err, "detachd doctor checks the workers"}
	case errors.As(err, &invalid):
		return &failure{exitUsage, err, fixInput}
	case errors.Is(err, tasks.ErrKeyReused):
		return &failure{exitUsage, err, "use another --idempotency-key, or send exactly the same desktops and options as before, " +
			"with --at and --deadline as absolute times (a duration such as +2h changes the content)"}
	case errors.Is(err, tasks.ErrPageToken), errors.Is(err, tasks.ErrTooMany), errors.Is(err, tasks.ErrTooManyOperations),
		errors.Is(err, tasks.ErrTooManyRecalls):
		return &failure{exitUsage, err, fixInput}
	case errors.Is(err, tasks.ErrNothingToUndo):
		return &failure{exitUsage, err, seeRows}
	case errors.Is(err, tasks.ErrNotFound):
		return &failure{exitUsage, err, "detachd list shows the operations"}
	case errors.Is(err, tasks.ErrNoPlan), errors.Is(err, tasks.ErrPlanExpired):
		return &failure{exitUsage, err, planAgain}
	case errors.As(err, &newer):
		return &failure{exitUsage, err, startNewer}
	case errors.Is(err, context.Canceled):
		return &failure{exitInternal, errors.New("interrupted"), "run it again"}
	}
	if f := explainServer(err); f != nil {
		return f
	}
	if f := explainRedis(err); f != nil {
		return f
	}
	return &failure{exitInternal, err, askDoctor}
}

// askDoctor is the advice for an error that nothing is known of.
const askDoctor = "run detachd doctor: it checks Redis, the workers and the credentials"

// localCause unwraps the error of a server within this process.
func localCause(err error) error {
	var local *server.LocalError
	if errors.As(err, &local) {
		return local.Err
	}
	return err
}

// ofOperation names the operation in a "not found" error.
func ofOperation(id string, err error) error {
	var p *api.Problem
	if errors.As(localCause(err), &p) && p.Code == api.CodeNotFound {
		return usage("detachd list shows the operations", "operation %s: %w", id, tasks.ErrNotFound)
	}
	return err
}

// explainRedis explains errors of Redis and of the connection to it; nil for others.
// Call explainServer first, which recognises errors of the connection to a server.
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
