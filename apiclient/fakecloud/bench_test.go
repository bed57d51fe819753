package fakecloud_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// BenchmarkDetach is one detach call of 100 desktops, of a million that are
// made on first mention, without a network.
func BenchmarkDetach(b *testing.B) {
	c := fakecloud.New(fakecloud.Config{AutoCreate: true, DiscardLog: true})
	bodies := make([]string, 10_000)
	for i := range bodies {
		ids := make([]string, 100)
		for j := range ids {
			ids[j] = fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761&0xffffffff, i*100+j)
		}
		bodies[i] = detachBody(ids...)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var n atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := bodies[n.Add(1)%int64(len(bodies))]
			w := httptest.NewRecorder()
			c.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v2/p/desktops/detach", strings.NewReader(body)))
			if w.Code != http.StatusOK {
				b.Fatal(w.Body)
			}
		}
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(min(n.Load(), 10_000)*100), "B/desktop")
	runtime.KeepAlive(c)
}
