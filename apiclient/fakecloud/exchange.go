package fakecloud

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// maxBody is what the gateway lets through (12 MB).
const maxBody = 12 << 20

// exchange is one request on its way to its reply.
type exchange struct {
	*Cloud
	w http.ResponseWriter
	r *http.Request
	route
	body      []byte
	number    callNumber
	requestID string // X-Request-Id
	entry     *Request
	detach    detachCall // of an OpDetach
	invalid   *reply     // the service's answer to what can't be carried out
	refused   *reply     // the gateway's answer to what it does not let through
	project   *project   // nil: none named, or not served
	entered   []*record
	omit      string // the desktop that a fault leaves out of a list
}

// callNumber counts calls of one op from 1, in the order of their arrival.
type callNumber struct{ cloud, project int }

// receive reads a request, numbers it and logs it.
func (c *Cloud) receive(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{Cloud: c, w: w, r: r, route: findRoute(r)}
	var err error
	// All of the body is read before anything else is done: the server notices
	// that a client has gone away only after that.
	x.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		x.invalid = fail(http.StatusRequestEntityTooLarge, "APIGW.0201", "Request entity too large")
	}
	if x.op == OpDetach && x.invalid == nil {
		x.detach, x.invalid = parseDetach(x.body, x.batch)
		x.ids = x.detach.ids
	}
	if x.projectID != "" && c.serves(x.projectID) {
		x.project = c.openProject(x.projectID)
	}
	x.refused = x.admit()
	x.begin()
	return x
}

// begin counts the request and makes it visible to observers.
func (x *exchange) begin() {
	if x.op == OpDetach && x.invalid == nil && x.refused == nil {
		x.entered = x.project.enter(x.ids)
	}
	c := x.Cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.notify()
	c.seq++
	x.requestID = requestID(c.cfg.Seed, c.seq)
	x.number = c.count(x.op, x.projectID)
	if x.op == OpDetach {
		c.inFlight++
		c.peak = max(c.peak, c.inFlight)
	}
	if !c.cfg.DiscardLog {
		x.entry = x.logEntry(c.seq)
		c.log = append(c.log, x.entry)
	}
}

// end says that the request is over and how it was answered; status 0: not.
// It comes before the reply is written, as a client may act on a reply, and a
// test look at the log, before the handler has returned.
func (x *exchange) end(status int, effect bool) {
	if x.entered != nil {
		x.project.leave(x.entered)
	}
	c := x.Cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.notify()
	if x.op == OpDetach {
		c.inFlight--
	}
	if x.entry != nil {
		x.entry.Status, x.entry.Effect = status, effect
	}
}

// admit is the gateway: it answers what does not reach the service; nil: the
// request may go on.
func (x *exchange) admit() *reply {
	switch {
	case x.op == "":
		return fail(http.StatusNotFound, "APIGW.0101", "")
	case x.wrongMethod:
		return fail(http.StatusMethodNotAllowed, "WKS.00000405", "")
	case x.op == OpToken:
		return nil
	}
	if rep := x.authenticate(); rep != nil {
		return rep
	}
	if x.project == nil {
		return fail(http.StatusNotFound, "WKS.00211902", "The project "+x.projectID+" does not exist.")
	}
	return nil
}

// carryOut lets the service do its work as far as the fault allows, and answers
// after a while.
func (x *exchange) carryOut(f Fault, while time.Duration) {
	if !f.happens() {
		x.pause(while)
		x.vanish(f.Vanish)
		switch f.Effect {
		case DropBefore:
			x.drop(false)
		case HangBefore:
			x.hang(false)
		}
		x.answer(f.reply(x.op), false)
		return
	}
	if f.Omit {
		x.omit = f.Desktop
	}
	rep, effect := x.perform()
	x.vanish(f.Vanish) // before the reply, as a client may act on that at once
	x.pause(while)
	switch f.Effect {
	case DropAfter:
		x.drop(effect)
	case HangAfter:
		x.hang(effect)
	case Truncate:
		x.truncate(rep, effect)
	}
	if f.answers() {
		rep = f.reply(x.op)
	}
	x.answer(rep, effect)
}

// perform is the service.
func (x *exchange) perform() (rep *reply, effect bool) {
	if x.invalid != nil {
		return x.invalid, false
	}
	switch x.op {
	case OpDetach:
		return x.performDetach()
	case OpDetail:
		if x.pathID != "" {
			return x.showDesktop(), false
		}
		return x.listDesktops(), false
	case OpJob:
		return x.showJob(), false
	case OpSubJobs:
		return x.listSubJobs(), false
	case OpUsers:
		return x.listUsers(), false
	default:
		return x.issueToken()
	}
}

// pause waits in real time. A client that gives up ends the wait, unless the
// cloud keeps its time, but not the call: a detach that has reached the service
// happens.
func (x *exchange) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	over := x.r.Context().Done()
	if x.op == OpDetach && x.cfg.KeepsTime {
		over = stopped(x.r.Context())
	}
	select {
	case <-t.C:
	case <-over:
	}
}

// drop closes the connection without a reply. It does not return.
func (x *exchange) drop(effect bool) {
	x.end(0, effect)
	panic(http.ErrAbortHandler)
}

// hang keeps the connection until the client or the server gives up. It does
// not return.
func (x *exchange) hang(effect bool) {
	x.end(0, effect)
	<-x.r.Context().Done()
	panic(http.ErrAbortHandler)
}

// truncate promises all of a reply, sends half of it and closes the connection.
// It does not return.
func (x *exchange) truncate(rep *reply, effect bool) {
	x.end(rep.status, effect)
	x.header(rep)
	x.w.WriteHeader(rep.status)
	_, _ = x.w.Write(rep.body[:len(rep.body)/2])
	_ = http.NewResponseController(x.w).Flush() // else the client gets nothing at all
	panic(http.ErrAbortHandler)
}

// answer sends a reply.
func (x *exchange) answer(rep *reply, effect bool) {
	x.end(rep.status, effect)
	x.header(rep)
	x.w.WriteHeader(rep.status)
	_, _ = x.w.Write(rep.body) // a client that is gone is not our business
}
