// Command sdk reads from a fake cloud with Huawei's SDK for Go, and prints what it
// understood as one line of JSON. It is a module of its own, because the SDK is large.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/httphandler"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	workspace "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/workspace/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/workspace/v2/model"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// kept is the body of the last reply.
var kept []byte

func keep(resp http.Response) {
	// The SDK reads the body after this.
	kept, _ = io.ReadAll(resp.Body)
}

func run(endpoint, project, ak, sk string) error {
	credentials, err := basic.NewCredentialsBuilder().WithAk(ak).WithSk(sk).WithProjectId(project).SafeBuild()
	if err != nil {
		return err
	}
	handler := httphandler.NewHttpHandler().AddResponseHandler(keep)
	http, err := workspace.WorkspaceClientBuilder().WithEndpoints([]string{endpoint}).WithCredential(credentials).
		WithHttpConfig(config.DefaultHttpConfig().WithHttpHandler(handler)).SafeBuild()
	if err != nil {
		return err
	}
	client := workspace.NewWorkspaceClient(http)
	out := map[string]any{}
	for _, read := range []func() error{
		func() error {
			reply, err := client.ListDesktopsDetail(&model.ListDesktopsDetailRequest{})
			return understood(out, "ListDesktopsDetail", reply, err)
		},
		func() error {
			names, limit := []string{"ann", "ben"}, int32(1)
			reply, err := client.ListDesktopsDetail(&model.ListDesktopsDetailRequest{UserNames: &names, Limit: &limit, Offset: &limit})
			return understood(out, "ListDesktopsDetail of names", reply, err)
		},
		func() error {
			reply, err := client.ShowDesktopDetail(&model.ShowDesktopDetailRequest{DesktopId: "shared"})
			return understood(out, "ShowDesktopDetail", reply, err)
		},
		func() error {
			reply, err := client.ListUsers(&model.ListUsersRequest{})
			return understood(out, "ListUsers", reply, err)
		},
		func() error {
			pool := "p1"
			reply, err := client.ListDesktops(&model.ListDesktopsRequest{PoolId: &pool})
			return understood(out, "ListDesktops", reply, err)
		},
		func() error {
			days, limit := int32(2), int32(1)
			reply, err := client.ListDesktopUsageMetric(&model.ListDesktopUsageMetricRequest{
				StartTime: "2025-01-01T00:00:00Z", EndTime: "2025-02-01T00:00:00Z", MinIdleDays: &days, Limit: &limit, Offset: &limit,
			})
			return understood(out, "ListDesktopUsageMetric", reply, err)
		},
		func() error {
			ids, off := []string{"pooled", "frozen"}, true
			reply, err := client.DetachInstances(&model.DetachInstancesRequest{
				Body: &model.DetachInstancesReq{DesktopIds: &ids, ShutoffAfterDetach: &off},
			})
			return understood(out, "DetachInstances", reply, err)
		},
		func() error {
			id := "shared"
			users := []model.DetachInstancesUserInfo{{UserName: "ann"}}
			desktops := []model.DetachInstancesDesktopInfo{{DesktopId: &id, DetachUserInfos: &users}}
			reply, err := client.BatchDetachInstances(&model.BatchDetachInstancesRequest{Body: &model.BatchDetachInstancesReq{Desktops: &desktops}})
			return understood(out, "BatchDetachInstances", reply, err)
		},
		func() error {
			id, user, group, clear := "free", "zoe", "users", false
			desktops := []model.AttachInstancesDesktopInfo{{DesktopId: &id, UserName: &user, UserGroup: &group, IsClearData: &clear}}
			reply, err := client.AttachInstances(&model.AttachInstancesRequest{Body: &model.AttachInstancesReq{Desktops: &desktops}})
			return understood(out, "AttachInstances", reply, err)
		},
		func() error {
			job := out["DetachInstances"].(*model.DetachInstancesResponse).JobId
			reply, err := client.ListItaSubJobs(&model.ListItaSubJobsRequest{JobId: job})
			return understood(out, "ListItaSubJobs", reply, err)
		},
		func() error {
			job := out["DetachInstances"].(*model.DetachInstancesResponse).JobId
			reply, err := client.ShowJob(&model.ShowJobRequest{JobId: *job})
			return understood(out, "ShowJob", reply, err)
		},
		func() error {
			_, err := client.ShowDesktopDetail(&model.ShowDesktopDetailRequest{DesktopId: "nobody"})
			refused, ok := err.(*sdkerr.ServiceResponseError)
			if !ok {
				return fmt.Errorf("not refused: %v", err)
			}
			out["an error"] = refused
			return nil
		},
	} {
		if err := read(); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// understood adds a reply to out. Every field of the reply must be one of the SDK.
func understood[T any](out map[string]any, name string, reply *T, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	strict := json.NewDecoder(bytes.NewReader(kept))
	strict.DisallowUnknownFields()
	var again T
	if err := strict.Decode(&again); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, kept)
	}
	out[name] = reply
	return nil
}
