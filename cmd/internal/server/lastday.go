package server

import (
	"cmp"

	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/tasks/cron"
)

// lastDay sets the due time of a request that says a last working day: the end of that day in
// its zone, or in that of the project. date and zone are the names of the fields in faults.
func (s *server) lastDay(in *api.OperationRequest, date, zone string) error {
	day := in.LastWorkingDay
	switch {
	case day == nil:
		return nil
	case in.Plan != "":
		return fault(date, "is part of the plan, and cannot be changed: leave it out")
	case !in.DueAt.IsZero() || in.NotBefore != (api.NotBefore{}):
		return fault(date, "is given together with due_at or not_before, which say another start: leave them out")
	}
	name := day.Zone
	for _, p := range s.Store.Limits() {
		if p.Alias == in.Project {
			name = cmp.Or(name, p.Zone)
		}
	}
	loc, err := cron.Zone(name)
	if err != nil {
		return fault(zone, "%v", err)
	}
	end, err := cron.EndOfDay(day.Date, loc)
	if err != nil {
		return fault(date, "%v", err)
	}
	in.DueAt, in.LastWorkingDay = end.UTC(), nil
	return nil
}
