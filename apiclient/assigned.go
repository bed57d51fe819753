package apiclient

import (
	"context"
	"errors"
	"net/url"
	"strconv"
)

var errNoEnd = errors.New("the list of assigned desktops does not end")

// CountAssigned counts the desktops that have a user (ListDesktopsDetail with
// user_attached=true), from total_count. Where more desktops follow than that says, it
// counts them page by page: the documentation of a sister call caps its total at 2000.
//
// API reference: https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktopsDetail.html
func (c *Client) CountAssigned(ctx context.Context) (int, error) {
	page := func(offset, limit int) (desktopPage, error) {
		p, _, err := c.listDesktops(ctx, url.Values{
			"user_attached": {"true"}, "offset": {strconv.Itoa(offset)}, "limit": {strconv.Itoa(limit)},
		})
		return p, err
	}
	first, err := page(0, 1)
	if err != nil {
		return 0, err
	}
	n := len(first.Desktops)
	if first.Total != nil {
		n = max(n, int(*first.Total))
	}
	for range maxPages {
		more, err := page(n, desktopsPerPage)
		if err != nil {
			return 0, err
		}
		if len(more.Desktops) == 0 {
			return n, nil
		}
		n += len(more.Desktops)
	}
	return 0, localError(listCall(nil), errNoEnd)
}
