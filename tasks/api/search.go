package api

import (
	"context"
	"net/url"
)

// Search finds desktops by id, by the name of the computer or by a user, whole and
// whatever the case, in any operation; the latest first.
func (c *Client) Search(ctx context.Context, text string, size int, token string) (items []Event, next string, err error) {
	return list[Event](ctx, c, "/v1/desktops", url.Values{"q": {text}}, size, token)
}
