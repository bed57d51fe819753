package worker_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// detached is an Observer that reports each desktop that is confirmed as detached.
type detached chan struct{}

func (detached) Call(worker.SeenCall)       {}
func (detached) Reading(worker.SeenReading) {}
func (d detached) Move(m worker.SeenMove) {
	if m.State == tasks.StateDetached {
		d <- struct{}{}
	}
}

// A program that runs a worker on a Redis. Here it serves one project of a fake cloud, and
// stops once the desktop of an operation is confirmed as detached.
func Example() {
	ctx := context.Background()
	m := miniredis.NewMiniRedis() // a real program uses a Redis with an append-only file
	if err := m.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	defer rdb.Close()
	cloud, err := fakecloud.Serve(fakecloud.Config{}, "127.0.0.1:0") // stands in for the real cloud
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cloud.Close()
	cloud.Add(projectID, fakecloud.Desktop{ID: "d1"})

	transport := apiclient.NewTransport()
	defer transport.CloseIdleConnections()
	api, err := apiclient.New(apiclient.Config{
		ProjectID: projectID,
		Endpoint:  cloud.URL, // a real program sets Region
		Auth:      apiclient.StaticToken("token"),
		Transport: transport,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	confirmed := make(detached, 1)
	w, err := worker.New(worker.Config{
		Redis:           rdb,
		ID:              "worker-1",                                                          // unique among running workers
		Projects:        []worker.Project{{Alias: "hq", API: api, CallTimeout: time.Minute}}, // longer than the client's
		Log:             zerolog.Nop(),
		FirstLook:       100 * time.Millisecond, // the default suits the real cloud
		Observer:        confirmed,
		ShutdownTimeout: 2 * time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := w.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer w.Stop() // waits for calls in flight

	producer, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := producer.Enqueue(ctx, tasks.Request{Project: "hq", Desktops: []string{"d1"}, RequestedBy: "hr"}); err != nil {
		fmt.Println(err)
		return
	}
	<-confirmed
	d1, _ := cloud.Get(projectID, "d1")
	fmt.Println(d1.AttachState, len(d1.Users), "users")
	// Output:
	// DEATTACHED 0 users
}
