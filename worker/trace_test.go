package worker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

// The calls for an operation carry its trace, each as a span of its own, which the record
// and the log have too; what has none carries none.
func TestTraceparentReachesTheCloud(t *testing.T) {
	t.Parallel()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Fail(fakecloud.Fault{Status: 503, Times: 1})
	s.start()
	op, _ := s.ended(s.enqueue(tasks.Request{Project: "hq", Desktops: []string{"d1"}, Trace: "01" + trace[2:] + "-later", Tracestate: "rojo=1"}))
	require.Equal(t, trace, op.Trace)
	s.ended(s.enqueue(tasks.Request{Project: "hq", Desktops: []string{"d2"}}))
	spans := map[string]bool{}
	for _, c := range s.calls() {
		sent := c.Header.Get("Traceparent")
		if c.DesktopIDs[0] == "d2" {
			require.Empty(t, sent)
			require.Empty(t, c.Header.Get("Tracestate"))
			continue
		}
		require.Equal(t, sent, tasks.Traceparent(sent))
		require.Equal(t, "rojo=1", c.Header.Get("Tracestate"))
		require.Equal(t, trace[:36], sent[:36], "the trace")
		require.Equal(t, trace[52:], sent[52:], "its flags")
		spans[sent[36:52]] = true
	}
	require.Len(t, spans, 2, "the call and the one again")
	require.NotContains(t, spans, trace[36:52])
	recorded := map[string]bool{}
	calls, err := s.record.Calls(t.Context(), op.ID)
	require.NoError(t, err)
	for _, c := range calls {
		recorded[c.Trace[36:52]] = true
		require.Contains(t, s.log.String(), `"trace_id":"`+trace[3:35]+`","span_id":"`+c.Trace[36:52]+`"`)
	}
	require.Equal(t, spans, recorded)
}
