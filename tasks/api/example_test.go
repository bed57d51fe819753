package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/detachd/detachd/tasks/api"
)

// serveExample runs a server that accepts the operation of the examples and tells how it
// ends. DETACHD_SERVER leads to it until it is stopped.
func serveExample() (stop func()) {
	const (
		queued   = `{"id":"mignt50o6fnapq0v5n7g","total":1,"counts":{"queued":1},"done":false,"state":"running"}`
		finished = `{"id":"mignt50o6fnapq0v5n7g","total":3,"counts":{"detached":1,"held":1,"expanded":1},"done":true,"state":"finished"}`
	)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/operations", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, queued)
	})
	mux.HandleFunc("GET /v1/operations/mignt50o6fnapq0v5n7g/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "id: 1\nevent: operation\ndata: "+queued+"\n\n")
		fmt.Fprint(w, "id: 2\nevent: operation\ndata: "+finished+"\n\nevent: end\ndata: {}\n\n")
	})
	server := httptest.NewServer(mux)
	os.Setenv("DETACHD_SERVER", server.URL)
	return func() {
		os.Unsetenv("DETACHD_SERVER")
		server.Close()
	}
}

// Submit desktops that a leaver is expected to have. Nothing is detached yet when
// CreateOperation returns.
func ExampleClient_CreateOperation() {
	defer serveExample()()
	client, err := api.New(api.Config{Server: os.Getenv("DETACHD_SERVER"), Key: os.Getenv("DETACHD_API_KEY")})
	if err != nil {
		fmt.Println(err)
		return
	}
	op, err := client.CreateOperation(context.Background(), api.OperationRequest{
		Project:        "hq",
		Desktops:       []string{"f5057fee-4c3e-4459-82dd-21250b729601"},
		ExpectedUsers:  map[string][]string{"f5057fee-4c3e-4459-82dd-21250b729601": {"qiu.eriksen"}},
		IdempotencyKey: "HR-4711", // whatever the error, it may be sent again
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(op.ID, "is recorded,", op.Counts.Queued, "queued")
	// Output: mignt50o6fnapq0v5n7g is recorded, 1 queued
}

// An HR system submits a leaver and follows the operation until it ends. Watch reconnects
// by itself.
func ExampleClient_Watch() {
	defer serveExample()()
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
	// Output:
	// running 0 detached, 0 need a person
	// finished 1 detached, 1 need a person
}
