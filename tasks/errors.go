package tasks

import (
	"errors"
	"fmt"
)

// ErrNotFound says that there is no such operation, or its retention is over.
var ErrNotFound = errors.New("no such operation (or its retention is over)")

// ErrSendAgain says: the request was not accepted, for a reason that is over. Send it again.
var ErrSendAgain = errors.New("send it again")

// ErrKeyReused says: the idempotency key belongs to a request with other content.
var ErrKeyReused = errors.New("the idempotency key was used before for a request with other content")

// ErrPageToken says: the page token did not come from a list.
var ErrPageToken = errors.New("the page token is invalid: use next_page_token of the page before")

// ErrNotWaiting says that an operation does not wait for an approval: it never did, or it
// was approved, rejected, cancelled or retried meanwhile.
var ErrNotWaiting = errors.New("the operation does not wait for an approval")

// ErrNothingToUndo says that an undo would give no desktop back.
var ErrNothingToUndo = errors.New("there is nothing to undo")

// ErrTooMany says: a redrive would match more than MaxDesktops.
var ErrTooMany = fmt.Errorf("more than %d desktops match: narrow the filter", MaxDesktops)

// ErrTooManyOperations says: a cancellation would match more than MaxDesktops.
var ErrTooManyOperations = fmt.Errorf("more than %d operations match: narrow the filter", MaxDesktops)

// ErrNoRedrive says that there is no such redrive, or its retention is over.
var ErrNoRedrive = errors.New("no such redrive (or its retention is over)")

// ErrNoCancellation says that there is no such cancellation, or its retention is over.
var ErrNoCancellation = errors.New("no such cancellation (or its retention is over)")

// ErrNoPlan says that there is no such plan, or it has expired.
var ErrNoPlan = errors.New("no such plan (or it has expired)")

// ErrPlanExpired says that a plan is too old to be run or approved, or its times have passed.
var ErrPlanExpired = errors.New("the plan is more than an hour old, or its times have passed")

// ErrPlanChanged says that a plan does not show what an approval is about: it is of another
// request or operation, or the operation has other rows by now.
var ErrPlanChanged = errors.New("the plan is not of what is left of the operation")

// ErrNoProtection says that no protection in Redis has the name.
var ErrNoProtection = errors.New("no such protection")

// ErrProtectionExists says that another protection has the name already.
var ErrProtectionExists = errors.New("there is a protection with this name already")

// ErrTooManyProtections says that there are MaxProtections already.
var ErrTooManyProtections = fmt.Errorf("there are %d protections already: remove those that are not needed, "+
	"protect a pattern, a tag or a pool instead of single desktops, or use the configuration", MaxProtections)

// ErrNoSchedule says that no schedule has the name.
var ErrNoSchedule = errors.New("no such schedule")

// ErrScheduleExists says that another schedule has the name already.
var ErrScheduleExists = errors.New("there is a schedule with this name already")

// ErrScheduleConfigured says that a schedule is changed in the configuration only.
var ErrScheduleConfigured = errors.New("the schedule is in the configuration: change it there, and restart the workers")

// ErrTooManySchedules says that there are MaxSchedules already.
var ErrTooManySchedules = fmt.Errorf("there are %d schedules already: remove those that are not needed, or use the configuration",
	MaxSchedules)

// ErrTooManyRuns says that MaxAskedRuns were asked for and have not begun.
var ErrTooManyRuns = fmt.Errorf("%d runs were asked for and have not begun: see that workers run, and ask again", MaxAskedRuns)

// ErrNoTick says that a schedule has no tick to skip, or none that is to be skipped.
var ErrNoTick = errors.New("the schedule has no such tick")

// ErrNoRecall says that there is no such recall, or its operations have all expired.
var ErrNoRecall = errors.New("no such recall (or all its operations have expired)")

// ErrTooManyRecalls says that there are MaxRecalls already.
var ErrTooManyRecalls = fmt.Errorf("there are %d recalls of operations that have not expired: cancel the operations instead", MaxRecalls)
