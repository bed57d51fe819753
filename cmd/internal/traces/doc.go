// Package traces exports spans by OTLP over HTTP if the environment asks for it, with the
// variables of OpenTelemetry. Otherwise it starts nothing. It never stops the program from
// working: what cannot be exported is dropped, and a line of the log says so, at most one a minute.
package traces
