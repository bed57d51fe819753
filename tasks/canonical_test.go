package tasks_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

const (
	someID    = "7d0f0001-0000-4000-8000-0000000000ab"
	composed  = "zo\u00eb"
	separated = "zoe\u0308"
)

func fields(t *testing.T, err error) (out []string) {
	t.Helper()
	if err == nil {
		return nil
	}
	var bad *tasks.ValidationError
	require.ErrorAs(t, err, &bad)
	for _, p := range bad.Problems {
		out = append(out, p.Field)
	}
	return out
}

func TestTheSameInTwoSpellingsIsThereTwice(t *testing.T) {
	t.Parallel()
	upper := "{" + strings.ToUpper(someID) + "}"
	for want, r := range map[string]tasks.Request{
		"desktops[1]":              {Desktops: []string{someID, upper}},
		"users[1]":                 {Users: []string{composed, separated}},
		"computers[1]":             {Computers: []string{composed, separated}},
		`expect["` + upper + `"]`:  {Desktops: []string{someID}, Expect: map[string][]string{upper: {"zoe", "zoe"}}},
		`expect["` + someID + `"]`: {Desktops: []string{someID}, Expect: map[string][]string{upper: {"zoe"}, "7" + someID[1:]: {"bob"}, " " + someID: {"x"}}},
		`expect["computer:zoë"]`:   {Computers: []string{composed}, Expect: map[string][]string{"computer:" + separated: {"zoe"}, "computer:" + composed: {"bob"}}},
		`expect["computer:other"]`: {Computers: []string{composed}, Expect: map[string][]string{"computer:other": {"zoe"}}},
		`desktops[0]`:              {Desktops: []string{"7,00E+13"}},
		"users[0]":                 {Users: []string{"zo\x00e"}},
	} {
		r.Project = "hq"
		require.Contains(t, fields(t, validate(r)), want)
	}
	for name, r := range map[string]tasks.Request{
		"key in another spelling": {Desktops: []string{upper}, Expect: map[string][]string{"urn:uuid:" + someID: {separated}}},
		"invisible characters":    {Users: []string{"zoe\u200b", "zoe", "\ufeffzoe", "zo\u00a0e"}},
		"128 of two bytes":        {Desktops: []string{strings.Repeat("é", 128)}},
	} {
		r.Project = "hq"
		require.NoError(t, validate(r), name)
	}
}

func TestARequestHasOneSpelling(t *testing.T) {
	t.Parallel()
	got := tasks.Request{
		Project: "hq", Desktops: []string{"urn:uuid:" + strings.ToUpper(someID), "d-000001"}, Users: []string{separated}, Computers: []string{separated, "WS-1"},
		Expect: map[string][]string{"{" + someID + "}": {separated}, "computer:" + separated: {"zoe"}},
	}.Canonical()
	want := tasks.Request{
		Project: "hq", Desktops: []string{someID, "d-000001"}, Users: []string{composed}, Computers: []string{composed, "WS-1"},
		Expect: map[string][]string{someID: {composed}, "computer:" + composed: {"zoe"}},
	}
	require.Equal(t, want, got)
	require.Equal(t, want, got.Canonical())
	require.Equal(t, tasks.Request{}, tasks.Request{}.Canonical(), "what is nil stays nil")
}
