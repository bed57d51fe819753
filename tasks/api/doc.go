// Package api is detachd's HTTP API in Go: the bodies of its requests and answers, and a
// client. When CreateOperation returns, the operation is recorded, as with tasks.Producer,
// without access to Redis:
//
//	c, err := api.New(api.Config{Server: "https://detachd.example.com", Key: os.Getenv("DETACHD_API_KEY")})
//	op, err := c.CreateOperation(ctx, api.OperationRequest{Project: "hq", Desktops: ids, IdempotencyKey: "HR-4711"})
//
// Every error from the server is a *Problem; errors.Is finds tasks.ErrNotFound,
// tasks.ErrKeyReused and tasks.ErrPageToken in it.
package api
