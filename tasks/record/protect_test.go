package record_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

func protections(t *testing.T, b *bundle) {
	ctx := t.Context()
	board := tasks.Protection{Name: "board", Kind: tasks.ProtectUser, Pattern: "Ann", Reason: "one of the board", By: "root", At: b.now}
	require.NoError(t, b.r.AddProtection(ctx, board))
	again := board
	again.At = b.now.Add(time.Second)
	require.ErrorIs(t, b.r.AddProtection(ctx, again), tasks.ErrProtectionExists)
	var invalid *tasks.ValidationError
	require.ErrorAs(t, b.r.AddProtection(ctx, tasks.Protection{Name: "x", Kind: "user"}), &invalid)
	all, err := b.r.AllProtections(ctx)
	require.NoError(t, err)
	require.Equal(t, []tasks.Protection{board}, all)

	_, err = b.p.Enqueue(ctx, tasks.Request{Project: "hq", Users: []string{"bo", "ANN"}})
	var protected *tasks.ProtectedError
	require.ErrorAs(t, err, &protected)
	require.Equal(t, []tasks.Problem{{Field: "users[1]", Message: `"ANN" is protected by the rule board`}}, protected.Problems)
	b.enqueue(tasks.Request{Users: []string{"bo"}})

	// Another process knows it too, and knows when it has gone.
	other := b.producer()
	require.ErrorAs(t, other.Protected(ctx, tasks.Request{Project: "hq", Users: []string{"ann"}}), &protected)
	got, err := b.r.Protection(ctx, "board")
	require.NoError(t, err)
	require.Equal(t, board, got)
	require.NoError(t, b.r.RemoveProtection(ctx, "board"))
	require.ErrorIs(t, b.r.RemoveProtection(ctx, "board"), tasks.ErrNoProtection)
	_, err = b.r.Protection(ctx, "board")
	require.ErrorIs(t, err, tasks.ErrNoProtection)
	b.enqueue(tasks.Request{Users: []string{"ann"}})
	require.Eventually(t, func() bool {
		return other.Protected(ctx, tasks.Request{Project: "hq", Users: []string{"ann"}}) == nil
	}, time.Minute, 10*time.Millisecond, "what a process knows is a second old at most")
}

// with is a producer whose configuration has rules.
func (b *bundle) with(rules ...tasks.Protection) *record.Producer {
	b.t.Helper()
	p, err := record.NewProducer(b.rdb, record.ProducerConfig{
		Projects: []string{"hq", "branch"}, Record: record.Config{Prefix: b.prefix, Retention: 24 * time.Hour, Protected: rules},
		Now: func() time.Time { return b.now }, Required: map[string]tasks.Required{"branch": {Reason: true, Ticket: true}},
	})
	require.NoError(b.t, err)
	return p
}

func TestWhatIsProtectedIsRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	const uuid = "8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11"
	p := b.with(
		tasks.Protection{Name: "one", Kind: tasks.ProtectDesktop, Pattern: "{8F0E0C9A-4F4E-4C5B-9C53-0D0F5A3A2B11}"},
		tasks.Protection{Name: "board", Kind: tasks.ProtectUser, Pattern: "zo\u00e9"},
		tasks.Protection{Name: "kiosks", Kind: tasks.ProtectComputer, Pattern: "kiosk-[0-9]*"},
		tasks.Protection{Name: "local", Kind: tasks.ProtectUser, Pattern: "bo", Project: "branch"},
	)
	refused := func(req tasks.Request) string {
		if req.Project == "" {
			req.Project = "hq"
		}
		err := p.Protected(t.Context(), req)
		var protected *tasks.ProtectedError
		if errors.As(err, &protected) {
			return fmt.Sprint(protected.Problems)
		}
		require.NoError(t, err)
		return ""
	}
	for want, req := range map[string]tasks.Request{
		`[desktops[1]: "` + uuid + `" is protected by the rule one]`:     {Desktops: []string{"d-1", "urn:uuid:" + uuid}},
		"[users[0]: \"ZO\u00c9\" is protected by the rule board]":        {Users: []string{"ZOE\u0301"}},
		`[computers[0]: "KIOSK-1/2" is protected by the rule kiosks]`:    {Computers: []string{"KIOSK-1/2", "KIOSK-x"}},
		`[users[0]: "bo" is protected by the rule local]`:                {Project: "branch", Users: []string{"bo"}},
		"[expect[\"d-1\"]: \"zo\u00e9\" is protected by the rule board]": {Desktops: []string{"d-1"}, Expect: map[string][]string{"d-1": {"ann", "zo\u00e9"}}},
		"": {Desktops: []string{"d-1"}, Users: []string{"bo", "zoe"}, Computers: []string{"my-kiosk-1"}},
	} {
		require.Equal(t, want, refused(req))
	}
}

func TestWhatAReadingShowsAsProtected(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	rules := map[string]tasks.Protection{
		"id":       {Kind: tasks.ProtectDesktop, Pattern: "D-1"},
		"user":     {Kind: tasks.ProtectUser, Pattern: "Ann"},
		"computer": {Kind: tasks.ProtectComputer, Pattern: "vip-??"},
		"value":    {Kind: tasks.ProtectTag, Pattern: "role=Jump Host"},
		"key":      {Kind: tasks.ProtectTag, Pattern: "critical"},
		"pool":     {Kind: tasks.ProtectPool, Pattern: "p-1"},
	}
	plain := record.Protectable{Project: "hq", ID: "d-9", ComputerName: "PC-9", PoolID: "p-9", Tags: []string{"role=desk"}, Losing: []string{"bo"}}
	for name, change := range map[string]func(*record.Protectable){
		"id":       func(d *record.Protectable) { d.ID = "d-1" },
		"user":     func(d *record.Protectable) { d.Losing = []string{"bo", "ANN"} },
		"computer": func(d *record.Protectable) { d.ComputerName = "VIP-01" },
		"value":    func(d *record.Protectable) { d.Tags = []string{"role=desk", "ROLE=jump host"} },
		"key":      func(d *record.Protectable) { d.Tags = []string{"Critical=yes=no"} },
		"pool":     func(d *record.Protectable) { d.PoolID = "P-1" },

		// What a rule needs, and the reading does not show.
		"user, none shown":     func(d *record.Protectable) { d.Losing = nil },
		"computer, none shown": func(d *record.Protectable) { d.ComputerName = "" },
		"value, not all shown": func(d *record.Protectable) { d.TagsUnread = true },
	} {
		kind := name
		for i, c := range name {
			if c == ',' {
				kind = name[:i]
			}
		}
		rule := rules[kind]
		rule.Name = "rule"
		for project, want := range map[string]bool{"": true, "hq": true, "branch": false} {
			rule.Project = project
			in, err := b.with(rule).Record.Protections(t.Context())
			require.NoError(t, err)
			d := plain
			_, is := in.Desktop(d)
			require.False(t, is, name)
			change(&d)
			by, is := in.Desktop(d)
			require.Equal(t, want, is, "%s, rule of project %q", name, project)
			if want {
				require.Equal(t, "rule", by.Name)
			}
		}
	}
}

// A rule that a process cannot read could protect anything: nothing passes until it is removed.
func TestARuleThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"?", `{"name":"x","kind":"room","pattern":"1"}`, `{"name":"other","kind":"user","pattern":"ann"}`} {
		b := newBundle(t, redistest.Mini(t))
		require.NoError(t, b.rdb.HSet(t.Context(), b.prefix+":protected", "x", text).Err())
		_, err := b.r.Protections(t.Context())
		require.ErrorContains(t, err, `the protection "x" cannot be read`)
		_, err = b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: ids(1)})
		require.ErrorContains(t, err, `the protection "x" cannot be read`)
		all, err := b.r.AllProtections(t.Context())
		require.NoError(t, err)
		require.Equal(t, "x", all[0].Name)
		require.NoError(t, b.r.RemoveProtection(t.Context(), "x"))
		b.enqueue(tasks.Request{Desktops: ids(1)})
	}
}

// The rules cost a read a second, not one a request.
func TestProtectionsAreReadOnceASecond(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	require.Eventually(t, func() bool { // the second may pass in between
		_, err := b.r.Protections(t.Context())
		require.NoError(t, err)
		return b.trips(func() {
			for range 100 {
				_, err := b.r.Protections(t.Context())
				require.NoError(t, err)
			}
		}) == 0
	}, time.Minute, time.Millisecond)
}

// A repetition is answered whatever has changed since: the time, what is protected, what the
// project requires, the projects themselves. What is new is refused.
func TestARepetitionIsAnsweredWhateverHasChanged(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Mini(t))
	req := tasks.Request{
		Project: "branch", Users: []string{"ann"}, RequestedBy: "hr", IdempotencyKey: "k",
		NotBefore: b.now.Add(time.Hour), Deadline: b.now.Add(2 * time.Hour),
	}
	first := b.enqueue(req)
	strict := b.with(tasks.Protection{Name: "board", Kind: tasks.ProtectUser, Pattern: "ann"})
	other, err := record.NewProducer(b.rdb, record.ProducerConfig{Projects: []string{"hq"}, Record: record.Config{Prefix: b.prefix}})
	require.NoError(t, err)
	again := func(p *record.Producer, req tasks.Request) (record.Operation, error) {
		return p.Enqueue(t.Context(), req, func(string) error { return errors.New("it is not new") })
	}
	now := b.now
	for name, change := range map[string]func() *record.Producer{
		"nothing":     func() *record.Producer { return b.p },
		"the time":    func() *record.Producer { b.now = now.Add(48 * time.Hour); return b.p },
		"the rules":   func() *record.Producer { return strict },
		"the project": func() *record.Producer { return other },
		"all of it": func() *record.Producer {
			b.now = now.Add(48 * time.Hour)
			require.NoError(t, b.r.AddProtection(t.Context(), tasks.Protection{Name: "all", Kind: tasks.ProtectUser, Pattern: "ann"}))
			require.NoError(t, b.r.PauseProject(t.Context(), "branch", tasks.PauseOperator, 0, "x"))
			return strict
		},
	} {
		p := change()
		op, err := again(p, req)
		require.NoError(t, err, name)
		require.True(t, op.Replayed, name)
		require.Equal(t, first.ID, op.ID, name)
		if p != b.p {
			fresh := req
			fresh.IdempotencyKey = "k2"
			_, err = again(p, fresh)
			require.Error(t, err, name)
			require.NotContains(t, err.Error(), "it is not new", "%s: it is refused before anything begins", name)
			changed := req
			changed.Reason = "another"
			_, err = again(p, changed)
			require.Error(t, err, name)
		}
		b.now = now
		_ = b.r.RemoveProtection(t.Context(), "all")
	}
}
