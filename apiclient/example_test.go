package apiclient_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
)

// A batch of three desktops: the cloud first answers 409 and names the desktop that is in
// its way, then accepts a call without it and lists a hibernated desktop as refused.
func ExampleClient_Detach() {
	cloud, err := fakecloud.Serve(fakecloud.Config{}, "127.0.0.1:0") // stands in for the real cloud
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cloud.Close()
	cloud.Add(project, fakecloud.Desktop{ID: "d1"}, fakecloud.Desktop{ID: "d2"}, fakecloud.Desktop{ID: "d3", Status: fakecloud.Hibernated})
	cloud.Fail(fakecloud.Conflict("d2", true))

	transport := apiclient.NewTransport()
	defer transport.CloseIdleConnections()
	client, err := apiclient.New(apiclient.Config{
		ProjectID: project,
		Endpoint:  cloud.URL, // a real program sets Region
		Auth:      apiclient.StaticToken("token"),
		Transport: transport,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	for _, batch := range [][]string{{"d1", "d2", "d3"}, {"d1", "d3"}} {
		result, err := client.Detach(ctx, apiclient.DetachRequest{DesktopIDs: batch})
		if e, ok := errors.AsType[*apiclient.Error](err); ok {
			fmt.Println(e.Status, e.Code, "effect:", e.Effect, "because of", e.Culprits())
			continue
		}
		for _, f := range result.Failed {
			fmt.Println(f.DesktopID, "refused:", f.Message)
		}
	}
	// A 200 only means accepted: a reading shows whether a desktop is detached.
	desktops, err := client.Desktops(ctx, []string{"d1", "d2", "d3", "d4"})
	for _, d := range desktops {
		fmt.Println(d.ID, d.AttachState)
	}
	fmt.Println(err)
	// Output:
	// 409 WKS.00010032 effect: none because of [d2]
	// d3 refused: Desktops in the hibernated state cannot be unbound.
	// d1 DEATTACHED
	// d2 ATTACHED
	// d3 ATTACHED
	// <nil>
}
