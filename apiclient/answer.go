package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
)

// foreign reports that a reply is no answer of the API. What the body is decides
// more than how it is labelled:
//
//   - 407 and every 3xx are a proxy's or a login page's, whatever they carry;
//   - HTML is a page for people, whatever its status, also with 502 to 504;
//   - a body that is neither empty nor a JSON object is no answer either, except
//     with 502, 503 and 504: there a gateway of the cloud says in plain text that
//     nobody stands behind it, which is an ordinary outage.
//
// An empty body tells nothing about who sent it and is judged by its status. A body
// that was cut off is trouble of the network.
func (r reply) foreign() bool {
	body := bytes.TrimSpace(bytes.TrimPrefix(r.body, []byte("\ufeff")))
	switch {
	case r.status == 0:
		return false
	case r.status == http.StatusProxyAuthRequired || isRedirect(r.status):
		return true
	case isObject(body):
		return false
	case bytes.HasPrefix(body, []byte("<")) || labelledHTML(r.header):
		return true
	case len(body) == 0 || r.err != nil:
		return false
	}
	return r.status < http.StatusBadGateway || r.status > http.StatusGatewayTimeout
}

func isRedirect(status int) bool { return status >= 300 && status < 400 }

func isObject(body []byte) bool { return bytes.HasPrefix(body, []byte("{")) && json.Valid(body) }

func labelledHTML(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind == "text/html" || kind == "application/xhtml+xml"
}

// answers is the host that answers req: its own, or of plain HTTP through a proxy
// the proxy.
func answers(transport http.RoundTripper, req *http.Request) string {
	if t, ok := transport.(*http.Transport); ok && t.Proxy != nil && req.URL.Scheme == "http" {
		if proxy, err := t.Proxy(req); err == nil && proxy != nil && (proxy.Scheme == "http" || proxy.Scheme == "https") {
			return proxy.Host
		}
	}
	return req.URL.Host
}

// proxyRefusal is the answer of a proxy that was to connect to the API and did not.
// net/http would keep the words of its status line and lose the rest.
type proxyRefusal struct {
	host   string
	status int
}

func (p *proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy %s does not connect to the API: HTTP %d %s", p.host, p.status, http.StatusText(p.status))
}

func onProxyConnect(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{host: proxy.Host, status: resp.StatusCode}
}

// whoAnswered notes which host answered, and whether it spoke for the API. A proxy
// that cannot reach the API (5xx) is an outage; one that does not want to is none.
func (e *Error) whoAnswered(r reply) {
	if r.status != 0 {
		e.Host = r.host
	}
	e.NotAPI = r.foreign() || errors.Is(e.Err, errNoList)
	if refusal, ok := errors.AsType[*proxyRefusal](e.Err); ok {
		e.Host, e.Status, e.NotAPI = refusal.host, refusal.status, refusal.status < 500
	}
}

// redirection names where a reply sends us, without path and query, which may hold
// what is nobody's business.
func redirection(h http.Header) string {
	to, err := url.Parse(h.Get("Location"))
	if err != nil || to.Host == "" {
		return "a redirect"
	}
	return "a redirect to " + to.Scheme + "://" + to.Host
}
