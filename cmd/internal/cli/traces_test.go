package cli

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

// receiver is a collector of OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*otlp.Span
	resource map[string]string
	headers  []string // api-key
	refused  []error
}

const collectorKey = "collector-key-that-nobody-may-see"

// exportTo has a stage export its traces to a new receiver. The SDK reads the variables of the
// process, so the test cannot run beside others.
func (s *stage) exportTo(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{resource: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var in collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &in)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			c.refused = append(c.refused, fmt.Errorf("%s: %w", r.URL.Path, err))
			return
		}
		c.headers = append(c.headers, r.Header.Get("Api-Key"))
		for _, rs := range in.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				c.resource[a.Key] = a.Value.GetStringValue()
			}
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	s.setenv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=" + collectorKey,
		"OTEL_SERVICE_NAME": "access", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
	})
	return c
}

func (s *stage) setenv(t *testing.T, env map[string]string) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
		s.env[name] = value
	}
}

// tree writes the spans of a trace as a tree, each with its attributes but for times and ids;
// those that say the same stand once. named are the ids that it names.
func (c *receiver) tree(t *testing.T, trace string, named map[string]string) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Empty(t, c.refused)
	children, names := map[string][]*otlp.Span{}, map[string]string{}
	for _, x := range c.spans {
		names[hex.EncodeToString(x.SpanId)] = x.Name
		if hex.EncodeToString(x.TraceId) == trace {
			children[hex.EncodeToString(x.ParentSpanId)] = append(children[hex.EncodeToString(x.ParentSpanId)], x)
		}
	}
	var lines []string
	var write func(parent, indent string)
	write = func(parent, indent string) {
		list := children[parent]
		slices.SortFunc(list, func(a, b *otlp.Span) int {
			return cmp.Or(cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano), cmp.Compare(a.Name, b.Name))
		})
		for _, x := range list {
			line := indent + x.Name
			for _, a := range x.Attributes {
				value := a.Value.GetStringValue()
				if a.Value.GetStringValue() == "" {
					value = fmt.Sprint(a.Value.GetIntValue())
				}
				line += " " + strings.TrimPrefix(a.Key, "detachd.") + "=" + cmp.Or(named[a.Key+"="+value], value)
			}
			for _, l := range x.Links {
				line += " -> " + cmp.Or(names[hex.EncodeToString(l.SpanId)], "unknown")
			}
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
			write(hex.EncodeToString(x.SpanId), indent+"  ")
		}
	}
	for parent := range children {
		if _, ours := names[parent]; !ours {
			write(parent, "")
		}
	}
	return strings.Join(lines, "\n")
}

// A request that comes with a trace is followed to its proof by the real command, and no span has
// a secret or a name.
func TestTraces(t *testing.T) {
	s := newStage(t)
	c := s.exportTo(t)
	s.configured(t, "log: {level: debug, format: json}\n")
	s.cloud.Add(hqID, fakecloud.Desktop{ID: "desktop-of-zoe", ComputerName: "PC-OF-ZOE", Users: []fakecloud.User{{Name: "zoe"}}})
	key := strings.TrimSpace(s.ok(t, "keys", "create", "--name", "name-of-hr", "--role", "producer"))
	const caller, callersSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	op, r := s.served(t, key, "00-"+caller+"-"+callersSpan+"-01")
	require.Equal(t, map[string]string{
		"service.name": "access", "service.version": "test", "deployment.environment.name": "test",
		"telemetry.sdk.language": "go", "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.version": c.resource["telemetry.sdk.version"],
	}, c.resource)

	call := s.call(t, op)
	require.Equal(t, `POST /v1/operations http.request.method=POST http.route=/v1/operations request_id=HR-4711 http.response.status_code=202
  accept operation operation=OP project=hq rows=1 replayed=0
    operation operation=OP project=hq rows=2 detached=1 expanded=1
    handle chunk operation=OP project=hq chunk=0 worker=`+call.Worker+`
      read names reading=names why=look-up of names project=hq desktops=1 operations=1
    handle chunk operation=OP project=hq chunk=1 worker=`+call.Worker+`
      read desktops reading=desktops why=before the call project=hq desktops=1 operations=1
      detach call call=CALL project=hq desktops=1 operations=1 http.response.status_code=200 cloud_request_id=REQ
    confirm operation=OP project=hq chunk=1 detached=1 -> read desktops
    read desktops reading=desktops why=after the call project=hq desktops=1 operations=1`,
		c.tree(t, caller, map[string]string{"detachd.operation=" + op.ID: "OP", "detachd.call=" + call.ID: "CALL", "detachd.cloud_request_id=" + call.RequestID: "REQ"}))

	spans := map[string]*otlp.Span{}
	for _, x := range c.spans {
		spans[x.Name] = x
		text := x.String() // in JSON, random ids are base64, in which zoe may occur
		require.Contains(t, text, x.Name)
		for _, never := range []string{"zoe", "ZOE", "name-of-hr", "why of it", "T-1", key, cloudToken, redisPassword, collectorKey, s.cloud.URL} {
			require.NotContains(t, text, never)
		}
	}
	require.Equal(t, callersSpan, hex.EncodeToString(spans["POST /v1/operations"].ParentSpanId))
	require.Equal(t, otlp.Span_SPAN_KIND_SERVER, spans["POST /v1/operations"].Kind)
	require.Equal(t, otlp.Span_SPAN_KIND_PRODUCER, spans["accept operation"].Kind)
	require.Equal(t, otlp.Span_SPAN_KIND_CONSUMER, spans["handle chunk"].Kind)
	require.Equal(t, otlp.Span_SPAN_KIND_CLIENT, spans["detach call"].Kind)
	require.Equal(t, op.EndedAt.UnixNano(), int64(spans["operation"].EndTimeUnixNano))

	// The record, the cloud and the log have the same ids.
	callSpan := hex.EncodeToString(spans["detach call"].SpanId)
	require.Equal(t, "00-"+caller+"-"+hex.EncodeToString(spans["accept operation"].SpanId)+"-01", op.Trace)
	require.Equal(t, "00-"+caller+"-"+callSpan+"-01", call.Trace)
	require.True(t, slices.ContainsFunc(s.cloud.Requests(), func(q fakecloud.Request) bool { return q.Header.Get("Traceparent") == call.Trace }))
	require.Contains(t, r.err, `"trace_id":"`+caller+`","span_id":"`+callSpan+`","call":"`+call.ID+`"`)
	require.Contains(t, r.err, `"request_id":"HR-4711","trace_id":"`+caller+`","span_id":"`+hex.EncodeToString(spans["POST /v1/operations"].SpanId)+`"`)
	require.Regexp(t, `"operation":"`+op.ID+`".*"trace_id":"`+caller+`".*"message":"operation ended"`, r.err)

	require.NotEmpty(t, c.headers)
	for _, h := range c.headers {
		require.Equal(t, collectorKey, h)
	}
	require.NotContains(t, r.err, collectorKey)
}

// served runs a server with a worker until an operation of zoe's, which comes with a trace, has
// ended.
func (s *stage) served(t *testing.T, key, trace string) (op tasks.Operation, r result) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var failed error
	asked := false
	r = s.runWith(t, ctx, "", func(text string) {
		m := address.FindStringSubmatch(text)
		if asked || m == nil {
			return
		}
		asked = true
		go func() {
			defer interrupt()
			op, failed = followed(t.Context(), "http://"+m[1], key, trace)
		}()
	}, "serve", "--listen", anyPort, "--worker")
	require.Equal(t, exitOK, r.code, r.err)
	require.NoError(t, failed)
	require.Equal(t, 1, op.Counts.Detached)
	return op, r
}

// followed asks a server for an operation, with a trace, and waits for its end. Requests without a
// valid key are made besides.
func followed(ctx context.Context, url, key, trace string) (op tasks.Operation, err error) {
	ask := func(method, path, key, body string, header ...string) (int, error) {
		req, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Close = true
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, json.NewDecoder(resp.Body).Decode(&op)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if _, err := ask("GET", path, "", "", "Traceparent", trace); err != nil {
			return op, err
		}
	}
	if status, err := ask("GET", "/v1/operations", "dk_nobody", "", "Traceparent", trace); err != nil || status != http.StatusUnauthorized {
		return op, fmt.Errorf("without a key: %d, %w", status, err)
	}
	body := `{"project":"hq","users":["zoe"],"reason":"why of it","ticket":"T-1"}`
	if status, err := ask("POST", "/v1/operations", key, body, "Traceparent", trace, "X-Request-Id", "HR-4711"); err != nil || status != http.StatusAccepted {
		return op, fmt.Errorf("%d: %w", status, err)
	}
	for !op.Sealed() {
		if _, err := ask("GET", "/v1/operations/"+op.ID, key, ""); err != nil {
			return op, err
		}
	}
	return op, nil
}

// call is the only call of an operation.
func (s *stage) call(t *testing.T, op tasks.Operation) tasks.Call {
	t.Helper()
	calls, err := s.store(t).Record.Calls(t.Context(), op.ID)
	require.NoError(t, err)
	require.Len(t, calls, 1)
	return calls[0].Call
}

// made are request ids that a server made.
var made = regexp.MustCompile(`request_id=[a-v0-9]{20}`)

// Commands make spans too, and those of a server continue them.
func TestTracesOfCommands(t *testing.T) {
	s := newStage(t)
	c := s.exportTo(t)
	id := s.detached(t, "d1")
	op := s.operations(t)[0]
	require.Equal(t, id, op.ID)
	require.Equal(t, `detachd detach process.exit.code=0
  GET /v1/projects http.request.method=GET http.route=/v1/projects request_id=ID http.response.status_code=200
  POST /v1/operations http.request.method=POST http.route=/v1/operations request_id=ID http.response.status_code=202
    accept operation operation=OP project=hq rows=1 replayed=0
  GET /v1/workers http.request.method=GET http.route=/v1/workers request_id=ID http.response.status_code=200`,
		made.ReplaceAllString(c.tree(t, tasks.TraceID(op.Trace), map[string]string{"detachd.operation=" + op.ID: "OP"}), "request_id=ID"))

	s.serve(t)
	id = s.detached(t, "d2")
	op, err := s.store(t).Record.Operation(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "detachd detach process.exit.code=0", c.tree(t, tasks.TraceID(op.Trace), nil))
}

// Work goes on while the collector is away, and the log says it once.
func TestTracesWhileTheCollectorIsAway(t *testing.T) {
	s := newStage(t)
	s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "zoe"}}})
	key := strings.TrimSpace(s.ok(t, "keys", "create", "--name", "hr", "--role", "producer"))
	s.setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"})
	_, r := s.served(t, key, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	require.Equal(t, 1, strings.Count(r.err, "traces cannot be exported"), r.err)
}

// Without the variables there is no span, whatever a caller sends, and the record keeps what it sent.
func TestNoTracesUnasked(t *testing.T) {
	s := newStage(t)
	c := s.exportTo(t)
	for name := range s.env {
		if strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
			delete(s.env, name)
		}
	}
	s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "zoe"}}})
	key := strings.TrimSpace(s.ok(t, "keys", "create", "--name", "hr", "--role", "producer"))
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	op, _ := s.served(t, key, trace)
	require.Equal(t, trace, op.Trace)
	require.Empty(t, c.headers)
}
