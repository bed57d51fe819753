package api

import "context"

// Alive asks whether the server runs. It takes no key.
func (c *Client) Alive(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, request{method: "GET", path: "/healthz"})
	return err
}

// Ready asks whether the server can take requests: whether its Redis answers. It
// takes no key.
func (c *Client) Ready(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, request{method: "GET", path: "/readyz"})
	return err
}
