package fakecloud_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func Example() {
	cloud, err := fakecloud.Serve(fakecloud.Config{}, "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer cloud.Close()
	defer http.DefaultClient.CloseIdleConnections()
	cloud.Add("p1", fakecloud.Desktop{ID: "d1"}, fakecloud.Desktop{ID: "d2", ComputerName: "PC2"})
	cloud.Fail(fakecloud.Throttle(1), fakecloud.Refused("d2", "WKS.0407", "disks are being added"))

	for range 2 {
		resp, err := http.Post(cloud.URL+"/v2/p1/desktops/detach", "application/json", strings.NewReader(`{"desktop_ids":["d1","d2"]}`))
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 200 {
			fmt.Println(string(body))
		} else {
			fmt.Println(resp.Status)
		}
	}
	d1, _ := cloud.Get("p1", "d1")
	fmt.Println(d1.AttachState, cloud.DetachedTimes("p1", "d1"), cloud.DetachedTimes("p1", "d2"))
	// Output:
	// 429 Too Many Requests
	// {"failed_operation_list":[{"desktop_id":"d2","desktop_name":"PC2","error_code":"WKS.0407","error_msg":"disks are being added"}],"job_id":""}
	// DEATTACHED 1 0
}
