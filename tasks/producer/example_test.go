package producer_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/producer"
)

// An HR system submits the desktops of somebody who left, and asks later
// what became of them. Sending it twice is harmless.
func Example() {
	m := miniredis.NewMiniRedis() // a real program uses the workers' Redis
	if err := m.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	defer rdb.Close()

	p, err := producer.New(rdb, producer.Config{Projects: []string{"hq"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	op, err := p.Enqueue(context.Background(), tasks.Request{
		Project:        "hq",
		Desktops:       []string{"f5057fee-4c3e-4459-82dd-21250b729601"},
		RequestedBy:    "hr",
		Reason:         "contract ended",
		IdempotencyKey: "leaver-4711",
	})
	if err != nil {
		fmt.Println(err) // nothing was accepted
		return
	}
	op, err = p.Operation(context.Background(), op.ID)
	fmt.Println(op.Total, "desktop,", op.Counts.Queued, "queued", err)
	// Output: 1 desktop, 1 queued <nil>
}
