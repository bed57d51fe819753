package record_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// Names are found by how they begin, in any case, in order and each once, by project; and the
// lists expire by themselves.
func namesByPrefix(t *testing.T, b *bundle) {
	rng := rand.New(rand.NewPCG(1, 2))
	all := map[string]map[string]bool{"hq": {}, "branch": {}}
	letters := []rune("abAB.é-0")
	for round := range 6 {
		for project, known := range all {
			var users []string
			for range 400 {
				name := []rune("zoe")
				for range 1 + rng.IntN(7) {
					name = append(name, letters[rng.IntN(len(letters))])
				}
				if s := string(name); !slices.Contains(users, s) {
					users = append(users, s)
					known[s] = true
				}
			}
			b.enqueue(tasks.Request{Project: project, Users: users})
		}
		if round%2 == 1 {
			b.now = b.now.Add(8 * 24 * time.Hour) // another list
		}
	}
	b.enqueue(tasks.Request{Users: []string{"only hq"}, Computers: []string{"ZOE-PC"}, Desktops: []string{"d1"}, Expect: map[string][]string{"d1": {"Kim"}}})
	find := func(prefix string, n int, projects ...string) ([]record.Name, bool) {
		found, more, err := b.r.UsersNamed(t.Context(), projects, prefix, n)
		require.NoError(t, err)
		return found, more
	}
	for _, prefix := range []string{"zoe", "ZOEa", "zoea", "zoe0.", "zoeé", "zoeab", "zoe-0aB", "x", "only", "kim", "zoe-pc"} {
		for _, projects := range [][]string{{"hq"}, {"branch"}, {"hq", "branch"}} {
			want := map[string][]string{}
			for _, project := range projects {
				for name := range all[project] {
					if strings.HasPrefix(strings.ToLower(name), strings.ToLower(prefix)) {
						want[name] = append(want[name], project)
					}
				}
			}
			found, more := find(prefix, 100_000, projects...)
			require.False(t, more)
			got := map[string][]string{}
			for _, x := range found {
				require.Nil(t, got[x.Name], "%s is given once", x.Name) // not NotContains, which compares all keys
				got[x.Name] = x.Projects
			}
			if prefix != "only" && prefix != "kim" {
				require.Equal(t, want, got, "%s in %v", prefix, projects)
			}
			require.True(t, slices.IsSortedFunc(found, func(a, b record.Name) int {
				return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
			}))
			if len(found) > 3 {
				some, more := find(prefix, 3, projects...)
				require.True(t, more)
				require.Equal(t, found[:3], some)
			}
		}
	}
	found, _ := find("ONLY", 5, "hq", "branch")
	require.Equal(t, []record.Name{{Name: "only hq", Projects: []string{"hq"}}}, found)
	found, _ = find("only", 5, "branch")
	require.Empty(t, found, "of another project")
	found, _ = find("kim", 5, "hq")
	require.Equal(t, []record.Name{{Name: "Kim", Projects: []string{"hq"}}}, found, "as it is written")
	computers, more, err := b.r.ComputersNamed(t.Context(), []string{"hq"}, "zoe-", 5)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []record.Name{{Name: "ZOE-PC", Projects: []string{"hq"}}}, computers)

	op := b.enqueue(tasks.Request{Desktops: []string{"d2"}, IdempotencyKey: "k", RequestedBy: "hr"})
	for n := 1; n <= len(op.ID); n++ {
		ops, more, err := b.r.OperationsNamed(t.Context(), []string{"hq"}, strings.ToUpper(op.ID[:n]), 50)
		require.NoError(t, err)
		require.False(t, more)
		require.True(t, slices.ContainsFunc(ops, func(x record.Operation) bool { return x.ID == op.ID }), op.ID[:n])
		for _, x := range ops {
			require.True(t, strings.HasPrefix(x.ID, op.ID[:n]))
		}
		ops, _, err = b.r.OperationsNamed(t.Context(), []string{"branch"}, op.ID[:n], 50)
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(ops), op.ID)
	}

	lists := 0
	for _, key := range b.keys() {
		if strings.Contains(key, ":names:") {
			lists++
			ttl := b.rdb.TTL(t.Context(), key).Val()
			require.Greater(t, ttl, 24*time.Hour, key)
			require.Less(t, ttl, 11*24*time.Hour, "%s: the retention is a day", key)
		}
	}
	require.GreaterOrEqual(t, lists, 12, "a list for each week and project")
}

// A name that is hostile to the lists is found whole, and breaks nothing.
func namesAreHostile(t *testing.T, b *bundle) {
	op := b.enqueue(tasks.Request{Desktops: ids(2), Users: []string{"zoe[a-z]%d.*"}})
	d := b.chunk(op, 0).Desktops[0]
	_, err := b.r.Apply(t.Context(), b.now, []record.Change{{Operation: op, Moves: []record.Move{{
		Desktop: d, To: tasks.StateHeld, Failure: &tasks.Failure{Code: "SHARED", Class: "held", At: b.now},
		Before: &tasks.Before{Name: "PC\nuevil", Users: []tasks.Person{{Name: "a\nuzoe2"}, {Name: strings.Repeat("long", 1000)}, {Name: "zoe\xff"}}},
	}}}})
	require.NoError(t, err)
	found, _, err := b.r.UsersNamed(t.Context(), []string{"hq"}, "zoe", 9)
	require.NoError(t, err)
	for _, x := range found {
		require.NotContains(t, x.Name, "2")
	}
	found, _, err = b.r.UsersNamed(t.Context(), []string{"hq"}, "ZOE[A-z]%", 9)
	require.NoError(t, err)
	require.Len(t, found, 1)
	events, _, err := b.r.Search(t.Context(), "a\nuzoe2", 9, "")
	require.NoError(t, err)
	require.Len(t, events, 1, "whole it is found")
}

// A name may be the first of a block of which it is the beginning of all others; where blocks
// begin follows from how many names there are before it.
func TestNamesThatBeginOthers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for before := 100; before < 170; before++ {
		b := newBundle(t, server.Client(t))
		users := []string{"k"}
		for i := range before {
			users = append(users, fmt.Sprintf("a%04d", i))
		}
		for i := range 400 - before {
			users = append(users, fmt.Sprintf("k%04d", i))
		}
		b.enqueue(tasks.Request{Users: users})
		for round := range 4 { // the block is divided later
			users = nil
			for i := range 300 {
				users = append(users, fmt.Sprintf("k%04d-%d", i, round))
			}
			b.enqueue(tasks.Request{Users: users})
		}
		found, more, err := b.r.UsersNamed(t.Context(), []string{"hq"}, "k", 10_000)
		require.NoError(t, err)
		require.False(t, more)
		require.Equal(t, 1+400-before+4*300, len(found))
		require.Equal(t, "k", found[0].Name)
	}
}

// The lists cost little more than the bytes of the names.
func TestNamesAreSmall(t *testing.T) {
	t.Parallel()
	b := newBundle(t, redistest.Start(t).Client(t))
	used := func() (n int64) {
		for _, key := range b.keys() {
			if strings.Contains(key, ":names:") {
				n += b.rdb.MemoryUsage(t.Context(), key, 0).Val()
			}
		}
		return n
	}
	const operations, rows = 20, 1000
	for range operations {
		ds, expect := make([]string, rows), map[string][]string{}
		for i := range ds {
			ds[i] = fmt.Sprintf("d-%012d", rand.Int64N(1e12))
			expect[ds[i]] = []string{fmt.Sprintf("zoe.leaver%03d", rand.IntN(1e6))}
		}
		b.enqueue(tasks.Request{Desktops: ds, Expect: expect})
	}
	require.LessOrEqual(t, float64(used())/(operations*rows), 20.0, "bytes a desktop")
}
