package server

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// refusedFor is the code of a refusal and its faults.
func (b *bench) refusedFor(status int, path, body string) string {
	b.t.Helper()
	a := b.do(b.key[access.Producer], "POST", path, body)
	require.Equal(b.t, status, a.status, a.body)
	v := a.json(b.t)
	out := fmt.Sprint(v["code"])
	faults, _ := v["errors"].([]any)
	for _, f := range faults {
		f := f.(map[string]any)
		out += fmt.Sprintf(" %s %s", f["pointer"], f["detail"])
	}
	return out
}

// A request that names what is protected is refused whole, with each row and its rule, also
// when it is only checked or planned; what it leads to is not looked at.
func TestProtectedRowsAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	add := func(body string) {
		t.Helper()
		a := b.do(b.key[access.Admin], "POST", "/v1/protections", body)
		require.Equal(t, 201, a.status, a.body)
	}
	add(`{"name":"board","kind":"user","pattern":"Ann","reason":"one of the board"}`)
	add(`{"name":"kiosks","kind":"computer","pattern":"kiosk-*","project":"hq"}`)
	add(`{"name":"one","kind":"desktop","pattern":"d1"}`)
	add(`{"name":"lab","kind":"tag","pattern":"lab"}`)
	before := len(b.audit())
	for body, want := range map[string]string{
		`{"project":"hq","users":["bo","ann"]}`:                                   `protected /users/1 "ann" is protected by the rule board`,
		`{"project":"hq","desktops":["d2","d1"]}`:                                 `protected /desktops/1 "d1" is protected by the rule one`,
		`{"project":"hq","computers":["KIOSK-7"]}`:                                `protected /computers/0 "KIOSK-7" is protected by the rule kiosks`,
		`{"project":"hq","desktops":["d2"],"expected_users":{"d2":["bo","ANN"]}}`: `protected /expected_users/d2 "ANN" is protected by the rule board`,
	} {
		require.Equal(t, want, b.refusedFor(422, "/v1/operations", body))
		require.Equal(t, want, b.refusedFor(422, "/v1/operations", strings.Replace(body, "{", `{"validate_only":true,`, 1)))
		require.Equal(t, want, b.refusedFor(422, "/v1/plans", body))
	}
	require.Len(t, b.audit(), before, "what is refused has no entry")
	b.create(`{"project":"branch","computers":["KIOSK-7"]}`)
	require.Equal(t, `invalid /pattern is not a pattern: write * for any characters, ? for one, [a-z] for one of these, and \ before one that is meant as it is`,
		b.addRefused(`{"name":"x","kind":"computer","pattern":"["}`))
	require.Equal(t, "invalid /project there is no such project", b.addRefused(`{"name":"x","kind":"pool","pattern":"p","project":"nowhere"}`))

	// A reason is needed to remove one; then the user may be detached.
	require.Equal(t, 400, b.do(b.key[access.Admin], "POST", "/v1/protections/board:remove", `{}`).status)
	require.Equal(t, 200, b.do(b.key[access.Admin], "POST", "/v1/protections/board:remove", `{"reason":"left the board"}`).status)
	b.create(`{"project":"hq","users":["bo","ann"]}`)
	e := b.audit()
	require.Equal(t, []string{"protection.removed", "board", "left the board", "user Ann"},
		[]string{string(e[1].Action), e[1].Target, e[1].Reason, e[1].Detail})
}

func (b *bench) addRefused(body string) string {
	b.t.Helper()
	root := b.key[access.Producer]
	b.key[access.Producer] = b.key[access.Admin]
	defer func() { b.key[access.Producer] = root }()
	return b.refusedFor(400, "/v1/protections", body)
}

// A key that is bound to projects sees and changes the protections of these only, and sees
// those of all projects.
func TestProtectionsOfABoundKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	root, bound := b.key[access.Admin], b.newKey(access.Key{Name: "bound", Role: access.Admin, Projects: []string{"hq"}})
	add := func(key, name, project string) int {
		return b.do(key, "POST", "/v1/protections", fmt.Sprintf(`{"name":%q,"kind":"user","pattern":"ann","project":%q}`, name, project)).status
	}
	require.Equal(t, 201, add(root, "all", ""))
	require.Equal(t, 201, add(root, "theirs", "branch"))
	require.Equal(t, 201, add(bound, "mine", "hq"))
	require.Equal(t, 403, add(bound, "other", "branch"))
	require.Equal(t, 403, add(bound, "other", ""))
	var names []string
	for _, x := range b.do(bound, "GET", "/v1/protections", "").json(t)["items"].([]any) {
		names = append(names, x.(map[string]any)["name"].(string))
	}
	require.Equal(t, []string{"configured", "all", "mine"}, names)
	remove := func(name string) int {
		return b.do(bound, "POST", "/v1/protections/"+name+":remove", `{"reason":"x"}`).status
	}
	require.Equal(t, []int{404, 403, 200, 404, 409}, []int{remove("theirs"), remove("all"), remove("mine"), remove("mine"), remove("configured")})
}

// A project may require a reason and a ticket, which a plan does not need.
func TestRequiredFields(t *testing.T) {
	t.Parallel()
	b := newBenchOn(t, "http://127.0.0.1:1", requiring("hq", tasks.Required{Reason: true, Ticket: true}))
	require.Equal(t, "invalid /reason is missing: project hq requires one /ticket is missing: project hq requires one",
		b.refusedFor(400, "/v1/operations", `{"project":"hq","desktops":["d1"],"reason":" "}`))
	require.Equal(t, "invalid /ticket is missing: project hq requires one",
		b.refusedFor(400, "/v1/operations", `{"project":"hq","desktops":["d1"],"reason":"left","validate_only":true}`))
	b.create(`{"project":"hq","desktops":["d1"],"reason":"left","ticket":"HR-1"}`)
	b.create(`{"project":"branch","desktops":["d1"]}`)
	require.Less(t, b.do(b.key[access.Producer], "POST", "/v1/plans", `{"project":"hq","desktops":["d1"]}`).status, 300)
}

// A key may ask for so many rows in an hour, and in a day; users count as one each. The same
// request counts once, and keys of one name share what they have used.
func TestQuotasOfKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.newKey(access.Key{Name: "hr", Role: access.Producer, DesktopsPerHour: 5, DesktopsPerDay: 8})
	successor := b.newKey(access.Key{Name: "hr", Role: access.Producer, DesktopsPerHour: 100, DesktopsPerDay: 8})
	n := 0
	ask := func(key string, desktops int, users ...string) answer {
		t.Helper()
		var rows []string
		for range desktops {
			n++
			rows = append(rows, fmt.Sprintf(`"d%d"`, n))
		}
		body := fmt.Sprintf(`{"project":"hq","desktops":[%s],"users":["%s"]}`, strings.Join(rows, ","), strings.Join(users, `","`))
		return b.do(key, "POST", "/v1/operations", strings.Replace(body, `,"users":[""]`, "", 1), "Idempotency-Key", fmt.Sprint(n))
	}
	before := len(b.audit())
	a := ask(key, 6)
	require.Equal(t, []any{422, "quota_too_small"}, []any{a.status, a.json(t)["code"]})
	require.Equal(t, 202, ask(key, 3, "zoe").status)
	a = ask(key, 2)
	require.Equal(t, []any{429, "quota_used"}, []any{a.status, a.json(t)["code"]})
	require.Contains(t, a.json(t)["detail"], "5 desktops an hour, 8 desktops a day")
	wait, err := time.ParseDuration(a.header.Get("Retry-After") + "s")
	require.NoError(t, err)
	require.Greater(t, wait, 58*time.Minute)
	require.LessOrEqual(t, wait, time.Hour)
	require.Equal(t, 202, ask(key, 1).status)
	require.Equal(t, 202, ask(successor, 3).status)
	a = ask(successor, 1)
	require.Equal(t, 429, a.status)
	wait, err = time.ParseDuration(a.header.Get("Retry-After") + "s")
	require.NoError(t, err)
	require.Greater(t, wait, 23*time.Hour)
	require.Len(t, b.audit(), before+3, "what is refused has no entry")

	b.redis.SetTime(time.Now().Add(time.Hour))
	require.Equal(t, 429, ask(key, 1).status, "the day is not over")
	b.redis.SetTime(time.Now().Add(24*time.Hour + time.Minute))
	require.Equal(t, 202, ask(key, 5).status)
	require.Equal(t, 202, b.do(b.key[access.Producer], "POST", "/v1/operations", `{"project":"hq","desktops":["x1","x2","x3","x4","x5","x6","x7","x8","x9"]}`).status)
}

// However many ask at once, and whichever server they ask, no more is accepted than the quota.
func TestAQuotaUnderConcurrency(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.newKey(access.Key{Name: "hr", Role: access.Producer, DesktopsPerHour: 30})
	var accepted, refused, repeated atomic.Int64
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() { // each request is sent twice at once, and counts once
			a := b.do(key, "POST", "/v1/operations", fmt.Sprintf(`{"project":"hq","desktops":["a%d","b%d"]}`, i/2, i/2), "Idempotency-Key", fmt.Sprint(i/2))
			switch {
			case a.status == http.StatusAccepted && a.header.Get("Idempotent-Replayed") != "":
				repeated.Add(1)
			case a.status == http.StatusAccepted:
				accepted.Add(1)
			case a.status == http.StatusTooManyRequests:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 15, accepted.Load())
	require.EqualValues(t, 60, accepted.Load()+refused.Load()+repeated.Load())
	require.EqualValues(t, 30, refused.Load())
}

// A repetition is answered whatever has changed since: the clock, pauses, protections, what
// the project requires, and the quota of the key.
func TestARepetitionIsAnsweredBeforeAnythingIsChecked(t *testing.T) {
	t.Parallel()
	var late atomic.Bool
	b := newBenchOn(t, "http://127.0.0.1:1", func(c *Config) {
		c.Now = func() time.Time {
			if late.Load() {
				return time.Now().Add(48 * time.Hour)
			}
			return time.Now()
		}
	})
	key := b.newKey(access.Key{Name: "hr", Role: access.Producer, DesktopsPerHour: 2})
	deadline := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	body := fmt.Sprintf(`{"project":"hq","users":["ann","bo"],"deadline":%q}`, deadline)
	first := b.do(key, "POST", "/v1/operations", body, "Idempotency-Key", "k")
	require.Equal(t, 202, first.status, first.body)
	entries := len(b.audit())
	again := func(what string) {
		t.Helper()
		a := b.do(key, "POST", "/v1/operations", body, "Idempotency-Key", "k")
		require.Equal(t, 202, a.status, "%s: %s", what, a.body)
		require.Equal(t, "true", a.header.Get("Idempotent-Replayed"), what)
		require.Equal(t, first.json(t)["id"], a.json(t)["id"], what)
		require.NotEqual(t, 202, b.do(key, "POST", "/v1/operations", body, "Idempotency-Key", "k2").status, "%s: a new request is refused", what)
	}
	again("the quota is used")
	require.NoError(t, b.store.Record.AddProtection(t.Context(), tasks.Protection{Name: "board", Kind: tasks.ProtectUser, Pattern: "ann"}))
	again("something is protected")
	require.NoError(t, b.store.Record.PauseProject(t.Context(), "hq", tasks.PauseOperator, 0, "x"))
	_, err := b.store.Record.StopAll(t.Context(), "x")
	require.NoError(t, err)
	again("it is paused and stopped")
	requiring("hq", tasks.Required{Reason: true, Ticket: true})(&b.srv.Config)
	again("the project requires more")
	late.Store(true)
	b.redis.SetTime(time.Now().Add(48 * time.Hour))
	again("its deadline has passed")
	require.Len(t, b.audit(), entries, "a repetition has no entry of its own")
}

// requiring gives the server a producer whose project requires more, and that has its clock.
func requiring(alias string, required tasks.Required) func(*Config) {
	return func(c *Config) {
		p, err := record.NewProducer(c.Store.Redis, record.ProducerConfig{
			Projects: c.Store.Projects, Required: map[string]tasks.Required{alias: required}, Now: c.Now,
		})
		if err != nil {
			panic(err)
		}
		c.Store.Producer = p
	}
}
