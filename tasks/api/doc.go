// Package api is detachd's HTTP API in Go: the bodies of its requests and
// answers, and a client. An operation that is handed over here is accepted by the
// server before CreateOperation returns, just as with tasks.Producer, and needs no way
// to Redis:
//
//	c, err := api.New(api.Config{Server: "https://detachd.example.com", Key: os.Getenv("DETACHD_API_KEY")})
//	op, err := c.CreateOperation(ctx, api.OperationRequest{Project: "hq", Desktops: ids, IdempotencyKey: "HR-4711"})
//
// Every error that the server answers with is a *Problem; errors.Is finds
// tasks.ErrNotFound, tasks.ErrKeyReused and tasks.ErrPageToken in it.
package api
