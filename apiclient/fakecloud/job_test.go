package fakecloud_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func jobID(t *testing.T, got answer) string {
	t.Helper()
	require.Equal(t, 200, got.status)
	var body struct {
		JobID string `json:"job_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &body))
	require.Len(t, body.JobID, 36)
	return body.JobID
}

func TestJobOfPooledDesktops(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute})
	c.Add(proj, fakecloud.Desktop{ID: "common"},
		fakecloud.Desktop{ID: "p1", ComputerName: "PC1", Type: fakecloud.Pooled, Users: []fakecloud.User{{Name: "ann"}}},
		fakecloud.Desktop{ID: "p2", Type: fakecloud.Pooled, DetachEnds: []string{fakecloud.DetachFailed}})
	first := jobID(t, c.detach("common", "p1"))
	second := jobID(t, c.send("POST", "/v2/"+proj+"/desktops/batch-detach", `{"desktops":[{"desktop_id":"p2","is_detach_all_users":true}]}`))
	require.NotEqual(t, first, second)

	running := `{"id":"` + first + `-1","job_type":"detachDesktops","job_id":"` + first + `","project_id":"` + proj + `",
		"begin_time":"2026-01-02 03:04:05","end_time":"","status":"RUNNING","error_code":"","fail_reason":"","host":null,"process":0,"attach_user":"ann",
		"entities":{"desktop_id":"p1","desktop_name":"PC1","user_name":"ann"}}`
	require.JSONEq(t, `{"id":"`+first+`","job_type":"detachDesktops","begin_time":"2026-01-02 03:04:05","end_time":"",
		"status":"RUNNING","job_error_code":"","fail_reason":"","sub_jobs_total":1,"sub_jobs":[`+running+`]}`,
		c.get("/workspace-jobs/"+first).body)
	require.JSONEq(t, `{"total_count":1,"jobs":[`+running+`]}`, c.get("/workspace-sub-jobs?job_id="+first).body)

	clk.advance(time.Minute)
	got := c.get("/workspace-jobs/" + first).body
	require.Contains(t, got, `"end_time":"2026-01-02 03:05:05","status":"SUCCESS"`)
	got = c.get("/workspace-jobs/" + second).body
	require.Contains(t, got, `"job_type":"batchDetachDesktops"`)
	require.Contains(t, got, `"status":"FAIL","job_error_code":"WKS.00211401"`)
	require.Contains(t, got, `"status":"FAILED","error_code":"WKS.00211401"`)

	none := `{"total_count":0,"jobs":[]}`
	require.JSONEq(t, none, c.get("/workspace-sub-jobs?job_id="+first+"&status=FAILED&status=RUNNING").body)
	require.Contains(t, c.get("/workspace-sub-jobs?job_id="+first+"&status=SUCCESS").body, `"total_count":1`)
	require.Contains(t, c.get("/workspace-sub-jobs?job_type=batchDetachDesktops").body, `"desktop_id":"p2"`)
	require.JSONEq(t, `{"total_count":1,"jobs":[]}`, c.get("/workspace-sub-jobs?job_id="+first+"&offset=1").body)
	require.JSONEq(t, none, c.get("/workspace-sub-jobs?job_id=nobody").body)
	require.Equal(t, 400, c.get("/workspace-sub-jobs?limit=10").status)
	require.Equal(t, 400, c.get("/workspace-sub-jobs?job_id=a&limit=1001").status)
	require.Equal(t, 404, c.get("/workspace-jobs/nobody").status)
}
