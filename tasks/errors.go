package tasks

import (
	"errors"
	"fmt"
)

// ErrNotFound says that there is no such operation, or its retention is over.
var ErrNotFound = errors.New("no such operation (or its retention is over)")

// ErrSendAgain says that a request was not accepted for a reason that has passed.
var ErrSendAgain = errors.New("send it again")

// ErrKeyReused says that the idempotency key belongs to a request with other content.
var ErrKeyReused = errors.New("the idempotency key was used before for a request with other content")

// ErrPageToken is for a page token that this program did not give out.
var ErrPageToken = errors.New("the page token is not one that was given out")

// ErrTooMany says that a redrive would match more than MaxDesktops.
var ErrTooMany = fmt.Errorf("more than %d desktops match: narrow the filter", MaxDesktops)

// ErrNoRedrive says that there is no such redrive, or its retention is over.
var ErrNoRedrive = errors.New("no such redrive (or its retention is over)")

// ErrNoPlan says that a plan does not exist, or is forgotten.
var ErrNoPlan = errors.New("there is no such plan, or it is forgotten")
