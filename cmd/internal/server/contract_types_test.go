package server

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/cron"
	"github.com/detachd/detachd/worker/policy"
)

// schemas are the types of bodies, by the names of their schemas.
var schemas = map[string]reflect.Type{
	"OperationRequest": reflect.TypeFor[api.OperationRequest](), "LastWorkingDay": reflect.TypeFor[api.LastWorkingDay](), "Validated": reflect.TypeFor[api.Validated](), "Times": reflect.TypeFor[api.Times](),
	"Operation": reflect.TypeFor[tasks.Operation](), "Accepted": reflect.TypeFor[api.Accepted](), "OperationState": reflect.TypeFor[api.OperationState](),
	"OperationWithTimes": reflect.TypeFor[api.Operation](), "Counts": reflect.TypeFor[tasks.Counts](), "Removal": reflect.TypeFor[tasks.Removal](),
	"RecordedDesktop": reflect.TypeFor[tasks.Desktop](), "Desktop": reflect.TypeFor[api.Desktop](), "Before": reflect.TypeFor[tasks.Before](),
	"Person": reflect.TypeFor[tasks.Person](), "Failure": reflect.TypeFor[tasks.Failure](), "FailureFilter": reflect.TypeFor[tasks.FailureFilter](),
	"FailureCount": reflect.TypeFor[tasks.FailureCount](), "Call": reflect.TypeFor[tasks.Call](), "Event": reflect.TypeFor[api.Event](),
	"History": reflect.TypeFor[api.History](), "Cancelled": reflect.TypeFor[api.Cancelled](), "RetryRequest": reflect.TypeFor[api.RetryRequest](),
	"Retried": reflect.TypeFor[api.Retried](), "Plan": reflect.TypeFor[api.Plan](), "Planned": reflect.TypeFor[tasks.Planned](), "PlannedCount": reflect.TypeFor[tasks.PlannedCount](),
	"DesktopRef": reflect.TypeFor[tasks.DesktopRef](), "RedriveRequest": reflect.TypeFor[api.RedriveRequest](),
	"FailureMatch": reflect.TypeFor[api.FailureMatch](), "DismissRequest": reflect.TypeFor[api.DismissRequest](), "Dismissed": reflect.TypeFor[api.Dismissed](),
	"RedriveProgress": reflect.TypeFor[tasks.RedriveProgress](), "Pace": reflect.TypeFor[tasks.Pace](), "Redrive": reflect.TypeFor[tasks.Redrive](), "RedriveItem": reflect.TypeFor[tasks.RedriveItem](),
	"Estimate":           reflect.TypeFor[tasks.Estimate](),
	"CancellationFilter": reflect.TypeFor[tasks.CancellationFilter](), "CancellationRequest": reflect.TypeFor[api.CancellationRequest](),
	"CancellationMatch": reflect.TypeFor[tasks.CancellationMatch](), "CancellationCount": reflect.TypeFor[tasks.CancellationCount](),
	"RecallRequest": reflect.TypeFor[api.RecallRequest](), "Recall": reflect.TypeFor[tasks.Recall](),
	"RecallResult": reflect.TypeFor[tasks.RecallResult](), "RecallCounts": reflect.TypeFor[tasks.RecallCounts](),
	"RecalledRow": reflect.TypeFor[tasks.RecalledRow](), "RecallUndo": reflect.TypeFor[tasks.RecallUndo](),
	"RecallPage":   reflect.TypeFor[api.Page[tasks.Recall]](),
	"Cancellation": reflect.TypeFor[tasks.Cancellation](), "CancellationProgress": reflect.TypeFor[tasks.CancellationProgress](),
	"CancellationPage": reflect.TypeFor[api.Page[tasks.Cancellation]](), "TooLatePage": reflect.TypeFor[api.Page[tasks.Desktop]](),
	"Codes": reflect.TypeFor[api.Codes](), "Code": reflect.TypeFor[api.Code](), "Class": reflect.TypeFor[api.Class](), "Reading": reflect.TypeFor[api.Reading](),
	"Project": reflect.TypeFor[api.Project](), "Pause": reflect.TypeFor[tasks.Pause](), "Blackout": reflect.TypeFor[tasks.Blackout](), "Limits": reflect.TypeFor[api.Limits](),
	"ApproveRequest": reflect.TypeFor[api.ApproveRequest](), "PlanOfOperation": reflect.TypeFor[api.PlanOfOperation](),
	"Decision": reflect.TypeFor[api.Decision](), "UndoRequest": reflect.TypeFor[api.UndoRequest](),
	"Stopped": reflect.TypeFor[api.Stopped](), "Clearance": reflect.TypeFor[tasks.Clearance](),
	"CodeCount":    reflect.TypeFor[tasks.CodeCount](),
	"PauseRequest": reflect.TypeFor[api.PauseRequest](), "Paused": reflect.TypeFor[api.Paused](), "Key": reflect.TypeFor[api.Key](),
	"NewKey": reflect.TypeFor[api.NewKey](), "KeyRequest": reflect.TypeFor[api.KeyRequest](), "Worker": reflect.TypeFor[api.Worker](),
	"Step": reflect.TypeFor[tasks.Step](), "Stats": reflect.TypeFor[tasks.Stats](), "StatsBucket": reflect.TypeFor[tasks.StatsBucket](), "RemovedBucket": reflect.TypeFor[tasks.RemovedBucket](), "QueueDepth": reflect.TypeFor[tasks.QueueDepth](),
	"Problem": reflect.TypeFor[api.Problem](), "Fault": reflect.TypeFor[api.Fault](),

	"OperationPage": reflect.TypeFor[api.Page[api.OperationState]](), "DesktopPage": reflect.TypeFor[api.Page[api.Desktop]](),
	"CallPage": reflect.TypeFor[whole[tasks.Call]](), "EventPage": reflect.TypeFor[uncounted[api.Event]](),
	"FailurePage": reflect.TypeFor[api.Page[tasks.Failure]](), "FailureCountPage": reflect.TypeFor[whole[tasks.FailureCount]](),
	"RedrivePage": reflect.TypeFor[api.Page[tasks.Redrive]](), "RedriveItemPage": reflect.TypeFor[api.Page[tasks.RedriveItem]](),
	"KeyPage": reflect.TypeFor[whole[api.Key]](), "ProjectPage": reflect.TypeFor[whole[api.Project]](),
	"WorkerPage": reflect.TypeFor[whole[api.Worker]](), "StatsPage": reflect.TypeFor[whole[tasks.Stats]](),

	"Protection": reflect.TypeFor[tasks.Protection](), "ProtectionRequest": reflect.TypeFor[api.ProtectionRequest](),
	"ProtectionPage": reflect.TypeFor[whole[tasks.Protection]](),

	"Schedule": reflect.TypeFor[tasks.Schedule](), "ScheduleRequest": reflect.TypeFor[api.ScheduleRequest](),
	"ScheduleSource": reflect.TypeFor[tasks.ScheduleSource](), "Selector": reflect.TypeFor[tasks.Selector](),
	"NotIn": reflect.TypeFor[tasks.NotIn](), "CameBack": reflect.TypeFor[tasks.CameBack](),
	"ScheduleView": reflect.TypeFor[tasks.ScheduleView](), "ScheduleStateFields": reflect.TypeFor[tasks.ScheduleState](),
	"SchedulePause": reflect.TypeFor[tasks.SchedulePause](), "ScheduleSkip": reflect.TypeFor[tasks.ScheduleSkip](),
	"ScheduleTick": reflect.TypeFor[tasks.ScheduleTick](), "ScheduleCounts": reflect.TypeFor[tasks.ScheduleCounts](),
	"ScheduleRun": reflect.TypeFor[tasks.ScheduleRun](), "TicksRequest": reflect.TypeFor[api.TicksRequest](),
	"AskedRun": reflect.TypeFor[api.AskedRun](), "SchedulePage": reflect.TypeFor[api.Page[tasks.ScheduleView]](),
	"TickPage": reflect.TypeFor[whole[tasks.ScheduleTick]](),

	"ReasonRequest": reflect.TypeFor[api.ReasonRequest](), "Session": reflect.TypeFor[api.Session](), "AuditEvent": reflect.TypeFor[tasks.AuditEvent](),

	"ActionMeaning": reflect.TypeFor[api.Action](),
	"Tally":         reflect.TypeFor[tasks.Tally](), "Access": reflect.TypeFor[tasks.Access](), "Found": reflect.TypeFor[api.Found](),
	"FoundPerson": reflect.TypeFor[api.FoundPerson](), "FoundPeople": reflect.TypeFor[api.FoundGroup[api.FoundPerson]](),
	"FoundOperations": reflect.TypeFor[api.FoundGroup[api.OperationState]](), "FoundRedrives": reflect.TypeFor[api.FoundGroup[tasks.Redrive]](),
	"FoundDesktops": reflect.TypeFor[api.FoundGroup[api.Event]](),
	"AccessReview":  reflect.TypeFor[tasks.AccessReview](), "AccessReviewRequest": reflect.TypeFor[api.AccessReviewRequest](),
	"ReviewedAccess": reflect.TypeFor[tasks.ReviewedAccess](), "Returned": reflect.TypeFor[tasks.Returned](),
	"AccessDesktop": reflect.TypeFor[tasks.AccessDesktop](), "AccessRead": reflect.TypeFor[tasks.AccessRead](),
}

// whole is a list that is on one page.
type whole[T any] struct {
	Items []T `json:"items"`
}

// uncounted is a list without a total.
type uncounted[T any] struct {
	Items         []T    `json:"items"`
	NextPageToken string `json:"next_page_token,omitempty"`
}

// field is a field of a JSON object.
type field struct {
	of       reflect.Type // nil: not known
	required bool
}

// fieldsOf gives the fields that a type has in JSON, those of embedded ones too.
func fieldsOf(t *testing.T, of reflect.Type) map[string]field {
	t.Helper()
	out := map[string]field{}
	if v, ok := reflect.Zero(of).Interface().(json.Marshaler); ok {
		text, err := v.MarshalJSON()
		require.NoError(t, err)
		for name := range parse(t, string(text)).(object) {
			out[name] = field{nil, true}
		}
		return out
	}
	for f := range of.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for name, f := range fieldsOf(t, f.Type) {
				out[name] = f
			}
		case !f.IsExported() || name == "-":
		default:
			require.NotEmpty(t, name, "%s.%s has no name in JSON", of, f.Name)
			out[name] = field{f.Type, options == ""}
		}
	}
	return out
}

// properties gives the places of the properties that a schema has, and which are
// required.
func (d *document) properties(place string) (all map[string]string, required []string) {
	all = map[string]string{}
	o, _ := d.get(place).(object)
	parts := []string{place}
	for i := range list(o["allOf"]) {
		parts = append(parts, d.get(place).(object)["allOf"].([]any)[i].(object)["$ref"].(string))
	}
	for _, part := range parts {
		for _, name := range d.keys(at(part, "properties")) {
			all[name] = at(part, "properties", name)
		}
		for _, name := range list(d.get(at(part, "required"))) {
			required = append(required, name.(string))
		}
	}
	slices.Sort(required)
	return all, required
}

// Bodies in Go and in the contract have the same fields, of the same types.
func TestContractAgreesWithGo(t *testing.T) {
	t.Parallel()
	d := theContract()
	for name, of := range schemas {
		place := at("#/components/schemas", name)
		require.NotNil(t, d.get(place), name)
		properties, required := d.properties(place)
		fields := fieldsOf(t, of)
		var must []string
		for f, x := range fields {
			require.Contains(t, properties, f, "%s lacks a field of %s", name, of)
			if x.required && !sometimes[name+"."+f] {
				must = append(must, f)
			}
			if x.of != nil {
				d.agrees(t, properties[f], x.of)
			}
		}
		slices.Sort(must)
		require.Equal(t, must, required, "%s: what is required", name)
		for f := range properties {
			require.Contains(t, fields, f, "%s has a field that %s lacks", name, of)
		}
	}
	requests := d.requests()
	for _, name := range d.keys("#/components/schemas") {
		if d.get(at("#/components/schemas", name, "properties")) != nil {
			closed := d.get(at("#/components/schemas", name, "additionalProperties")) == false
			require.Equal(t, requests[name], closed, "%s: requests are closed, and answers may get new fields", name)
			for _, p := range d.keys(at("#/components/schemas", name, "properties")) {
				require.Nil(t, d.get(at("#/components/schemas", name, "properties", p, "default")), "%s of %s: openapi-typescript requires it", p, name)
			}
		}
	}
	d.walk("#", func(place string, v any) {
		require.NotContains(t, v, "unevaluatedProperties", "%s: the tests close what is open to clients", place)
	})
}

// sometimes are fields that another type of the same schema lacks.
var sometimes = map[string]bool{"OperationWithTimes.access_removed": true, "OperationWithTimes.pace": true} // see access_removed=false

// requests are the names of the schemas that requests have.
func (d *document) requests() map[string]bool {
	found := map[string]bool{}
	var look func(place string)
	look = func(place string) {
		d.walk(place, func(_ string, v any) {
			ref, _ := v.(object)["$ref"].(string)
			if name, ok := strings.CutPrefix(ref, "#/components/schemas/"); ok && !found[name] {
				found[name] = true
				look(ref)
			}
		})
	}
	d.operations(func(_ route, place string) { look(d.follow(at(place, "requestBody"))) })
	return found
}

// agrees holds the type of a field against its schema.
func (d *document) agrees(t *testing.T, place string, of reflect.Type) {
	t.Helper()
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	o := d.get(place).(object)
	ref, _ := o["$ref"].(string)
	if of.Kind() == reflect.Struct && !of.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		require.Equal(t, of, schemas[strings.TrimPrefix(ref, "#/components/schemas/")], place)
		return
	}
	kind, want := o["type"], ""
	if ref != "" {
		kind = d.get(at(ref, "type"))
	}
	switch {
	case of.Implements(reflect.TypeFor[encoding.TextMarshaler]()), of.Kind() == reflect.String:
		want = "string"
	case of.Kind() == reflect.Bool:
		want = "boolean"
	case of.Kind() == reflect.Int, of.Kind() == reflect.Int64:
		want = "integer"
	case of.Kind() == reflect.Float64:
		want = "number"
	case of.Kind() == reflect.Slice:
		want = "array"
		if of.Elem().Kind() != reflect.Interface {
			d.agrees(t, at(place, "items"), of.Elem())
		}
	case of.Kind() == reflect.Map:
		want = "object"
		d.agrees(t, at(place, "additionalProperties"), of.Elem())
	}
	require.Equal(t, want, kind, "%s is a %s", place, of)
	if of == reflect.TypeFor[time.Time]() {
		require.Equal(t, "#/components/schemas/Time", ref, place)
	}
}

// Every body of the Go client is held against the contract.
func TestContractHasEveryBody(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"Page": true, "FoundGroup": true} // see Paging, and FoundPeople and so on
	for _, of := range schemas {
		known[of.Name()] = true
	}
	files, err := filepath.Glob("../../../tasks/api/*.go")
	require.NoError(t, err)
	found := 0
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool { return f.Tag != nil }) {
				found++
				require.True(t, known[spec.Name.Name], "%s has no schema", spec.Name.Name)
			}
			return true
		})
	}
	require.Greater(t, found, 20)
}

func texts[T any](of []T, text func(T) string) (out []string) {
	for _, x := range of {
		out = append(out, text(x))
	}
	return out
}

func codes[T any](of ...T) []string { return texts(of, func(x T) string { return fmt.Sprint(x) }) }

func TestContractEnums(t *testing.T) {
	t.Parallel()
	d := theContract()
	closed := map[string][]string{
		"State": codes(tasks.States...), "Role": codes(access.Roles...),
		"OperationStateName": codes(tasks.OperationScheduled, tasks.OperationWaiting, tasks.OperationRunning, tasks.OperationFinished),
		"Missed":             codes(tasks.MissedOnce, tasks.MissedSkip), "Overlap": codes(tasks.OverlapSkip, tasks.OverlapAllow),
		"Selector/properties/user": codes(tasks.UserLocked, tasks.UserMissing),
		"Code/properties/of":       codes(policy.OfCall, policy.OfDesktop, policy.OfWorker),
	}
	open := map[string][]string{
		"FailureClass":            texts(policy.Classes(), func(c policy.ClassRow) string { return string(c.Class) }),
		"Action":                  codes(policy.Done, policy.Follow, policy.Send, policy.Later, policy.Once, policy.Hold, policy.Wait),
		"Planned/properties/does": codes(policy.Send, policy.Done, policy.Follow, policy.Later, policy.Hold, policy.Fail, policy.Find),
		"Pause/properties/kind": codes(tasks.PauseThrottled, tasks.PauseAuth, tasks.PauseNoRight, tasks.PauseNotAPI,
			tasks.PauseOperator, tasks.PauseStop),
		"Clearance/properties/why": codes(tasks.WhyLimit, tasks.WhyCanary, tasks.WhyStopLoss, tasks.WhyUndo),
		"Note":                     codes(tasks.Notes...),
		"ScheduleResult":           codes(tasks.ScheduleResults...),
		"TickMark":                 codes(cron.Shifted, cron.FirstOfTwo, cron.SecondOfTwo),
	}
	for keyword, all := range map[string]map[string][]string{"enum": closed, "x-extensible-enum": open} {
		for place, want := range all {
			require.Equal(t, want, codes(list(d.get("#/components/schemas/"+place+"/"+keyword))...), place)
		}
	}
	format := d.parameters(route{method: "GET", path: "/v1/operations/{id}/report"}, "query")[0]
	require.Equal(t, codes(report.Formats...),
		codes(list(d.get(at(format, "schema", "enum")))...))
}
