package apiclient

import (
	"context"
	"errors"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/detachd/detachd/apiclient/desktopid"
)

// fleetPage makes pages of about a megabyte, at 5 KB for a desktop.
const fleetPage = 200

// Fleet returns all desktops of the project, each once (ListDesktopsDetail), in the order in
// which they were created. Desktops that come or go meanwhile may be in it or not.
//
// API reference: https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktopsDetail.html
func (c *Client) Fleet(ctx context.Context, pages Pages) iter.Seq2[Desktop, error] {
	return walk[Desktop]{
		call: listCall(nil), pages: pages, limit: fleetPage, key: func(d Desktop) string { return d.ID },
		read: func(offset, limit int) (page[Desktop], error) {
			query := window(offset, limit)
			query.Set("sort_field", "created")
			query.Set("sort_type", "ASC")
			in, r, err := c.listDesktops(ctx, query)
			return page[Desktop]{in.desktops(r), in.Total.total()}, err
		},
	}.all()
}

// PoolOf returns the ids of all desktops of which the cloud shows that they belong to a pool
// (ListDesktops, whose entries have pool_id: those of Fleet do not). An entry without it, or
// with another one, is not in it, whatever the cloud's filter did.
//
// API reference: https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktops.html
func (c *Client) PoolOf(ctx context.Context, pool string, pages Pages) iter.Seq2[string, error] {
	of := call{op: "ListDesktops", method: http.MethodGet, path: "desktops", harmless: true}
	all := walk[pooledDesktop]{
		call: of, pages: pages, limit: fleetPage, key: func(d pooledDesktop) string { return string(d.ID) },
		read: func(offset, limit int) (page[pooledDesktop], error) {
			of := of
			of.query = window(offset, limit)
			of.query.Set("pool_id", pool)
			var in pooledPage
			_, err := c.get(ctx, of, &in, func() error { return in.check(offset) })
			return page[pooledDesktop]{in.Desktops, in.Total.total()}, err
		},
	}.all()
	return func(yield func(string, error) bool) {
		for d, err := range all {
			if (err != nil || string(d.Pool) == pool) && !yield(desktopid.Canonical(string(d.ID)), err) {
				return
			}
		}
	}
}

func window(offset, limit int) url.Values {
	return url.Values{"limit": {strconv.Itoa(limit)}, "offset": {strconv.Itoa(offset)}}
}

type pooledPage struct {
	Desktops []pooledDesktop `json:"desktops"`
	Total    *number         `json:"total_count"`
}

type pooledDesktop struct {
	ID   text `json:"desktop_id"`
	Pool text `json:"pool_id"`
}

func (p pooledPage) check(offset int) error {
	return checkList(p.Desktops, offset, p.Total.total(), func(d pooledDesktop) bool { return d.ID != "" }, errNamelessItem)
}

// People is Users for lists of any length; new users may be in it or not.
func (c *Client) People(ctx context.Context, pages Pages) iter.Seq2[Person, error] {
	return walk[Person]{
		call: usersCall(0, 0), pages: pages, limit: usersPerPage, key: personKey,
		read: func(offset, limit int) (page[Person], error) { return c.listUsers(ctx, limit, offset) },
	}.all()
}

// Usage is how long a desktop was used within a time. A duration below 0 is one that the reply
// does not show. All texts are hostile input.
type Usage struct {
	DesktopID string
	Used      time.Duration // desktop_usage
	Idle      time.Duration // desktop_idle_duration: since it was last used
	LastUser  string        // latest_connect_username: who used it last; empty: not shown, or nobody
}

// usagePage is the largest limit of ListDesktopUsageMetric.
const usagePage = 100

// Usage returns how long desktops that were idle for at least some days were used between two
// times (ListDesktopUsageMetric). The cloud adds up each day at 02:00 of the next one, and keeps
// 180 days.
// Source: ListDesktopUsageMetricRequest and DesktopMetric of huaweicloud-sdk-go-v3;
// https://support.huaweicloud.com/intl/en-us/api-workspace/ListDesktopUsageMetric.html
func (c *Client) Usage(ctx context.Context, from, to time.Time, idleDays int, pages Pages) iter.Seq2[Usage, error] {
	of := call{op: "ListDesktopUsageMetric", method: http.MethodGet, path: "statistics/metrics/desktops", harmless: true}
	return walk[Usage]{
		call: of, pages: pages, limit: usagePage, key: func(u Usage) string { return u.DesktopID },
		read: func(offset, limit int) (page[Usage], error) {
			of := of
			of.query = window(offset, limit)
			of.query.Set("start_time", from.UTC().Format(time.RFC3339))
			of.query.Set("end_time", to.UTC().Format(time.RFC3339))
			of.query.Set("min_idle_days", strconv.Itoa(idleDays))
			var in usageList
			_, err := c.get(ctx, of, &in, func() error { return in.check(offset) })
			return page[Usage]{in.usages(), in.Count.total()}, err
		},
	}.all()
}

type usageList struct {
	Items []usageItem `json:"items"`
	Count *number     `json:"count"`
}

// usageItem has only the fields in use.
type usageItem struct {
	ID       text `json:"resource_id"`
	LastUser text `json:"latest_connect_username"`
	Metrics  []struct {
		Name  text     `json:"metric_name"`
		Value *seconds `json:"metric_value"` // absent is not 0
	} `json:"metric"`
}

var errNamelessUsage = errors.New("an item of the list has no resource_id")

func (p usageList) check(offset int) error {
	return checkList(p.Items, offset, p.Count.total(), func(item usageItem) bool { return item.ID != "" }, errNamelessUsage)
}

func (p usageList) usages() []Usage {
	out := make([]Usage, len(p.Items))
	for i, item := range p.Items {
		out[i] = item.usage()
	}
	return out
}

// usage returns an item. A metric that it shows twice is not known.
func (item usageItem) usage() Usage {
	u := Usage{DesktopID: desktopid.Canonical(string(item.ID)), Used: -1, Idle: -1, LastUser: clip(string(item.LastUser), maxName)}
	shown := map[text]bool{}
	for _, m := range item.Metrics {
		value := time.Duration(-1)
		if m.Value != nil && !shown[m.Name] {
			value = time.Duration(*m.Value)
		}
		shown[m.Name] = true
		switch m.Name {
		case "desktop_usage":
			u.Used = value
		case "desktop_idle_duration":
			u.Idle = value
		}
	}
	return u
}

// seconds is a duration as a number of seconds, possibly in a string. Any other value, and none,
// is below 0.
type seconds time.Duration

// UnmarshalJSON accepts any JSON value.
func (s *seconds) UnmarshalJSON(b []byte) error {
	*s = -1
	if f, err := strconv.ParseFloat(spelled(b), 64); err == nil && f >= 0 && f < math.MaxInt64/1e9 {
		*s = seconds(f * 1e9)
	}
	return nil
}
