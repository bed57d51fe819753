package dashboard

import (
	"strings"

	"github.com/detachd/detachd/cmd/internal/access"
)

// Route is a row of the table, for tests from outside.
type Route struct {
	Method, Path string
	Role         access.Role
}

// Routes gives the table; the last row, which is for every method, as GET.
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
