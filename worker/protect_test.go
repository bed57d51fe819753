package worker_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/worker"
)

// protects gives the worker rules of its configuration.
func protects(rules ...tasks.Protection) func(*worker.Config) {
	return func(cfg *worker.Config) { cfg.Record.Protected = rules }
}

// A desktop is on hold by the rule's name, a retry is held again, and once the rule is gone it
// is detached.
func TestWhatIsProtectedIsHeldWhileTheRuleStands(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "d-000000", PoolID: "p-1"})
	require.NoError(t, s.record.AddProtection(t.Context(), tasks.Protection{Name: "lab", Kind: tasks.ProtectPool, Pattern: "p-1"}))
	s.start()
	op, rows := s.ended(s.enqueue(tasks.Request{Desktops: ids(3)}))
	held := rows["d-000000"]
	require.Equal(t, []any{tasks.StateHeld, "PROTECTED"}, []any{held.State, held.Failure.Code})
	require.Contains(t, held.Failure.Message, "protected by the rule lab")
	require.Equal(t, 2, op.Counts.Detached)
	for range 2 {
		n, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{Held: true}, "ann")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		op, rows = s.ended(op)
		require.Equal(t, "PROTECTED", rows["d-000000"].Failure.Code)
	}
	require.NotContains(t, s.called(), "d-000000")
	require.NoError(t, s.record.RemoveProtection(t.Context(), "lab"))
	require.Eventually(t, func() bool { // the worker knows it within a second
		_, err := s.p.Retry(t.Context(), op, tasks.RetryFilter{Held: true}, "ann")
		require.NoError(t, err)
		op, _ = s.ended(op)
		return op.Counts.Detached == 3
	}, patience, 10*time.Millisecond)
}

// A protected user who keeps the desktop does not keep the leaver on it.
func TestAProtectedUserWhoKeepsTheDesktop(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	for _, id := range []string{"named", "all"} {
		s.cloud.Add(projectID, fakecloud.Desktop{ID: id, Type: fakecloud.Shared, Users: []fakecloud.User{{Name: "boss"}, {Name: "zoe"}}})
	}
	s.start(protects(tasks.Protection{Name: "board", Kind: tasks.ProtectUser, Pattern: "BOSS"}))
	_, rows := s.ended(s.enqueue(tasks.Request{
		Desktops: []string{"named", "all"}, Expect: map[string][]string{"named": {"zoe"}}, AllowShared: true,
	}))
	require.Equal(t, tasks.StateDetached, rows["named"].State)
	require.Equal(t, "PROTECTED", rows["all"].Failure.Code)
	left, _ := s.cloud.Get(projectID, "named")
	require.Equal(t, "boss", left.Users[0].Name)
}

// While the rules cannot be read, nothing is sent.
func TestRulesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	op := s.enqueue(tasks.Request{Desktops: ids(3)})
	require.NoError(t, s.rdb.HSet(t.Context(), "detachd:protected", "x", `{"name":"x","kind":"of a later version","pattern":"1"}`).Err())
	s.start()
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), `the protection \"x\" cannot be read`) }, patience, time.Millisecond)
	require.Empty(t, s.called())
	require.NoError(t, s.record.RemoveProtection(t.Context(), "x"))
	got, _ := s.ended(op)
	require.Equal(t, 3, got.Counts.Detached)
}

// A plan shows what would be held.
func TestAPlanOfProtectedDesktops(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.cloud.Add(projectID, fakecloud.Desktop{ID: "a", ComputerName: "VIP-1"}, fakecloud.Desktop{ID: "b"})
	require.NoError(t, s.record.AddProtection(t.Context(), tasks.Protection{Name: "vips", Kind: tasks.ProtectComputer, Pattern: "vip-*"}))
	_, rows := s.plan(s.planner(), tasks.Request{Project: "hq", Desktops: []string{"a", "b"}})
	require.Equal(t, []string{"hold", "PROTECTED"}, []string{rows[0].Does, rows[0].Code})
	require.Contains(t, rows[0].Why, "the rule vips")
	require.Empty(t, rows[0].From)
	require.Equal(t, "send", rows[1].Does)
}

// Random rules, in the configuration and in Redis, and random lists of desktops, users and
// computers: nothing protected is ever in a call, and nothing else is held for it.
func TestNothingProtectedIsEverInACall(t *testing.T) {
	t.Parallel()
	server := newEnv(t, fakecloud.Config{}).server
	rapid.Check(t, func(rt *rapid.T) {
		s := newEnvOn(t, server, server.Client(t), fakecloud.Config{})
		require.NoError(t, s.rdb.FlushDB(t.Context()).Err())
		var fleet []fakecloud.Desktop
		for i := range rapid.IntRange(1, 40).Draw(rt, "fleet") {
			d := fakecloud.Desktop{ID: fmt.Sprintf("d-%d", i), ComputerName: fmt.Sprintf("PC-%d", i), Users: []fakecloud.User{{Name: person(i % 7)}}}
			if rapid.Bool().Draw(rt, "shared") {
				d.Type, d.Users = fakecloud.Shared, append(d.Users, fakecloud.User{Name: person(10 + i%5)})
			}
			if rapid.Bool().Draw(rt, "tagged") {
				d.Tags = []string{fmt.Sprintf("tier=%d", i%3)}
			}
			if rapid.Bool().Draw(rt, "pooled") {
				d.PoolID = fmt.Sprintf("pool-%d", i%2)
			}
			fleet = append(fleet, d)
		}
		s.cloud.Add(projectID, fleet...)
		var rules []tasks.Protection
		for i := range rapid.IntRange(0, 6).Draw(rt, "rules") {
			n := rapid.IntRange(0, 20).Draw(rt, "of")
			rule := rapid.SampledFrom([]tasks.Protection{
				{Kind: tasks.ProtectDesktop, Pattern: fmt.Sprintf("d-%d", n)},
				{Kind: tasks.ProtectUser, Pattern: strings.ToUpper(person(n % 15))},
				{Kind: tasks.ProtectComputer, Pattern: fmt.Sprintf("pc-%d*", n%10)},
				{Kind: tasks.ProtectTag, Pattern: fmt.Sprintf("tier=%d", n%3)},
				{Kind: tasks.ProtectPool, Pattern: fmt.Sprintf("pool-%d", n%2)},
			}).Draw(rt, "rule")
			rule.Name = fmt.Sprintf("rule-%d", i)
			rule.Project = rapid.SampledFrom([]string{"", "hq", "other"}).Draw(rt, "project")
			rules = append(rules, rule)
		}
		var here []tasks.Protection // those that are not for another project
		for _, rule := range rules {
			if rule.Project != "other" {
				here = append(here, rule)
			}
		}
		split := rapid.IntRange(0, len(rules)).Draw(rt, "configured")
		// Half of the time the requests come first, through a process that knows no rules yet.
		late := rapid.Bool().Draw(rt, "late")
		add := func() {
			for _, rule := range rules[split:] {
				require.NoError(t, s.record.AddProtection(t.Context(), rule))
			}
		}
		if !late {
			add()
		}
		var ops []record.Operation
		for i := range rapid.IntRange(1, 4).Draw(rt, "requests") {
			req := tasks.Request{Project: "hq", AllowShared: rapid.Bool().Draw(rt, "allow shared"), UnknownUsers: tasks.IgnoreUnknown}
			some := func(of string, all []string) []string {
				return slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(rapid.SampledFrom(all), 0, 12).Draw(rt, of))))
			}
			var idsOf, computers, people []string
			for i, d := range fleet {
				idsOf, computers, people = append(idsOf, d.ID), append(computers, d.ComputerName), append(people, person(i%15))
			}
			switch i % 3 {
			case 0:
				req.Desktops = some("desktops", idsOf)
				if rapid.Bool().Draw(rt, "expect") {
					req.Expect = map[string][]string{}
					for _, id := range req.Desktops {
						var n int
						_, _ = fmt.Sscanf(id, "d-%d", &n)
						req.Expect[id] = []string{person(n % 7)}
					}
				}
			case 1:
				req.Users = some("users", people)
			case 2:
				req.Computers = some("computers", computers)
			}
			if len(req.Desktops)+len(req.Users)+len(req.Computers) == 0 {
				continue
			}
			op, err := s.p.Enqueue(t.Context(), req)
			if _, refused := err.(*tasks.ProtectedError); refused && !late {
				continue
			}
			require.NoError(t, err)
			ops = append(ops, op)
		}
		if late {
			add()
		}
		w := s.worker(protects(rules[:split]...))
		require.NoError(t, w.Start(t.Context()))
		defer w.Stop()
		loses := map[string][]string{} // desktop: who was in its calls
		for _, op := range ops {
			_, rows := s.ended(op)
			for id, row := range rows {
				if row.State == tasks.StateHeld && row.Failure.Code == "PROTECTED" {
					i := slices.IndexFunc(fleet, func(d fakecloud.Desktop) bool { return d.ID == id })
					require.True(t, touched(here, fleet[i], namesOf(fleet[i])), "%s is held by no rule: %s", id, row.Failure.Message)
				}
			}
		}
		for _, call := range s.detaches() {
			for id, users := range inCall(t, call) {
				loses[id] = append(loses[id], users...)
			}
		}
		for _, d := range fleet {
			if users, called := loses[d.ID]; called {
				if len(users) == 0 {
					users = namesOf(d)
				}
				require.False(t, touched(here, d, users), "%+v was in a call for %v, in spite of %+v", d, users, here)
			}
		}
	})
}

// touched is the rule of the test's own: whether any of the rules is about a desktop, or about
// one of the users who lose it.
func touched(rules []tasks.Protection, d fakecloud.Desktop, losing []string) bool {
	return slices.ContainsFunc(rules, func(p tasks.Protection) bool {
		is := func(text string) bool { return strings.EqualFold(text, p.Pattern) }
		switch p.Kind {
		case tasks.ProtectDesktop:
			return is(d.ID)
		case tasks.ProtectUser:
			return slices.ContainsFunc(losing, is)
		case tasks.ProtectComputer:
			return strings.HasPrefix(strings.ToLower(d.ComputerName), strings.TrimSuffix(p.Pattern, "*"))
		case tasks.ProtectTag:
			return slices.ContainsFunc(d.Tags, is)
		}
		return is(d.PoolID)
	})
}

func namesOf(d fakecloud.Desktop) (out []string) {
	for _, u := range d.Users {
		out = append(out, u.Name)
	}
	return out
}

// inCall returns the users that a call names, by desktop; none: all of them.
func inCall(t *testing.T, call fakecloud.Request) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, id := range call.DesktopIDs {
		out[id] = nil
	}
	var body struct {
		Desktops []struct {
			ID    string `json:"desktop_id"`
			Users []struct {
				Name string `json:"user_name"`
			} `json:"detach_user_infos"`
		} `json:"desktops"`
	}
	require.NoError(t, json.Unmarshal([]byte(call.Body), &body))
	for _, d := range body.Desktops {
		for _, u := range d.Users {
			out[d.ID] = append(out[d.ID], u.Name)
		}
	}
	return out
}

// A desktop that was protected after it was detached is given back all the same.
func TestAnUndoOfWhatIsProtectedSince(t *testing.T) {
	t.Parallel()
	s := newEnv(t, fakecloud.Config{})
	s.start()
	op, _ := s.ended(s.enqueue(tasks.Request{Desktops: ids(2)}))
	require.Equal(t, 2, op.Counts.Detached)
	require.NoError(t, s.record.AddProtection(t.Context(), tasks.Protection{Name: "one", Kind: tasks.ProtectDesktop, Pattern: "d-000000"}))
	back, err := s.p.Undo(t.Context(), op, tasks.UndoRequest{RequestedBy: "amy", Owner: "amy", Reason: "wrong feed"})
	require.NoError(t, err)
	back, rows := s.ended(back)
	require.Equal(t, 2, back.Counts.Detached, "%+v", rows)
	d, _ := s.cloud.Get(projectID, "d-000000")
	require.Len(t, d.Users, 1)
}
