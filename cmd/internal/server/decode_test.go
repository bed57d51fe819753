package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// What is wrong with a body is named by its place, whatever is wrong.
func TestDecodeNamesThePlace(t *testing.T) {
	t.Parallel()
	var operation api.OperationRequest
	var redrive api.RedriveRequest
	for _, x := range []struct {
		into                any
		body, pointer, text string
	}{
		{&operation, ``, "", "not valid JSON"},
		{&operation, `{`, "", "not valid JSON"},
		{&operation, `null`, "", "not a JSON object"},
		{&operation, ` [] `, "", "not a JSON object"},
		{&operation, `"x"`, "", "not a JSON object"},
		{&operation, `{} {}`, "", "not valid JSON at byte 3"},
		{&operation, `{"project":"hq"`, "", "not valid JSON"},
		{&operation, `{"project":"hq",}`, "", "not valid JSON"},
		{&operation, `{"project":hq}`, "/project", "not valid JSON at byte 11"},
		{&operation, "{\"project\":\"h\xffq\"}", "/project", "UTF-8"},
		{&operation, `{"project":"\ud800"}`, "/project", "not valid JSON"},
		// wrong types
		{&operation, `{"project":7}`, "/project", "a text"},
		{&operation, `{"project":["hq"]}`, "/project", "a text"},
		{&operation, `{"desktops":"d1"}`, "/desktops", "a list"},
		{&operation, `{"desktops":{"0":"d1"}}`, "/desktops", "a list"},
		{&operation, `{"desktops":["d1","d2",3]}`, "/desktops/2", "a text"},
		{&operation, `{"expected_users":[]}`, "/expected_users", "an object"},
		{&operation, `{"expected_users":{"d1":"zoe"}}`, "/expected_users/d1", "a list"},
		{&operation, `{"expected_users":{"a/b~c":["zoe",1]}}`, "/expected_users/a~1b~0c/1", "a text"},
		{&operation, `{"urgent":"yes"}`, "/urgent", "true or false"},
		{&operation, `{"due_at":"soon"}`, "/due_at", "a time"},
		{&operation, `{"due_at":1767225600}`, "/due_at", "a time"},
		{&operation, `{"due_at":"2026-02-30T00:00:00Z"}`, "/due_at", "a time"},
		{&operation, `{"due_at":"2026-02-03 00:00:00Z"}`, "/due_at", "a time"},
		{&redrive, `{"per_second":1.5}`, "/per_second", "a whole number"},
		{&redrive, `{"per_second":1e99}`, "/per_second", "a whole number"},
		{&redrive, `{"per_second":"7"}`, "/per_second", "a whole number"},
		{&redrive, `{"filter":"all"}`, "/filter", "an object"},
		{&redrive, `{"filter":{"from":"x"}}`, "/filter/from", "a time"},
		{&redrive, `{"desktops":[{"operation_id":"a","desktop_id":"b"},{"operation_id":1}]}`, "/desktops/1/operation_id", "a text"},
		// unknown and repeated fields
		{&operation, `{"project":"hq","x":1}`, "/x", "unknown field; known: project, desktops, "},
		{&operation, `{"project":"hq","user":["zoe"]}`, "/user", "did you mean users?"},
		{&operation, `{"project":"hq","dueat":"now"}`, "/dueat", "did you mean due_at?"},
		{&operation, `{"Project":"hq"}`, "/Project", "unknown field: did you mean project?"},
		{&operation, `{"IdempotencyKey":"k"}`, "/IdempotencyKey", "unknown field"},
		{&redrive, `{"filter":{"proyect":"hq"}}`, "/filter/proyect", "did you mean project?"},
		{&redrive, `{"desktops":[{"operation_id":"a","desktop_id":"b","chunk":1}]}`, "/desktops/0/chunk", "unknown field; known: operation_id, desktop_id"},
		{&operation, `{"project":"hq","project":"branch"}`, "/project", "twice"},
		{&operation, `{"expected_users":{"d1":["a"],"d1":["b"]}}`, "/expected_users/d1", "twice"},
		// null, which would be as if the field were omitted: at once, for all, without a guard
		{&operation, `{"project":"hq","users":["zoe"],"last_working_day":null}`, "/last_working_day", "is null: leave it out"},
		{&operation, `{"due_at":null}`, "/due_at", "is null"},
		{&operation, `{"not_before":null}`, "/not_before", "is null"},
		{&operation, `{"expected_users":null}`, "/expected_users", "is null"},
		{&operation, `{"desktops":["null",null]}`, "/desktops/1", "is null"},
		{&operation, `{"validate_only":null}`, "/validate_only", "is null"},
		{&operation, `{"plan":null}`, "/plan", "is null"},
		{&redrive, `{"desktops":null}`, "/desktops", "is null"},
		{&redrive, `{"filter":null}`, "/filter", "is null"},
		{&redrive, `{"filter":{"operation":null}}`, "/filter/operation", "is null"},
		{&api.KeyRequest{}, `{"name":"hr","role":"admin","projects":null}`, "/projects", "is null"},
		{&api.KeyRequest{}, `{"expires_at":null}`, "/expires_at", "is null"},
		// an empty value of what narrows a request
		{&redrive, `{"filter":{"operation":""}}`, "/filter/operation", "is empty: leave it out"},
		{&api.DismissRequest{}, `{"filter":{"class":""}}`, "/filter/class", "is empty"},
		{&api.DismissRequest{}, `{"filter":{"code":"GROUP"},"matched":0}`, "/matched", "is 0: leave it out"},
		{&api.CancellationRequest{}, `{"filter":{"ticket":"t","requested_by":""}}`, "/filter/requested_by", "is empty"},
		{&api.CancellationRequest{}, `{"matched":0}`, "/matched", "is 0"},
		{&api.KeyRequest{}, `{"desktops_per_hour":0}`, "/desktops_per_hour", "is 0"},
		{&api.KeyRequest{}, `{"desktops_per_day":0}`, "/desktops_per_day", "is 0"},
		{&api.RecallRequest{}, `{"ticket":""}`, "/ticket", "is empty"},
		{&api.RetryRequest{}, `{"code":""}`, "/code", "is empty"},
		{&api.ApproveRequest{}, `{"plan":""}`, "/plan", "is empty"},
		{&api.ScheduleRequest{}, `{"source":{"selector":{"pool":"","unused_days":60}}}`, "/source/selector/pool", "is empty"},
		{&api.ScheduleRequest{}, `{"source":{"not_in":{"file":"f","selector":{"tag":""}}}}`, "/source/not_in/selector/tag", "is empty"},
		// the zero time of Go and of .NET
		{&operation, `{"due_at":"0001-01-01T00:00:00Z"}`, "/due_at", "a time"},
		{&operation, `{"not_before":"0001-01-01T08:00:00+08:00"}`, "/not_before", "a time"},
		{&api.KeyRequest{}, `{"expires_at":"0001-01-01T00:00:00Z"}`, "/expires_at", "a time"},
	} {
		var p *api.Problem
		require.ErrorAs(t, decodeText([]byte(x.body), x.into), &p, x.body)
		require.Equal(t, http.StatusBadRequest, p.Status, x.body)
		require.Len(t, p.Errors, 1, x.body)
		require.Equal(t, x.pointer, p.Errors[0].Pointer, "%s: %s", x.body, p.Errors[0].Detail)
		require.Contains(t, p.Errors[0].Detail, x.text, x.body)
	}
}

// What is empty and narrows nothing is taken, as programs send their records.
func TestDecodeTakesEmptyTexts(t *testing.T) {
	t.Parallel()
	for body, into := range map[string]any{
		`{"project":"hq","reason":"","ticket":"","unknown_users":"","desktops":["null"]}`: &api.OperationRequest{},
		`{"filter":{},"reason":""}`: &api.DismissRequest{},
		`{"reason":""}`:             &api.ReasonRequest{},
		`{"users":["zoe"],"desktops":null,"computers":null,"ticket":null,"reason":null,"urgent":null,"deadline":null,"allow_shared":null}`: &api.OperationRequest{},
		`{"desktops":null,"users":["zoe"],"unknown_users":null,"shutoff_after_detach":null}`:                                               &planRequest{},
		`{"name":"hr","role":"viewer","owner":null}`:                                                                                       &api.KeyRequest{},
	} {
		require.NoError(t, decodeText([]byte(body), into), body)
	}
}

// A pointer cannot be made to fill the answer or the log.
func TestDecodeKeepsPointersShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ö", 5000)
	for _, body := range []string{
		`{"` + long + `":1}`,
		`{"expected_users":{"` + long + `":1}}`,
		`{"expected_users":{"` + long + `":[],"` + long + `":[]}}`,
	} {
		var p *api.Problem
		require.ErrorAs(t, decodeText([]byte(body), &api.OperationRequest{}), &p)
		require.Less(t, len(p.Errors[0].Pointer)+len(p.Errors[0].Detail), 400)
		require.True(t, utf8.ValidString(p.Errors[0].Pointer))
	}
}

// The largest and the deepest bodies are refused, and how.
func TestBodiesTooLargeAndTooDeep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	post := func(body string) api.Problem {
		a := b.do(b.key[access.Producer], "POST", "/v1/operations", body)
		require.GreaterOrEqual(t, a.status, 400, "%.60s", body)
		return a.problem(t)
	}

	const begins, ends = `{"project":"hq","reason":"`, `"}`
	fill := strings.Repeat("x", maxBody-len(begins)-len(ends))
	p := post(begins + fill + ends)
	require.Equal(t, 400, p.Status, "8 MiB are read")
	require.Contains(t, fmt.Sprint(p.Errors), "/reason is longer")
	p = post(begins + fill + "x" + ends)
	require.Equal(t, http.StatusRequestEntityTooLarge, p.Status, "8 MiB and a byte are not")
	require.Contains(t, p.Detail, "8388608 bytes")

	var ids strings.Builder
	for i := range tasks.MaxDesktops + 1 {
		fmt.Fprintf(&ids, `,"d%d"`, i)
	}
	p = post(`{"project":"hq","desktops":[` + ids.String()[1:] + `]}`)
	require.Equal(t, 400, p.Status)
	require.Equal(t, "/desktops", p.Errors[0].Pointer)
	require.Contains(t, p.Errors[0].Detail, "100001")

	for _, open := range []string{`[`, `{"a":`, `[{"a":`} {
		for _, in := range []string{`{"project":`, `{"desktops":[`, `{"expected_users":{"d1":`, `{"x":`} {
			p = post(in + strings.Repeat(open, (maxBody-len(in))/len(open)))
			require.Equal(t, 400, p.Status, "8 MiB of %s in %s", open, in)
			require.Len(t, p.Errors, 1)
			require.Less(t, len(p.Errors[0].Pointer), 256)
		}
	}
	require.Empty(t, b.do(b.key[access.Viewer], "GET", "/v1/operations", "").json(t)["items"], "nothing was done")
}

// A body that has to be chunked names no length; its size is counted.
func TestBodyWithoutALength(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for size, status := range map[int]int{maxBody + 1: 413, smallBody * 3: 400} {
		body := struct{ *strings.Reader }{strings.NewReader(strings.Repeat(" ", size))} // hides the length
		req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/v1/operations", body)
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+b.key[access.Producer])
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode, size)
	}
}

// FuzzDecode: whatever comes, what is refused has a short pointer, and what is
// taken is JSON that version 1 of encoding/json reads as the same.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"project":"hq","desktops":["d1"],"expected_users":{"d1":["zoe"]},"due_at":"2026-01-02T03:04:05Z","urgent":true}`,
		`{"filter":{"project":"hq","from":"2026-01-02T03:04:05.5+01:00"},"per_second":7}`,
		`{"desktops":[{"operation_id":"a","desktop_id":"b"}]}`, `{"a":1}`, `{"project":"a","project":"b"}`, `[`, `nul`, `{"~/":[{"":0}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, into := range []any{&api.OperationRequest{}, &api.RedriveRequest{}, &api.KeyRequest{}, &struct{}{}} {
			err := decodeText(text, into)
			if err == nil {
				again := reflect.New(reflect.TypeOf(into).Elem()).Interface()
				require.NoError(t, json.Unmarshal(text, again), "%q was taken", text)
				require.Equal(t, again, into, "%q", text)
				continue
			}
			var p *api.Problem
			require.ErrorAs(t, err, &p)
			require.Equal(t, 400, p.Status)
			require.Len(t, p.Errors, 1)
			pointer := p.Errors[0].Pointer
			require.True(t, pointer == "" || pointer[0] == '/', pointer)
			require.LessOrEqual(t, len(pointer), 200)
			_, err = json.Marshal(p)
			require.NoError(t, err)
		}
	})
}
