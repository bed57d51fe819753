package report

import (
	"fmt"
	"slices"
	"strings"
)

// Format is the format of a report.
type Format string

// The formats.
const (
	HTML Format = "html"
	CSV  Format = "csv"
	JSON Format = "json"
)

// Formats lists them.
var Formats = []Format{HTML, CSV, JSON}

// ContentType returns the media type.
func (f Format) ContentType() string {
	switch f {
	case HTML:
		return "text/html; charset=utf-8"
	case CSV:
		return "text/csv; charset=utf-8"
	}
	return "application/json"
}

// ParseFormat parses a name in any case; the error lists the names.
func ParseFormat(name string) (Format, error) {
	f := Format(strings.ToLower(name))
	if !slices.Contains(Formats, f) {
		return "", fmt.Errorf("unknown format %q: use one of html, csv, json", name)
	}
	return f, nil
}

// version begins a JSON report and the last comment of an HTML report. Verify accepts only
// what Write of the same version writes, so a change of the format needs another number.
const version = "detachd report 1"

// lastLine carries the hex sum of all bytes before it.
func (f Format) lastLine(sum string) string {
	switch f {
	case HTML:
		return "<!-- sha256:" + sum + " -->\n"
	case CSV:
		return "sha256," + sum + strings.Repeat(",", len(columns)-2) + "\n"
	}
	return `"sha256":"` + sum + "\"}\n"
}

// begins returns how a report begins, to tell the formats apart.
func (f Format) begins() string {
	switch f {
	case HTML:
		return "<!DOCTYPE html>\n"
	case CSV:
		return "line,subject,"
	}
	return `{"format":`
}
