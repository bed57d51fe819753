package fakecloud

import (
	"cmp"
	"encoding/json"
	"net/http"
	"time"
)

// Fault is something that goes wrong. The first added fault that matches a request decides,
// except for refusals: those of all matching faults are in the reply.
type Fault struct {
	// When: all fields that are set must match. Without any, every detach call matches,
	// batch or not.

	// Op is the kind of request. Defaults to OpDetach.
	Op Op
	// Calls are the numbers of matching calls. Calls of an Op are counted from 1 on
	// arrival, including those with invalid credentials; per Project if that is set, else
	// for the whole cloud.
	Calls   []int
	Project string
	// Desktop must be in the request.
	Desktop string
	// Rate is the fraction of matching calls, 0 to 1. Defaults to all. Config.Seed and the
	// number of the call decide which, not timing.
	Rate float64
	// Times is the maximum number of matching requests. Defaults to no limit.
	Times int

	// What: at least one of these fields must be set.

	// Status, Code and Message make an error reply; the fields that are not set default to
	// what usually goes with the others. The format is the gateway's if Code begins with
	// "APIGW.", IAM's if Op is OpToken and Code is empty, else the service's. Nothing takes
	// effect unless Applied is set.
	Status        int
	Code, Message string
	// Body replaces the body of the reply (Status defaults to 200). HTML replaces it with
	// the error page of a firewall (Status defaults to 502).
	Body string
	HTML bool
	// Header is added to the error reply, and RetryAfter if above 0, in seconds rounded up.
	Header     http.Header
	RetryAfter time.Duration
	// NamesCulprit puts Desktop into the message of WKS.00010032 as its "resource id".
	NamesCulprit bool
	// Applied makes the request take effect before the error reply is sent.
	Applied bool

	// Refuse lists Desktop, or else every desktop of the matching calls, as refused in a
	// 200. Rate and Times then count desktops.
	Refuse *Refusal

	// Omit omits Desktop from the lists of OpDetail.
	Omit bool

	// Vanish are desktops, in the request or not, that do not exist after it. The page of
	// a list that it requests still has them.
	Vanish []string

	// Delay passes, in real time, before anything else.
	Delay time.Duration

	// Effect is what happens to the connection or the reply.
	Effect Effect
}

// Refusal is an entry of failed_operation_list.
type Refusal struct {
	Code, Message string
}

// Effect is a fault of the connection or of the reply's body.
type Effect int

// Effects, before or after the request takes effect. Note that net/http's client repeats a
// GET, but not a POST, that is dropped on a reused connection.
const (
	NoEffect   Effect = iota
	DropBefore        // no effect; the connection is closed
	DropAfter         // takes effect, then the connection is closed
	HangBefore        // no effect, and no reply until the client gives up or the server stops
	HangAfter         // takes effect; no reply either
	Truncate          // takes effect; half of the reply, then the connection is closed
	Garbage           // takes effect; the body of the 200, or Status, is not JSON
)

// garbage is the body of a Garbage reply.
const garbage = "\x1f\x8b\x08\x00{\"failed_operation_list\":[{]}\xff\xfe"

// page is the body of an HTML reply.
const page = "<!DOCTYPE html><html><head><title>Request blocked</title></head>" +
	"<body><h1>Sorry</h1><p>Your request was blocked by the <b>web application firewall</b>.</p></body></html>\n"

// answers reports whether the fault has its own reply.
func (f Fault) answers() bool {
	return f.Status != 0 || f.Code != "" || f.Message != "" || f.Body != "" || f.HTML || f.Effect == Garbage
}

// happens reports whether the request takes effect.
func (f Fault) happens() bool {
	switch f.Effect {
	case DropBefore, HangBefore:
		return false
	case DropAfter, HangAfter, Truncate, Garbage:
		return true
	}
	return f.Applied || !f.answers()
}

// reply returns the fault's own reply to a request of the given kind.
func (f Fault) reply(op Op) *reply {
	rep := f.content(op)
	for name, values := range f.Header {
		rep.set(name, values...)
	}
	return rep.withRetryAfter(f.RetryAfter)
}

func (f Fault) content(op Op) *reply {
	switch {
	case f.Effect == Garbage:
		return &reply{status: cmp.Or(f.Status, http.StatusOK), body: []byte(garbage)}
	case f.HTML:
		rep := &reply{status: cmp.Or(f.Status, http.StatusBadGateway), body: []byte(page)}
		rep.set("Content-Type", "text/html")
		return rep
	case f.Body != "":
		return &reply{status: cmp.Or(f.Status, http.StatusOK), body: []byte(f.Body)}
	case op == OpToken && f.Code == "":
		return iamError(cmp.Or(f.Status, http.StatusInternalServerError), f.Message)
	}
	status, code := f.Status, f.Code
	if status == 0 {
		status = cmp.Or(documented[code].status, http.StatusInternalServerError)
	}
	if code == "" {
		code = defaultCode(status)
	}
	message := f.Message
	if message == "" && f.NamesCulprit {
		message = conflictMessage("powering-off", "DETACH_DESKTOP", f.Desktop)
	}
	return fail(status, code, message)
}

// check panics if a fault cannot do what its author wanted.
func (f Fault) check() {
	switch f.Op {
	case OpDetach, OpAttach, OpDetail, OpToken, OpJob, OpSubJobs, OpUsers, OpList, OpUsage:
	default:
		panic("fakecloud: fault with unknown Op " + string(f.Op))
	}
	nothing := !f.answers() && f.Refuse == nil && f.Delay <= 0 && f.Effect == NoEffect && !f.Omit && len(f.Vanish) == 0
	switch {
	case nothing:
		panic("fakecloud: fault that does nothing: " + f.String())
	case f.Refuse != nil && (f.answers() || len(f.Vanish) > 0 || f.Effect != NoEffect || f.Delay > 0 || f.Op != OpDetach):
		panic("fakecloud: Refuse cannot be combined, and needs OpDetach: " + f.String())
	case f.Omit && (f.Op != OpDetail || f.Desktop == ""):
		panic("fakecloud: Omit needs OpDetail and a Desktop: " + f.String())
	case f.NamesCulprit && f.Desktop == "":
		panic("fakecloud: NamesCulprit without Desktop: " + f.String())
	}
}

// String describes the fault for the author of a test.
func (f Fault) String() string {
	b, err := json.Marshal(struct {
		Op                           Op
		Calls                        []int
		Desktop, Code, Message, Body string
		Status, Effect               int
	}{f.Op, f.Calls, f.Desktop, f.Code, f.Message, f.Body, f.Status, int(f.Effect)})
	if err != nil {
		return err.Error()
	}
	return string(b)
}
