package trail

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// letter is a state as the record has it.
type letter byte

func (s letter) String() string {
	return map[letter]string{'Q': "queued", 'S': "sending", 'D': "detached"}[s]
}

// Whoever has kept a head compares it with one that is computed later: it must not
// change with the program.
func TestHeadStaysAsItIs(t *testing.T) {
	t.Parallel()
	one := Start(`{"id":"op"}`, 0, []Row{{ID: "d1", State: 'D'}, {ID: "d2", Expect: []string{"ann", "bob"}}})
	require.Equal(t, one, Start(`{"id":"op"}`, 0, []Row{{ID: "d1"}, {ID: "d2", Expect: []string{"ann", "bob"}}}), "where rows stand is the entries' to say")
	two := Start(`{"id":"op"}`, 1, nil).Add(`{"t":1,"m":[["QS||","0"]]}`)
	require.Equal(t, "286f85f2734231468d862ff9dc12ce4f508ee829bd7be28d6721303cbe9c83a5", Head([]Chain{one, two}))
	require.NotEqual(t, Head([]Chain{one, two}), Head([]Chain{two, one}))
	require.NotEqual(t, one.Add("a").Add("b"), one.Add("b").Add("a"))
	require.NotEqual(t, one, Start(`{"id":"op"}`, 0, []Row{{ID: "d1"}, {ID: "d2", Expect: []string{"ann"}}}))
}

// What is written is read as it was.
func TestParse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.OneOf(rapid.Just(""), rapid.String())
		want := Entry{At: time.UnixMilli(1700000000123).UTC(), By: texts.Draw(t, "by"), CallID: texts.Draw(t, "call"), Readings: rapid.StringMatching(`[A-Za-z0-9+/]*`).Draw(t, "readings")}
		raw := `{"t":1700000000123` + want.Common() + `,"m":[`
		for n := range rapid.IntRange(1, 3).Draw(t, "moves") {
			m := Move{From: 'Q', To: 'S', Note: rapid.StringMatching(`[a-z]?`).Draw(t, "note"), Detail: texts.Draw(t, "detail"),
				Positions: Ranges(rapid.SliceOfNDistinct(rapid.IntRange(0, 99), 1, 20, rapid.ID[int]).Draw(t, "positions"))}
			if n > 0 {
				raw += ","
			}
			raw += "[" + m.Tag() + `,"` + FormatRanges(m.Positions) + `"]`
			want.Moves = append(want.Moves, m)
		}
		raw += "]}"
		got, err := Parse(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		require.Equal(t, want, got)
		readings, has := ReadingsIn(raw)
		require.Equal(t, want.Readings, readings)
		require.Equal(t, want.Readings != "", has)
	})
	for _, raw := range []string{"", "{", `{"m":[["QS|","0"]]}`, `{"m":[["Q||","0"]]}`, `{"m":[["QS||","2-1"]]}`, `{"m":[["QS||","x"]]}`} {
		_, err := Parse(raw)
		require.Error(t, err, raw)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	rows := []Row{{ID: "d1", State: 'D'}, {ID: "d2", State: 'Q'}}
	entry := func(from, to byte, first, last int) Entry {
		return Entry{Moves: []Move{{From: from, To: to, Positions: []Range{{first, last}}}}}
	}
	check := func(entries ...Entry) error { return Check(3, rows, entries, letter('Q')) }
	require.NoError(t, check(entry('Q', 'S', 0, 0), entry('S', 'D', 0, 0)))
	require.EqualError(t, check(entry('Q', 'S', 0, 0)), "chunk 3: by its trail d1 is sending, by its row detached")
	require.EqualError(t, check(entry('Q', 'S', 0, 1), entry('Q', 'D', 0, 0)), "chunk 3, entry 1 of the trail takes d1 from queued, but it was sending")
	require.EqualError(t, check(entry('Q', 'S', 1, 1<<40)), "chunk 3, entry 0 of the trail is about row 2, which does not exist")
	require.Error(t, check(entry('Q', 'S', -1, 0)))
}
