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

// foreign reports whether something other than the API sent the reply. The body counts
// more than its Content-Type:
//
//   - 407 and every 3xx come from a proxy or a login page, whatever the body;
//   - HTML is a page for people, whatever the status, including 502 to 504;
//   - any other body that is neither empty nor a JSON object is foreign, except with
//     502, 503 and 504: there a gateway of the cloud reports in plain text that its
//     backend is unavailable, which is an ordinary outage.
//
// An empty body is judged by its status. A truncated body is a network failure.
func (r reply) foreign() bool {
	body := bytes.TrimSpace(withoutMark(r.body))
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

// answeringHost returns the host that answers req: the proxy for plain HTTP through a
// proxy, else the host of the URL.
func answeringHost(transport http.RoundTripper, req *http.Request) string {
	if t, ok := transport.(*http.Transport); ok && t.Proxy != nil && req.URL.Scheme == "http" {
		if proxy, err := t.Proxy(req); err == nil && proxy != nil && (proxy.Scheme == "http" || proxy.Scheme == "https") {
			return proxy.Host
		}
	}
	return req.URL.Host
}

// proxyRefusal is the reply of a proxy that refused to connect to the API. net/http
// would keep only the text of its status line.
type proxyRefusal struct {
	host   string
	status int
}

func (p *proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy %s refused to connect to the API: HTTP %d %s", p.host, p.status, http.StatusText(p.status))
}

func onProxyConnect(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{host: proxy.Host, status: resp.StatusCode}
}

// setHost sets Host and NotAPI. A proxy that cannot reach the API (5xx) is an outage; any
// other refusal by a proxy is not an answer of the API. An error_code without a list is the API's.
func (e *Error) setHost(r reply) {
	if r.status != 0 {
		e.Host = r.host
	}
	e.NotAPI = r.foreign() || errors.Is(e.Err, errNoList) && e.Code == ""
	if refusal, ok := errors.AsType[*proxyRefusal](e.Err); ok {
		e.Host, e.Status, e.NotAPI = refusal.host, refusal.status, refusal.status < 500
	}
}

// redirection describes the target of a redirect without its path and query, which may
// hold secrets.
func redirection(h http.Header) string {
	to, err := url.Parse(h.Get("Location"))
	if err != nil || to.Host == "" {
		return "a redirect"
	}
	return "a redirect to " + to.Scheme + "://" + to.Host
}
