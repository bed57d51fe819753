package api_test

import (
	"context"
	"fmt"
	"os"

	"github.com/detachd/detachd/tasks/api"
)

// An HR system submits a leaver and follows the operation until it ends.
func ExampleClient_Watch() {
	offboard := func(ctx context.Context) error {
		client, err := api.New(api.Config{Server: os.Getenv("DETACHD_SERVER"), Key: os.Getenv("DETACHD_API_KEY")})
		if err != nil {
			return err
		}
		op, err := client.CreateOperation(ctx, api.OperationRequest{
			Project: "hq", Users: []string{"qiu.eriksen"}, Ticket: "HR-4711",
			IdempotencyKey: "leaver-4711", // sending it again is harmless
		})
		if err != nil {
			return err
		}
		return client.Watch(ctx, op.ID, func(state api.OperationState) error {
			fmt.Println(state.State, state.Counts.Detached, "detached,", state.Counts.Failed+state.Counts.Held, "need a person")
			return nil // an error ends Watch
		})
	}
	if err := offboard(context.Background()); err != nil {
		fmt.Println(err)
	}
}
