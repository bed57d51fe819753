// Package server answers HTTP: the API under /v1 for HR systems, and what
// monitoring asks. Every route stands in one table with the role that it needs;
// what is not in it does not exist. Errors are application/problem+json (RFC 9457).
package server
