package fakecloud

import "net/http"

// Poison fails every detach call with the desktop as a whole with 400 WKS.0001, which does
// not name the desktop. For other codes set Status and Code of the result.
func Poison(desktop string) Fault {
	return Fault{Desktop: desktop, Status: http.StatusBadRequest, Code: "WKS.0001"}
}

// Throttle answers the next n detach calls with 429 APIGW.0308.
func Throttle(n int) Fault {
	return Fault{Times: n, Status: http.StatusTooManyRequests, Code: "APIGW.0308"}
}

// Conflict fails every detach call with the desktop as a whole with 409 WKS.00010032, whose
// message names the desktop if named.
func Conflict(desktop string, named bool) Fault {
	return Fault{Desktop: desktop, Status: http.StatusConflict, Code: "WKS.00010032", NamesCulprit: named}
}

// Refused lists the desktop as refused in the 200 to every call with it.
func Refused(desktop, code, message string) Fault {
	return Fault{Desktop: desktop, Refuse: &Refusal{Code: code, Message: message}}
}

// Unavailable answers the next n detach calls with 503 WKS.00050902.
func Unavailable(n int) Fault {
	return Fault{Times: n, Status: http.StatusServiceUnavailable, Code: "WKS.00050902"}
}

// BackendTimeout answers the next n detach calls with 504 APIGW.0201, which does not say
// whether the call took effect; it does if applied.
func BackendTimeout(n int, applied bool) Fault {
	return Fault{Times: n, Status: http.StatusGatewayTimeout, Code: "APIGW.0201", Applied: applied}
}

// LoseReplies lets the next n detach calls take effect and closes their connections
// without a reply.
func LoseReplies(n int) Fault {
	return Fault{Times: n, Effect: DropAfter}
}

// Disabled answers every detach call of the project with 403 WKS.00010099.
func Disabled(project string) Fault {
	return Fault{Project: project, Status: http.StatusForbidden, Code: "WKS.00010099"}
}

// WebPage answers the next n detach calls with the HTML page of a firewall. For other
// requests set Op of the result.
func WebPage(n, status int) Fault {
	return Fault{Times: n, Status: status, HTML: true}
}

// ProxyLogin answers the next n detach calls with the 407 of a proxy.
func ProxyLogin(n int) Fault {
	f := WebPage(n, http.StatusProxyAuthRequired)
	f.Header = http.Header{"Proxy-Authenticate": {`Basic realm="proxy"`}}
	return f
}

// Redirect answers the next n detach calls with a 302 to address.
func Redirect(n int, address string) Fault {
	f := WebPage(n, http.StatusFound)
	f.Header = http.Header{"Location": {address}}
	return f
}

// WrongContent answers the next n detach calls with a 200 in plain text.
func WrongContent(n int) Fault {
	return Fault{Times: n, Status: http.StatusOK, Body: "It works!\n", Header: http.Header{"Content-Type": {"text/plain"}}}
}
