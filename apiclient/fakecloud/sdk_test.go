package fakecloud_test

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks/redistest"
)

// Huawei's SDK for Go signs what the cloud accepts and reads every reply, and knows every field
// in it. It is a module of its own in testdata/sdk, so that nothing here depends on it.
func TestTheSDKReadsEveryReply(t *testing.T) {
	t.Parallel()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", t.TempDir()+"/sdk", ".")
	build.Dir = "testdata/sdk"
	get := exec.CommandContext(t.Context(), "go", "mod", "download")
	get.Dir = build.Dir
	if out, err := get.CombinedOutput(); err != nil {
		redistest.Missing(t, "Huawei's SDK cannot be downloaded: "+string(out))
	}
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	c := serve(t, fakecloud.Config{AccessKeys: map[string]string{"AK": "a-secret-key"}, SuccessJobIDs: true})
	process := 50
	c.Add(proj,
		fakecloud.Desktop{ID: "plain", ComputerName: "PC1", Users: []fakecloud.User{{Name: "ben"}}, Tags: []string{"a=b"}},
		fakecloud.Desktop{
			ID: "shared", Type: fakecloud.Shared, TaskStatus: "migrating", Process: &process,
			Users: []fakecloud.User{{Name: "ann", Domain: "d.local"}, {Name: "ops", Type: "GROUP"}},
		},
		fakecloud.Desktop{ID: "pooled", Type: fakecloud.Pooled, PoolID: "p1"}, fakecloud.Desktop{ID: "frozen", Frozen: true, Maintenance: true},
		fakecloud.Desktop{ID: "free", AttachState: fakecloud.Unattached},
	)
	c.AddPeople(proj, fakecloud.Person{Name: "zoe", Email: "zoe@example.com"})
	c.Update(proj, "shared", func(d *fakecloud.Desktop) { d.TaskStatus = "" })
	run := exec.CommandContext(t.Context(), build.Args[3], c.URL, proj, "AK", "a-secret-key")
	run.Env = []string{}
	said, err := run.Output()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // for its stderr
		require.NoError(t, err, string(exit.Stderr))
	}
	require.NoError(t, err)

	var read struct {
		All   list `json:"ListDesktopsDetail"`
		Named list `json:"ListDesktopsDetail of names"`
		One   struct {
			Desktop desktop `json:"desktop"`
		} `json:"ShowDesktopDetail"`
		Users struct {
			Total int `json:"total_count"`
			Users []struct {
				Name  string `json:"user_name"`
				Email string `json:"user_email"`
			} `json:"users"`
		} `json:"ListUsers"`
		Brief struct {
			Total    int `json:"total_count"`
			Desktops []struct {
				ID   string `json:"desktop_id"`
				Pool string `json:"pool_id"`
			} `json:"desktops"`
		} `json:"ListDesktops"`
		Usage struct {
			Count int `json:"count"`
			Items []struct {
				ID      string `json:"resource_id"`
				Metrics []struct {
					Name  string  `json:"metric_name"`
					Value float64 `json:"metric_value"`
				} `json:"metric"`
			} `json:"items"`
		} `json:"ListDesktopUsageMetric"`
		Detach struct {
			Failed []struct {
				ID   string `json:"desktop_id"`
				Code string `json:"error_code"`
			} `json:"failed_operation_list"`
			Job string `json:"job_id"`
		} `json:"DetachInstances"`
		Batch struct {
			SuccessJobs []string `json:"success_job_ids"`
		} `json:"BatchDetachInstances"`
		Attach struct {
			Job string `json:"job_id"`
		} `json:"AttachInstances"`
		SubJobs struct {
			Total int `json:"total_count"`
			Jobs  []struct {
				Entities struct {
					Desktop string `json:"desktop_id"`
				} `json:"entities"`
			} `json:"jobs"`
		} `json:"ListItaSubJobs"`
		Job struct {
			Status string `json:"status"`
		} `json:"ShowJob"`
		Error struct {
			StatusCode int    `json:"status_code"`
			ErrorCode  string `json:"error_code"`
			RequestID  string `json:"request_id"`
		} `json:"an error"`
	}
	require.NoError(t, json.Unmarshal(said, &read), string(said))
	require.Equal(t, 5, read.All.Total)
	require.Len(t, read.All.Desktops, 5)
	require.Equal(t, desktop{ID: "plain", Name: "PC1", State: "ATTACHED", User: "ben"}, read.All.Desktops[0])
	require.True(t, read.All.Desktops[3].Frozen)
	require.Equal(t, 2, read.Named.Total)
	require.Equal(t, "shared", read.Named.Desktops[0].ID, "the second page of one")
	require.Equal(t, read.All.Desktops[1], read.One.Desktop)
	require.Equal(t, 5, read.Users.Total)
	require.Equal(t, "zoe@example.com", read.Users.Users[4].Email)
	require.Equal(t, 1, read.Brief.Total)
	require.Equal(t, "pooled", read.Brief.Desktops[0].ID)
	require.Equal(t, "p1", read.Brief.Desktops[0].Pool)
	require.Equal(t, 5, read.Usage.Count)
	require.Equal(t, "shared", read.Usage.Items[0].ID, "the second page of one")
	require.Equal(t, "desktop_usage", read.Usage.Items[0].Metrics[0].Name)
	require.InDelta(t, 270*86400, read.Usage.Items[0].Metrics[1].Value, 0)
	require.Len(t, read.Detach.Failed, 1)
	require.Equal(t, fakecloud.CodeFrozen, read.Detach.Failed[0].Code)
	require.NotEmpty(t, read.Detach.Job)
	require.Len(t, read.Batch.SuccessJobs, 1)
	require.NotEmpty(t, read.Attach.Job)
	free, _ := c.Get(proj, "free")
	require.Equal(t, "zoe", free.Users[0].Name)
	require.Equal(t, "pooled", read.SubJobs.Jobs[0].Entities.Desktop)
	require.Equal(t, "SUCCESS", read.Job.Status)
	require.Equal(t, 404, read.Error.StatusCode)
	require.Equal(t, "WKS.00211902", read.Error.ErrorCode)
	require.NotEmpty(t, read.Error.RequestID)
}

type list struct {
	Desktops []desktop `json:"desktops"`
	Total    int       `json:"total_count"`
}

type desktop struct {
	ID     string `json:"desktop_id"`
	Name   string `json:"computer_name"`
	State  string `json:"attach_state"`
	User   string `json:"user_name"`
	Frozen bool   `json:"is_freeze"`
}
