package fakecloud

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// usageView is DesktopMetric of the SDK: the fields that matter.
type usageView struct {
	ID       string       `json:"resource_id"`
	Name     string       `json:"resource_name"`
	PoolID   *string      `json:"resource_pool_id"`
	LastUser string       `json:"latest_connect_username"`
	Metrics  []metricView `json:"metric"`
}

type metricView struct {
	Name  string  `json:"metric_name"`
	Value float64 `json:"metric_value"`
}

const (
	maxUsagePage     = 100
	defaultUsagePage = 10
	day              = 24 * time.Hour
)

// listUsage is GET statistics/metrics/desktops.
func (x *exchange) listUsage() *reply {
	query := x.r.URL.Query()
	win, bad := pageOf(query, maxUsagePage, 0)
	if bad != nil {
		return bad
	}
	if query.Get("limit") == "" {
		win.limit = defaultUsagePage
	}
	if x.cfg.MaxPage > 0 {
		win.limit = min(win.limit, x.cfg.MaxPage)
	}
	var times [2]time.Time
	for i, name := range []string{"start_time", "end_time"} {
		at, err := time.Parse(time.RFC3339, query.Get(name))
		if err != nil {
			return invalidParameter(fmt.Sprintf("%s: %q", name, query.Get(name)))
		}
		times[i] = at
	}
	least, err := strconv.Atoi(query.Get("min_idle_days"))
	if err != nil && query.Get("min_idle_days") != "" {
		return invalidParameter(fmt.Sprintf("min_idle_days: %q", query.Get("min_idle_days")))
	}
	now := x.cfg.Clock()
	p := x.project
	p.mu.Lock()
	defer p.mu.Unlock()
	found := []usageView{}
	for _, rec := range p.order {
		d := p.shown(rec, now)
		if v, idleDays := usageOf(d, times[0], times[1]); idleDays >= least {
			found = append(found, v)
		}
	}
	return ok(map[string]any{"items": cut(found, win), "count": len(found)})
}

// usageOf is what is known at the end of a time.
func usageOf(d Desktop, from, to time.Time) (v usageView, idleDays int) {
	v = usageView{ID: d.ID, Name: d.ComputerName, LastUser: d.LastUser}
	if d.PoolID != "" {
		v.PoolID = &d.PoolID
	}
	since, used := d.created(), 0.0
	if !d.LastUsed.IsZero() && d.LastUsed.Before(to) {
		since = slices.MaxFunc([]time.Time{since, d.LastUsed}, time.Time.Compare)
		if !d.LastUsed.Before(from) {
			used = time.Hour.Seconds()
		}
	}
	idleDays = int(max(0, to.Sub(since)) / day)
	v.Metrics = []metricView{{"desktop_usage", used}, {"desktop_idle_duration", (time.Duration(idleDays) * day).Seconds()}}
	return v, idleDays
}
