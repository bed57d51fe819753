package fakecloud

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reply is a reply before it is sent.
type reply struct {
	status int
	header http.Header // in addition to those of every reply
	body   []byte
	// gateway replaces body with a gateway's error, to which the request id is added when
	// the reply is sent.
	gateway *gatewayError
}

// serviceError is BaseResponse, the format of the service's errors.
type serviceError struct {
	Code    string `json:"error_code"`
	Message string `json:"error_msg"`
}

// gatewayError is the format of the gateway's errors.
type gatewayError struct {
	Message   string `json:"error_msg"`
	Code      string `json:"error_code"`
	RequestID string `json:"request_id"`
}

// fail returns an error reply in the format that belongs to code. An empty message becomes
// the documented one.
func fail(status int, code, message string) *reply {
	if message == "" {
		message = defaultMessage(status, code)
	}
	if strings.HasPrefix(code, "APIGW.") {
		return &reply{status: status, gateway: &gatewayError{Code: code, Message: message}}
	}
	return &reply{status: status, body: marshal(serviceError{Code: code, Message: message})}
}

// ok returns a 200 with v as JSON.
func ok(v any) *reply {
	return &reply{status: http.StatusOK, body: marshal(v)}
}

// marshal encodes this package's own types, which cannot fail.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// header completes a reply's body and sets the headers of the response.
func (x *exchange) header(rep *reply) {
	if rep.gateway != nil {
		rep.gateway.RequestID = x.requestID
		rep.body = marshal(rep.gateway)
	}
	h := x.w.Header()
	h.Set("X-Request-Id", x.requestID)
	h.Set("Date", x.cfg.Clock().UTC().Format(http.TimeFormat))
	h.Set("Content-Type", "application/json;charset=UTF-8")
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	for name, values := range rep.header {
		h[name] = values
	}
}

// set adds a header to the reply.
func (rep *reply) set(name string, values ...string) {
	if rep.header == nil {
		rep.header = http.Header{}
	}
	rep.header[http.CanonicalHeaderKey(name)] = values
}

// withRetryAfter adds Retry-After, in seconds rounded up, if d is above 0.
func (rep *reply) withRetryAfter(d time.Duration) *reply {
	if d > 0 {
		rep.set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
	return rep
}

// requestID returns 32 hex digits that are unique for seed.
func requestID(seed uint64, seq int) string {
	return fmt.Sprintf("%016x%016x", mix(seed+uint64(seq)), uint64(seq))
}

// mix hashes n (the finalizer of splitmix64).
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// uuid returns a version 4 UUID that depends only on a and b.
func uuid(a, b uint64) string {
	x, y := mix(a), mix(mix(a)+b)
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", x>>32, x>>16&0xffff, x&0xfff, y>>48&0x3fff|0x8000, y&0xffffffffffff)
}
