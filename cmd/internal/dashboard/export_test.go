package dashboard

import (
	"strings"

	"github.com/detachd/detachd/cmd/internal/access"
)

// Route is a row of the table for external tests.
type Route struct {
	Method, Path string
	Role         access.Role
}

// Routes returns the table; the last row, which serves every method, as GET.
func Routes() (out []Route) {
	for _, rt := range routes {
		method, path, ok := strings.Cut(rt.pattern, " ")
		if !ok {
			method, path = "GET", rt.pattern
		}
		out = append(out, Route{method, path, rt.role})
	}
	return out
}
