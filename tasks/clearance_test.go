package tasks

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLimitAllows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit   Limit
		fleet   int
		allowed int
	}{
		{DefaultLimit, 5, 50},
		{DefaultLimit, 250, 50},
		{DefaultLimit, 10_000, 2000},
		{Limit{Desktops: 50, Percent: 20, Any: true}, 5, 1},
		{Limit{Desktops: 50, Percent: 20, Any: true}, 10_000, 50},
		{Limit{Desktops: 0, Percent: 20}, 10_000, 0},
		{Limit{Desktops: 50, Percent: 0}, 10_000, 0},
		{Limit{Desktops: 0, Percent: 100}, 10_000, 0},
		{Limit{Desktops: 50, Percent: 100}, 10, math.MaxInt},
		{Limit{Desktops: 50, Percent: 100, Any: true}, 10, 50},
	} {
		require.Equal(t, c.allowed, c.limit.Allowed(c.fleet), "%+v of %d", c.limit, c.fleet)
	}
}

// Where the fleet is not read, its size makes no difference to whether so many pass.
func TestTheFleetIsReadWhereItMatters(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{Desktops: rapid.IntRange(0, 100).Draw(t, "desktops"), Percent: rapid.IntRange(0, 110).Draw(t, "percent"), Any: rapid.Bool().Draw(t, "any")}
		asked := rapid.IntRange(1, 200).Draw(t, "asked")
		passes := func(fleet int) bool { return asked <= l.Allowed(fleet) }
		differs := passes(0) != passes(math.MaxInt/1000)
		require.Equal(t, differs, l.DependsOnFleet(asked), "%+v, %d asked", l, asked)
	})
}

// Two keys of one person are one person, however the name is written.
func TestOnePersonIsOnePerson(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		requestedBy, owner string // of the operation
		by, of             string // who approves
		same               bool
	}{
		{"hr", "ann", "desk", "bob", false},
		{"hr", "ann", "desk", "ann", true},
		{"hr", "ann", "desk", " Ann ", true},
		{"hr", "Zo\u00eb", "desk", "ZOE\u0308", true},
		{"hr", "ann", "hr", "bob", true},
		{"hr", "ann", "HR", "bob", true},
		{"hr", "", "hr", "bob", true},
		{"hr", "", "desk", "bob", false},
		{"ann", "", "desk", "ann", true},
		{"hr", "ann", "ann", "", true},
		{"hr", "ann", "desk", "", false},
		{"", "", "desk", "ann", false},
	} {
		op := Operation{RequestedBy: c.requestedBy, Owner: c.owner}
		require.Equal(t, c.same, op.SamePerson(c.by, c.of), "%+v", c)
	}
}

func TestTheQuestionHasItsNumbers(t *testing.T) {
	t.Parallel()
	codes := []CodeCount{{"WKS.00010032", 3}, {"NOT_FOUND", 1}}
	for want, c := range map[string]Clearance{
		"it asks for 900 desktops, after 3 others within 24h; more than 200 need an approval":                    {Why: WhyLimit, Desktops: 900, Used: 3, Allowed: 200, WindowS: 86400},
		"it asks for 9 desktops, after 1 other within 24h; more than 2 need an approval":                         {Why: WhyLimit, Desktops: 9, Used: 1, Allowed: 2, WindowS: 86400},
		"it asks for 9 desktops, after 0 others within 1h30m; more than 2 need an approval":                      {Why: WhyLimit, Desktops: 9, Allowed: 2, WindowS: 5400},
		"it asks for 900 desktops, and none of its project passes without an approval":                           {Why: WhyLimit, Desktops: 900, WindowS: 86400},
		"one of its first desktops failed or is on hold (WKS.00010032: 3, NOT_FOUND: 1); 895 have not been sent": {Why: WhyCanary, Desktops: 895, Codes: codes},
		"too many of its desktops failed or are on hold (WKS.00010032: 3, NOT_FOUND: 1); 40 have not been sent":  {Why: WhyStopLoss, Desktops: 40, Codes: codes},
		"it gives 900 desktops back, and more than 100 take a second person":                                     {Why: WhyUndo, Desktops: 900, SecondPersonAbove: 100},
		"it gives 1 desktop back, and every undo takes a second person":                                          {Why: WhyUndo, Desktops: 1},
	} {
		require.Equal(t, want, c.Question())
	}
}
