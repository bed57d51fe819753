// Package server is the HTTP server: the API under /v1, and the probes and metrics for
// monitoring. One table lists every route with the role that it requires. Errors are
// application/problem+json (RFC 9457).
package server
