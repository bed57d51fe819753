package apiclient

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
)

// NewTransport is the transport of a Client without one of its own: HTTP/2 or
// 1.1, TLS 1.2 or later with the certificate verified, the proxy of the
// environment (HTTPS_PROXY, NO_PROXY), 10 s each for connecting and for the TLS
// handshake, up to 64 idle connections per host. The caller may change it
// before use, and calls CloseIdleConnections at the end.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  proxyFromEnvironment,
		OnProxyConnectResponse: onProxyConnect,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true, // a TLSClientConfig or DialContext turns it off otherwise
		MaxIdleConns:           128,
		MaxIdleConnsPerHost:    64,
		// Shorter than the 60 s after which load balancers usually hang up: a
		// POST that meets a closing connection has an unknown outcome.
		IdleConnTimeout:        45 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		// Without pings a connection that died silently swallows every request
		// until the kernel gives it up, minutes later.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// net/http quotes an unreadable proxy address, password included.
func proxyFromEnvironment(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, errors.New("the proxy address in the environment cannot be read")
	}
	return proxy, nil
}
