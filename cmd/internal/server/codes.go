package server

import (
	"net/http"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
	"github.com/detachd/detachd/worker/policy"
)

// listCodes is GET /v1/codes: the meaning of error codes and readings.
func (s *server) listCodes(r *request) error {
	return r.answer(http.StatusOK, Codes(s.Store.Rules()))
}

// Codes are the tables of package policy, with the rules of a configuration.
func Codes(rules []policy.Rule) api.Codes {
	out := api.Codes{Codes: []api.Code{}, Classes: []api.Class{}, Readings: []api.Reading{}}
	for _, x := range policy.Table(rules) {
		code := api.Code{Of: string(x.Of), Status: x.Status, Code: x.Code, Class: string(x.Class), Why: x.Why,
			Advice: policy.Advice(x.Code, x.Class)}
		out.Codes = append(out.Codes, code)
	}
	for _, x := range policy.Classes() {
		out.Classes = append(out.Classes, api.Class{Class: string(x.Class), Does: x.Does, Advice: x.Advice})
	}
	for _, a := range policy.Actions {
		out.Actions = append(out.Actions, api.Action{Action: string(a), Does: a.Does()})
	}
	for _, x := range policy.Verdicts() {
		reading := api.Reading{
			Reads: x.Reads, Before: string(x.Before), Unknown: string(x.Unknown), After: string(x.After), Code: x.Code, Why: x.Why,
		}
		if x.Code != "" {
			reading.Advice = policy.Advice(x.Code, tasks.ClassHeld)
		}
		out.Readings = append(out.Readings, reading)
	}
	return out
}
