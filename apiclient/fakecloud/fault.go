package fakecloud

import (
	"encoding/json"
	"net/http"
	"time"
)

// Fault is something that goes wrong: when, and what. Of the faults that match
// a request the one that was added first decides. Refusals are apart from that:
// those of several faults meet in one reply.
type Fault struct {
	// When. All that is given has to match; nothing given matches every
	// detach call, batch or not.

	// Op is the kind of request. Default OpDetach.
	Op Op
	// Calls are the numbers of the calls hit. Calls of an Op are counted from 1
	// as they arrive, those refused for their authentication too; of the
	// Project if that is given, else of the whole cloud.
	Calls   []int
	Project string
	// Desktop has to be named by the request.
	Desktop string
	// Rate is the fraction of calls hit, 0 meaning all. Which ones depends on
	// Config.Seed and the number of the call, not on timing.
	Rate float64
	// Times is how many requests are hit at most. 0: no limit.
	Times int

	// What. A fault has to say something here.

	// Status, Code and Message make an error reply, whose parts that are left
	// out are those that usually go with the others. It has the gateway's shape
	// when Code begins with "APIGW.", IAM's when Op is OpToken and Code is
	// empty, and else the service's. Nothing takes effect unless Applied.
	Status        int
	Code, Message string
	// Body replaces the reply's body, and HTML makes it an error page as a
	// firewall sends it. Status is then 200 or 502 by default.
	Body string
	HTML bool
	// Header is added to the error reply, RetryAfter if above 0 (in seconds,
	// rounded up).
	Header     http.Header
	RetryAfter time.Duration
	// NamesCulprit lets the message of WKS.00010032 name Desktop as its
	// "resource id".
	NamesCulprit bool
	// Applied lets the request take effect before the error reply is sent.
	Applied bool

	// Refuse has desktops refused in a 200: Desktop, or else every desktop of
	// the matching calls; Rate and Times then go by desktop.
	Refuse *Refusal

	// Omit leaves Desktop out of a list, of an OpDetail.
	Omit bool

	// Vanish are desktops that exist no more after the request, whether it named them
	// or not: the page of a list that it asks for still has them.
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

// Effects. "Before" and "after" are meant of the request's effect. Note that
// net/http's client by itself repeats a GET, though no POST, that is dropped on
// a connection it had used before.
const (
	NoEffect   Effect = iota
	DropBefore        // the connection is closed, nothing has happened
	DropAfter         // it has happened, then the connection is closed
	HangBefore        // nothing has happened, and no reply until the client gives up or the server closes
	HangAfter         // it has happened, and there is no reply
	Truncate          // it has happened; half of the reply, then the connection is closed
	Garbage           // it has happened; the 200, or Status, has a body that is no JSON
)

// garbage is the body of a Garbage reply.
const garbage = "\x1f\x8b\x08\x00{\"failed_operation_list\":[{]}\xff\xfe"

// page is the body of an HTML reply.
const page = "<!DOCTYPE html><html><head><title>Request blocked</title></head>" +
	"<body><h1>Sorry</h1><p>Your request was blocked by the <b>web application firewall</b>.</p></body></html>\n"

// answers reports that the fault has a reply of its own.
func (f Fault) answers() bool {
	return f.Status != 0 || f.Code != "" || f.Message != "" || f.Body != "" || f.HTML || f.Effect == Garbage
}

// happens reports that the request takes effect all the same.
func (f Fault) happens() bool {
	switch f.Effect {
	case DropBefore, HangBefore:
		return false
	case DropAfter, HangAfter, Truncate, Garbage:
		return true
	}
	return f.Applied || !f.answers()
}

// reply is the fault's own reply to a request of the given kind.
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
		return &reply{status: or(f.Status, http.StatusOK), body: []byte(garbage)}
	case f.HTML:
		rep := &reply{status: or(f.Status, http.StatusBadGateway), body: []byte(page)}
		rep.set("Content-Type", "text/html")
		return rep
	case f.Body != "":
		return &reply{status: or(f.Status, http.StatusOK), body: []byte(f.Body)}
	case op == OpToken && f.Code == "":
		return iamError(or(f.Status, http.StatusInternalServerError), f.Message)
	}
	status, code := f.Status, f.Code
	if status == 0 {
		status = or(usual[code].status, http.StatusInternalServerError)
	}
	if code == "" {
		code = usualCode(status)
	}
	message := f.Message
	if message == "" && f.NamesCulprit {
		message = conflictMessage("powering-off", f.Desktop)
	}
	return fail(status, code, message)
}

// or is n, or fallback when n is 0.
func or(n, fallback int) int {
	if n == 0 {
		return fallback
	}
	return n
}

// check panics at a fault that can't do what its author wanted.
func (f Fault) check() {
	switch f.Op {
	case OpDetach, OpDetail, OpToken, OpJob, OpSubJobs, OpUsers:
	default:
		panic("fakecloud: fault with unknown Op " + string(f.Op))
	}
	nothing := !f.answers() && f.Refuse == nil && f.Delay <= 0 && f.Effect == NoEffect && !f.Omit && len(f.Vanish) == 0
	switch {
	case nothing:
		panic("fakecloud: fault that does nothing: " + f.String())
	case f.Refuse != nil && (f.answers() || len(f.Vanish) > 0 || f.Effect != NoEffect || f.Delay > 0 || f.Op != OpDetach):
		panic("fakecloud: Refuse goes with nothing else, and with detach only: " + f.String())
	case f.Omit && (f.Op != OpDetail || f.Desktop == ""):
		panic("fakecloud: Omit needs OpDetail and a Desktop: " + f.String())
	case f.NamesCulprit && f.Desktop == "":
		panic("fakecloud: NamesCulprit without Desktop: " + f.String())
	}
}

// String is for messages to the author of a test.
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
