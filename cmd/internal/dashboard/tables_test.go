package dashboard_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// fleet is what an operator has after a day: some operations with tickets, and about 180
// failures of nine codes in two projects.
func (s *stage) fleet() (ops []tasks.Operation) {
	s.t.Helper()
	s.work()
	first := []string{"zoe", "tom", "ada", "lin", "omar", "ines", "raj", "eva"}
	last := []string{"haddad", "weber", "okafor", "lindqvist", "moreau", "tanaka"}
	codes := []struct{ code, message string }{
		{"WKS.00010110", "The desktop has no network address."},
		{"WKS.0407", "The desktop is being processed by another task. Please try again later or contact technical support."},
		{"WKS.0005", "Internal server error."},
		{"WKS.00010202", "The desktop is not attached."},
		{"WKS.0220", "The quota of the domain is exceeded."},
		{"WKS.0012", "The AD server cannot be connected."},
		{"WKS.00170211", "unknown"},
	}
	for i, x := range []struct {
		project, ticket, reason string
		n                       int
	}{
		{"hq", "HR-4711", "Contracts ended on 30 November", 90},
		{"branch", "HR-4712", "Office closed", 60},
		{"hq", "", "Interns of the summer programme", 20},
		{"hq", "HR-4802", "", 12},
		{"branch", "OPS-17", "Spare desktops of the night shift, which nobody uses since the shift has moved to the other site", 34},
	} {
		req := api.OperationRequest{Project: x.project, Reason: x.reason, Ticket: x.ticket, ExpectedUsers: map[string][]string{}}
		for j := range x.n {
			n := 1000*i + j
			id := fmt.Sprintf("%08x-4c3e-4459-82dd-21250b72%04x", 0x9e3779b1*uint32(n+1), n)
			user := fmt.Sprintf("%s.%s%d", first[n%len(first)], last[n%len(last)], n)
			d := fakecloud.Desktop{ID: id, ComputerName: fmt.Sprintf("VDI-%s-%04d", []string{"FIN", "ENG", "OPS"}[n%3], n),
				Users: []fakecloud.User{{Name: user}}}
			switch {
			case i == 3:
			case j%7 == 3:
				d.Users[0].Name = "tom.heir"
			case j%11 == 4:
				d.Status = fakecloud.Hibernated
			default:
				if i != 2 || j < 3 {
					c := codes[(j*j+i)%len(codes)]
					s.cloud.Fail(fakecloud.Refused(id, c.code, c.message))
				}
			}
			req.Desktops = append(req.Desktops, id)
			req.ExpectedUsers[id] = []string{user}
			s.cloud.Add(projectIDs[x.project], d)
		}
		ops = append(ops, s.submit(req))
	}
	for i, op := range ops {
		ops[i] = s.ended(op.ID).Operation
	}
	return ops
}

// The sizes that people notice: rows of 40 pixels, filters in one line, the first failures
// on the first screen, and nothing over a control.
func TestTablesAreDense(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ops := s.fleet()
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Admin))
	b.run(chromedp.EmulateViewport(1440, 900))
	for _, path := range []string{"/operations", "/failures", "/operations/" + ops[0].ID} {
		b.open(path)
		b.screen("fleet-" + strings.ReplaceAll(path[1:min(len(path), 14)], "/", "-"))
	}
	require.NotEmpty(t, ops)
}
