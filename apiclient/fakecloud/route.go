package fakecloud

import (
	"net/http"
	"strings"
)

// Op is a kind of request, in Fault and Request.
type Op string

// The kinds of requests. OpDetach stands for both detach calls, OpDetail for the detailed list of
// desktops and the single desktop; Request.Path tells them apart.
const (
	OpDetach  Op = "detach"
	OpAttach  Op = "attach"
	OpDetail  Op = "detail"
	OpToken   Op = "token"
	OpJob     Op = "job"
	OpSubJobs Op = "subjobs"
	OpUsers   Op = "users"
	OpList    Op = "list"  // the list of desktops without details
	OpUsage   Op = "usage" // usage metrics of desktops
)

// writes reports whether such a request changes desktops.
func (op Op) writes() bool { return op == OpDetach || op == OpAttach }

// route is the result of parsing path and query. An unknown path has no op.
type route struct {
	op          Op
	projectID   string
	pathID      string   // the desktop or job in the path
	ids         []string // the desktops in the request
	batch       bool     // a batch-detach
	wrongMethod bool
}

func findRoute(r *http.Request) route {
	var rt route
	method := http.MethodGet
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if len(parts) < 3 {
		return rt
	}
	if r.URL.Path == "/v3/auth/tokens" {
		rt.op, method = OpToken, http.MethodPost
		rt.wrongMethod = r.Method != method
		return rt
	}
	if parts[0] != "v2" || parts[1] == "" || len(parts) > 5 {
		return rt
	}
	rt.projectID = parts[1]
	switch tail := parts[2:]; {
	case len(tail) == 1 && tail[0] == "workspace-sub-jobs":
		rt.op = OpSubJobs
	case len(tail) == 1 && tail[0] == "users":
		rt.op = OpUsers
	case len(tail) == 1 && tail[0] == "desktops":
		rt.op = OpList
	case len(parts) == 5:
		if strings.Join(tail, "/") == "statistics/metrics/desktops" {
			rt.op = OpUsage
		}
	case len(tail) == 1 || tail[1] == "":
		// no such API
	case tail[0] == "workspace-jobs":
		rt.op, rt.pathID = OpJob, tail[1]
	case tail[0] != "desktops":
		// no such API
	case tail[1] == "detach", tail[1] == "batch-detach":
		rt.op, method = OpDetach, http.MethodPost
		rt.batch = tail[1] == "batch-detach"
	case tail[1] == "attach":
		rt.op, method = OpAttach, http.MethodPost
	case tail[1] == "detail":
		rt.op, rt.ids = OpDetail, r.URL.Query()["desktop_id"]
	default:
		rt.op, rt.pathID, rt.ids = OpDetail, tail[1], tail[1:2]
	}
	rt.wrongMethod = r.Method != method
	return rt
}
