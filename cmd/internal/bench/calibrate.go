package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// calibration is what this machine does without detachd, so that figures of two machines,
// or of a quiet and a busy one, can be compared.
type calibration struct {
	CPUs      int    `json:"cpus"`
	Go        string `json:"go"`
	Tasks     spread `json:"asynq_tasks_a_second"`
	RoundTrip spread `json:"redis_round_trip_us"`
	JSON      spread `json:"json_mb_a_second"`
}

func (c calibration) String() string {
	return fmt.Sprintf("machine: %d CPUs, %s; bare asynq %v tasks/s; Redis round trip %v us; encoding/json %v MB/s",
		c.CPUs, c.Go, c.Tasks, c.RoundTrip, c.JSON)
}

// calibrate takes about five seconds.
func calibrate(e *env) (calibration, error) {
	out := calibration{CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version() + " " + runtime.GOARCH}
	results, err := turns(shortTurns, e.pings, e.noTasks, e.decoding)
	if err != nil {
		return out, err
	}
	out.RoundTrip, out.Tasks, out.JSON = spreadOf(results[0]), spreadOf(results[1]), spreadOf(results[2])
	return out, nil
}

// pings is the median round trip to Redis, in microseconds.
func (e *env) pings() (float64, error) {
	v := make([]float64, 1000)
	for i := range v {
		start := time.Now()
		if err := e.rdb.Ping(e.ctx).Err(); err != nil {
			return 0, err
		}
		v[i] = float64(time.Since(start).Nanoseconds()) / 1000
	}
	return spreadOf(v).median, nil
}

// noTasks is how many tasks that do nothing one asynq server runs a second.
func (e *env) noTasks() (float64, error) {
	const n = 2000
	client := asynq.NewClientFromRedisClient(e.rdb)
	for range n {
		if _, err := client.EnqueueContext(e.ctx, asynq.NewTask("none", nil)); err != nil {
			return 0, err
		}
	}
	server := asynq.NewServerFromRedisClient(e.rdb, asynq.Config{Concurrency: inFlight, LogLevel: asynq.ErrorLevel})
	var done atomic.Int64
	finished := make(chan struct{})
	start := time.Now()
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if done.Add(1) == n {
			close(finished)
		}
		return nil
	}))
	if err != nil {
		return 0, err
	}
	defer server.Shutdown()
	select {
	case <-finished:
		return n / time.Since(start).Seconds(), nil
	case <-e.ctx.Done():
		return 0, context.Cause(e.ctx)
	}
}

// decoding is how many MB of readings of a hundred desktops encoding/json decodes a second.
func (e *env) decoding() (float64, error) {
	c, err := e.cloud(100, 0)
	if err != nil {
		return 0, err
	}
	defer c.end()
	req, err := http.NewRequestWithContext(e.ctx, http.MethodGet, c.url+"/v2/"+projectID+"/desktops/detail?limit=100", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Auth-Token", token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("a reading answers %d", res.StatusCode)
	}
	const n = 200
	start := time.Now()
	for range n {
		var v any
		if err := json.Unmarshal(page, &v); err != nil {
			return 0, err
		}
	}
	return float64(n*len(page)) / 1e6 / time.Since(start).Seconds(), nil
}
