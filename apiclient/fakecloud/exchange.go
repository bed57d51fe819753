package fakecloud

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// maxBody is the largest body that the gateway accepts (12 MB).
const maxBody = 12 << 20

// exchange is one request and its reply.
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
	wishes    []wish     // of an OpAttach, one for each desktop
	invalid   *reply     // the service's reply to an invalid request
	refused   *reply     // the gateway's reply to a request that it refuses
	project   *project   // nil: not named, or unknown
	entered   []*record
	omit      string // the desktop that a fault omits from a list
}

// callNumber is the number of a call of its op, from 1 in the order of arrival.
type callNumber struct{ cloud, project int }

// receive reads, numbers and logs a request.
func (c *Cloud) receive(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{Cloud: c, w: w, r: r, route: findRoute(r)}
	var err error
	// The whole body is read first, because the server notices that a client has gone
	// away only after that.
	x.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		x.invalid = fail(http.StatusRequestEntityTooLarge, "APIGW.0201", "Request entity too large")
	} else if err != nil {
		panic(http.ErrAbortHandler) // the client went away before all of it had arrived: the service never sees it
	}
	if x.op == OpDetach && x.invalid == nil {
		x.detach, x.invalid = parseDetach(x.body, x.batch)
		x.ids = x.detach.ids
	}
	if x.op == OpAttach && x.invalid == nil {
		x.ids, x.wishes, x.invalid = parseAttach(x.body)
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
	if x.op.writes() && x.invalid == nil && x.refused == nil {
		x.entered = x.project.enter(x.ids)
	}
	c := x.Cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.notify()
	c.seq++
	x.requestID = requestID(c.cfg.Seed, c.seq)
	x.number = c.count(x.op, x.projectID)
	if x.op.writes() {
		c.inFlight++
		c.peak = max(c.peak, c.inFlight)
	}
	if !c.cfg.DiscardLog {
		x.entry = x.logEntry(c.seq)
		c.log = append(c.log, x.entry)
	}
}

// end records the end of a request and the status of its reply; 0: no reply. It comes
// before the reply is written, because a client may act on the reply, and a test read the
// log, before the handler returns.
func (x *exchange) end(status int, effect bool) {
	if x.entered != nil {
		x.project.leave(x.entered)
	}
	c := x.Cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.notify()
	if x.op.writes() {
		c.inFlight--
	}
	if x.entry != nil {
		x.entry.Status, x.entry.Effect = status, effect
	}
}

// admit is the gateway. It returns the reply to a request that does not reach the service;
// nil: it does.
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

// carryOut performs and answers the request as the fault allows. delay passes before the
// reply.
func (x *exchange) carryOut(f Fault, delay time.Duration) {
	if !f.happens() {
		x.pause(delay)
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
	if rep.status == http.StatusOK && len(x.cfg.Shapes) > 0 {
		rep = &reply{status: rep.status, header: rep.header, body: shapes(x.cfg.Shapes).of(rep.body)}
	}
	x.vanish(f.Vanish) // before the reply, because a client may act on it at once
	x.pause(delay)
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
	case OpAttach:
		return x.performAttach()
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
	case OpList:
		return x.listBriefly(), false
	case OpUsage:
		return x.listUsage(), false
	default:
		return x.issueToken()
	}
}

// pause waits in real time. A client that gives up ends the wait unless Config.KeepsTime
// is set, but not the call: a detach that has reached the service takes effect.
func (x *exchange) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	ended := x.r.Context().Done()
	if x.op.writes() && x.cfg.KeepsTime {
		ended = stopped(x.r.Context())
	}
	select {
	case <-t.C:
	case <-ended:
	}
}

// drop closes the connection without a reply. It does not return.
func (x *exchange) drop(effect bool) {
	x.end(0, effect)
	panic(http.ErrAbortHandler)
}

// hang keeps the connection open until the client gives up or the server stops. It does not
// return.
func (x *exchange) hang(effect bool) {
	x.end(0, effect)
	<-x.r.Context().Done()
	panic(http.ErrAbortHandler)
}

// truncate announces the whole reply, sends half of it and closes the connection. It does
// not return.
func (x *exchange) truncate(rep *reply, effect bool) {
	x.end(rep.status, effect)
	x.header(rep)
	x.w.WriteHeader(rep.status)
	_, _ = x.w.Write(rep.body[:len(rep.body)/2])
	_ = http.NewResponseController(x.w).Flush() // otherwise the client gets nothing
	panic(http.ErrAbortHandler)
}

// answer sends a reply.
func (x *exchange) answer(rep *reply, effect bool) {
	x.end(rep.status, effect)
	x.header(rep)
	x.w.WriteHeader(rep.status)
	_, _ = x.w.Write(rep.body) // an error means that the client is gone
}
