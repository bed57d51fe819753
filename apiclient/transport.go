package apiclient

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
)

// NewTransport returns the default transport of a Client: HTTP/2 or 1.1, TLS 1.2 or later
// with certificate verification, the proxy of the environment (HTTPS_PROXY, NO_PROXY),
// 10 s each for connecting and for the TLS handshake, 64 idle connections per host. The
// caller may change it before use, and calls CloseIdleConnections at the end.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  proxyFromEnvironment,
		OnProxyConnectResponse: onProxyConnect,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true, // otherwise off because of TLSClientConfig and DialContext
		MaxIdleConns:           128,
		MaxIdleConnsPerHost:    64,
		// Shorter than the usual 60 s of load balancers: the outcome of a POST on a
		// connection that is being closed is unknown.
		IdleConnTimeout:        45 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		// Without pings, requests on a dead connection hang until the kernel closes it
		// minutes later.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// proxyFromEnvironment hides the error of net/http, which quotes the proxy address with its
// password.
func proxyFromEnvironment(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, errors.New("the proxy address in the environment cannot be read")
	}
	return proxy, nil
}
