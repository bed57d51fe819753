package cli

import (
	"encoding/json"
	"strconv"

	"github.com/detachd/detachd/tasks/api"
)

// largestBody is what a request over a server may take; servers refuse more than
// 8 MiB.
const largestBody = 8<<20 - 1<<16

// split cuts a request whose body would be longer than most bytes into several,
// each with a part of the desktops, or of the users. The same request is always
// cut the same way, and each part has an idempotency key of its own.
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
	if err != nil || len(text) <= most || len(r.Desktops)+len(r.Users) < 2 {
		return []api.OperationRequest{r}
	}
	a, b := r, r
	switch d, u := len(r.Desktops), len(r.Users); {
	case d > 0 && u > 0:
		a.Users, b.Desktops, b.ExpectedUsers = nil, nil, nil
	case d > 0:
		a.Desktops, b.Desktops = r.Desktops[:d/2], r.Desktops[d/2:]
		a.ExpectedUsers, b.ExpectedUsers = expectedOf(a), expectedOf(b)
	default:
		a.Users, b.Users = r.Users[:u/2], r.Users[u/2:]
	}
	return append(halve(a, most), halve(b, most)...)
}

// expectedOf are the expected users of the desktops that a request has.
func expectedOf(r api.OperationRequest) map[string][]string {
	out := map[string][]string{}
	for _, id := range r.Desktops {
		if users := r.ExpectedUsers[id]; len(users) > 0 {
			out[id] = users
		}
	}
	return out
}
