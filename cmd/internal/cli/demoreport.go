package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// demoReport is the result of a demo, from the record and from the fake cloud, which
// knows nothing of the record.
type demoReport struct {
	Seed       uint64               `json:"seed"`
	TookMS     int64                `json:"took_ms"`
	Operations []tasks.Operation    `json:"operations"`
	States     tasks.Counts         `json:"states"`
	Failures   []demoFailure        `json:"failures"`
	Held       []demoFailure        `json:"held"`
	Removals   []demoRemoval        `json:"access_removed"`
	Codes      []tasks.FailureCount `json:"failures_by_code"`
	JobIDs     []string             `json:"job_ids"`
	Cloud      demoCloud            `json:"cloud"`
	Brakes     demoBrakes           `json:"brakes"`
	// AsPlanned: everything finished, exactly the planned desktops failed or were put
	// on hold, what is reported as detached is so in the cloud, and nobody else lost
	// access.
	AsPlanned bool     `json:"as_planned"`
	Surprises []string `json:"surprises"`
}

// demoRemoval is the time to access removal.
type demoRemoval struct {
	OperationID string        `json:"operation_id"`
	Removal     tasks.Removal `json:"access_removed"`
}

// demoFailure is a desktop that failed or is on hold, and the planned reason.
type demoFailure struct {
	tasks.Failure
	Planned string `json:"planned,omitempty"`
}

// demoCloud is what the fake cloud recorded.
type demoCloud struct {
	Calls    int            `json:"detach_calls"`
	Statuses map[string]int `json:"detach_calls_by_status"` // "none": no reply
	Readings int            `json:"readings"`
	Detached int            `json:"desktops_detached"`
}

func newDemoReport(ctx context.Context, s *app.Store, cloud *fakecloud.Cloud, plan *demoPlan, ops []tasks.Operation) (demoReport, error) {
	rec := s.Record
	r := demoReport{
		Held:       []demoFailure{},
		Operations: ops, States: sum(ops), Cloud: seenBy(cloud, plan),
		Failures: []demoFailure{}, Codes: []tasks.FailureCount{}, Surprises: []string{},
	}
	var calls []tasks.Call
	for _, op := range ops {
		recorded, err := rec.Operation(ctx, op.ID)
		if err != nil {
			return r, err
		}
		more, err := rec.Calls(ctx, op.ID)
		if err != nil {
			return r, err
		}
		for _, c := range more {
			calls = append(calls, c.Call)
		}
		removal, err := rec.Removal(ctx, recorded, s.Target, time.Now())
		if err != nil {
			return r, err
		}
		r.Removals = append(r.Removals, demoRemoval{op.ID, removal})
	}
	r.JobIDs = jobIDs(calls)
	failures, err := all(func(size int, token string) ([]tasks.Failure, string, error) {
		return rec.Failures(ctx, tasks.FailureFilter{}, size, token)
	})
	if err != nil {
		return r, err
	}
	for _, f := range failures {
		key := desktopKey{f.Project, f.DesktopID}
		if f.Class == tasks.ClassHeld {
			r.Held = append(r.Held, demoFailure{f, plan.holds[key]})
			continue
		}
		r.Failures = append(r.Failures, demoFailure{f, plan.fails[key]})
		r.Codes = countFailure(r.Codes, f)
	}
	r.compare(plan, cloud)
	return r, r.prove(ctx, rec, plan, cloud)
}

func seenBy(cloud *fakecloud.Cloud, plan *demoPlan) demoCloud {
	seen := demoCloud{Statuses: map[string]int{}}
	for _, q := range cloud.Requests() {
		switch q.Op {
		case fakecloud.OpDetach:
			seen.Calls++
			status := strconv.Itoa(q.Status)
			if q.Status == 0 {
				status = "none"
			}
			seen.Statuses[status]++
		case fakecloud.OpDetail:
			seen.Readings++
		}
	}
	for _, project := range plan.projects {
		for _, d := range cloud.Desktops(project) {
			if d.AttachState == fakecloud.Detached {
				seen.Detached++
			}
		}
	}
	return seen
}

// compare compares the record with the plan and with the cloud.
func (r *demoReport) compare(plan *demoPlan, cloud *fakecloud.Cloud) {
	surprise := func(format string, args ...any) { r.Surprises = append(r.Surprises, fmt.Sprintf(format, args...)) }
	if n := unfinished(r.Operations); n > 0 {
		surprise("%s not finished in time", count(n, "desktop"))
	}
	against := func(list []demoFailure, planned map[desktopKey]string, what string) {
		seen := map[desktopKey]bool{}
		for _, f := range list {
			seen[desktopKey{f.Project, f.DesktopID}] = true
			if f.Planned == "" {
				surprise("desktop %s of %s: %s, which was not planned: %s", f.DesktopID, f.Project, what, f.Code)
			}
		}
		for key, reason := range planned {
			if !seen[key] {
				surprise("desktop %s of %s: not %s, although %s", key.desktop, key.project, what, reason)
			}
		}
	}
	against(r.Failures, plan.fails, "failed")
	against(r.Held, plan.holds, "on hold")
	if twice := cloud.InTwoCallsAtOnce(); len(twice) > 0 {
		surprise("in two calls at once: %s", strings.Join(twice, ", "))
	}
	for id, name := range plan.keeps {
		if d, ok := cloud.Get(plan.projects[plan.byName.Project], id); !ok || !has(d, name) {
			surprise("%s lost %s", name, id)
		}
	}
}

// prove compares every desktop that the record has as detached with the cloud.
func (r *demoReport) prove(ctx context.Context, rec *record.Record, plan *demoPlan, cloud *fakecloud.Cloud) error {
	for _, op := range r.Operations {
		recorded, err := rec.Operation(ctx, op.ID)
		if err != nil {
			return err
		}
		rows, err := all(func(size int, token string) ([]record.Row, string, error) {
			return rec.Desktops(ctx, recorded, tasks.DesktopFilter{States: []tasks.State{tasks.StateDetached}}, size, token)
		})
		if err != nil {
			return err
		}
		for _, row := range rows {
			d, exists := cloud.Get(plan.projects[op.Project], row.ID)
			still := len(d.Users) > 0
			if len(row.Expect) > 0 {
				still = slices.ContainsFunc(row.Expect, func(name string) bool { return has(d, name) })
			}
			if _, isUser := row.User(); !isUser && exists && still {
				r.Surprises = append(r.Surprises, fmt.Sprintf("desktop %s of %s is reported as detached and is not", row.ID, op.Project))
			}
		}
	}
	slices.Sort(r.Surprises)
	r.AsPlanned = len(r.Surprises) == 0
	return nil
}

// stateTexts explain the states.
var stateTexts = map[tasks.State]string{
	tasks.StateQueued: "not sent yet", tasks.StateSending: "in a call",
	tasks.StateAccepted:  "accepted by the cloud, not confirmed yet",
	tasks.StateDetached:  "confirmed: the cloud shows the desktop without its user",
	tasks.StateFailed:    "for the reasons below",
	tasks.StateCancelled: "cancelled before being sent", tasks.StateHeld: "nothing was sent: a person decides",
	tasks.StateExpanded:  "users and computers whose desktops were found and have rows of their own",
	tasks.StateNoDesktop: "users known to the cloud, without a desktop",
}

func (r demoReport) print(w io.Writer) error {
	fmt.Fprintf(w, "%s in %s with seed %d, from the record:\n\n", sizes(r.Operations),
		(time.Duration(r.TookMS) * time.Millisecond).Round(100*time.Millisecond), r.Seed)
	states := &table{header: []string{"STATE", "DESKTOPS", "MEANING"}}
	for _, line := range stateLines(r.States) {
		states.add(stateName(line.state), strconv.Itoa(line.n), stateTexts[line.state])
	}
	codes := &table{header: []string{"FAILED WITH", "PROJECT", "CLASS", "DESKTOPS"}}
	for _, c := range r.Codes {
		codes.add(c.Code, c.Project, string(c.Class), strconv.Itoa(c.Count))
	}
	failed := &table{header: []string{"FAILED DESKTOP", "CODE", "ATTEMPTS", "PLANNED REASON"}}
	for _, f := range r.Failures {
		failed.add(f.DesktopID, f.Code, strconv.Itoa(f.Attempts), f.Planned)
	}
	held := &table{header: []string{"DESKTOP ON HOLD", "CODE", "PLANNED REASON", "MESSAGE"}}
	for _, f := range r.Held {
		held.add(f.DesktopID, f.Code, f.Planned, f.Message)
	}
	removals := &table{header: []string{"OPERATION", "CONFIRMED", "TIME TO ACCESS REMOVAL"}}
	for _, g := range r.Removals {
		removals.add(g.OperationID, strconv.Itoa(g.Removal.Proven), removalText(g.Removal))
	}
	jobs := &table{header: []string{"JOB ID"}}
	for _, id := range r.JobIDs {
		jobs.add(id)
	}
	for _, t := range []*table{states, codes, failed, held, removals, jobs} {
		if len(t.rows) == 0 {
			continue
		}
		if err := t.print(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "The fake cloud received %s (%s) and %s, and has %s detached.\n",
		count(r.Cloud.Calls, "detach call"), statusText(r.Cloud.Statuses), count(r.Cloud.Readings, "reading"), count(r.Cloud.Detached, "desktop"))
	fmt.Fprintln(w)
	r.Brakes.print(w)
	return r.printVerdict(w)
}

func statusText(statuses map[string]int) string {
	var out []string
	for _, s := range slices.Sorted(maps.Keys(statuses)) {
		what := "HTTP " + s
		if s == "none" {
			what = "without a reply"
		}
		out = append(out, fmt.Sprintf("%d × %s", statuses[s], what))
	}
	return strings.Join(out, ", ")
}

func (r demoReport) printVerdict(w io.Writer) error {
	for _, s := range r.Surprises {
		fmt.Fprintf(w, "surprise: %s\n", printable(s))
	}
	var err error
	if r.AsPlanned {
		_, err = fmt.Fprintf(w, "Everything as planned: %s, %d on hold, "+
			"every detached desktop is detached in the cloud, and no colleague lost access.\n",
			count(len(r.Failures), "failure"), len(r.Held))
	}
	return err
}
