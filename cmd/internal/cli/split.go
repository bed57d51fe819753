package cli

import (
	"encoding/json"
	"strconv"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// largestBody is the maximum size of a request to a server; servers refuse more than
// 8 MiB.
const largestBody = 8<<20 - 1<<16

// split divides a request whose body exceeds most bytes into several, each with a
// part of the desktops, computers or users. The same request is always divided the
// same way, and each part has its own idempotency key.
func split(r api.OperationRequest, most int) []api.OperationRequest {
	parts := halve(r, most)
	if len(parts) > 1 && r.IdempotencyKey != "" {
		for i := range parts {
			parts[i].IdempotencyKey = r.IdempotencyKey + "/" + strconv.Itoa(i+1)
		}
	}
	return parts
}

func halve(r api.OperationRequest, most int) []api.OperationRequest {
	text, err := json.Marshal(r)
	if err != nil || len(text) <= most || len(r.Desktops)+len(r.Computers)+len(r.Users) < 2 {
		return []api.OperationRequest{r}
	}
	a, b := r, r
	switch d, c, u := len(r.Desktops), len(r.Computers), len(r.Users); {
	case d > 0 && c+u > 0:
		a.Computers, a.Users, b.Desktops = nil, nil, nil
	case d > 0:
		a.Desktops, b.Desktops = r.Desktops[:d/2], r.Desktops[d/2:]
	case c > 0 && u > 0:
		a.Users, b.Computers = nil, nil
	case c > 0:
		a.Computers, b.Computers = r.Computers[:c/2], r.Computers[c/2:]
	default:
		a.Users, b.Users = r.Users[:u/2], r.Users[u/2:]
	}
	a.ExpectedUsers, b.ExpectedUsers = expectedOf(a), expectedOf(b)
	return append(halve(a, most), halve(b, most)...)
}

// expectedOf are the expected users of the desktops and computers of a request.
func expectedOf(r api.OperationRequest) map[string][]string {
	out := map[string][]string{}
	add := func(row string) {
		if users := r.ExpectedUsers[row]; len(users) > 0 {
			out[row] = users
		}
	}
	for _, id := range r.Desktops {
		add(id)
	}
	for _, name := range r.Computers {
		add(tasks.ComputerRow(name))
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
