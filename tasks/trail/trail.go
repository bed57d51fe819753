package trail

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Entry is one change of a chunk.
type Entry struct {
	At       time.Time
	By       string // the id of the worker, or the person
	CallID   string // the call of the change; may be empty
	Readings string // the readings of the desktops before the call, packed by tasks; may be empty
	Moves    []Move // of the desktops
}

// Move is one step of some desktops of a chunk.
type Move struct {
	From, To  byte    // states
	Note      string  // the code of the reason, if the states do not show it
	Detail    string  // the state that was read, or an error code; may be a text of the cloud
	Positions []Range // of the desktops in the chunk, from 0
}

// storedEntry is an Entry as the script stores it. At is in milliseconds since 1970. A move
// is a pair of its Tag and its positions.
type storedEntry struct {
	At       int64       `json:"t"`
	By       string      `json:"by"`
	CallID   string      `json:"call"`
	Readings string      `json:"b"`
	Moves    [][2]string `json:"m"`
}

// Tag returns a move as stored, without its positions: the JSON string of "FT|note|detail",
// where F and T are the letters of From and To.
func (m Move) Tag() string {
	states := string([]byte{m.From, m.To})
	if m.Detail == "" && m.Note == "" {
		return `"` + states + `||"` // nearly all moves
	}
	return mustJSON(states + "|" + m.Note + "|" + m.Detail)
}

// Common returns the JSON of By, CallID and Readings as it follows the time of an entry:
// empty, or beginning with a comma.
func (e Entry) Common() string {
	s := mustJSON(struct {
		By       string `json:"by,omitempty"`
		CallID   string `json:"call,omitempty"`
		Readings string `json:"b,omitempty"`
	}{e.By, e.CallID, e.Readings})
	if s == "{}" {
		return ""
	}
	return "," + s[1:len(s)-1]
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// Parse reads a stored entry.
func Parse(raw string) (Entry, error) {
	var s storedEntry
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return Entry{}, fmt.Errorf("invalid entry of the audit trail: %w", err)
	}
	e := Entry{At: time.UnixMilli(s.At).UTC(), By: s.By, CallID: s.CallID, Readings: s.Readings}
	for _, move := range s.Moves {
		f := strings.SplitN(move[0], "|", 3)
		if len(f) != 3 || len(f[0]) != 2 {
			return Entry{}, fmt.Errorf("invalid entry of the audit trail: move %q", move[0])
		}
		m := Move{From: f[0][0], To: f[0][1], Note: f[1], Detail: f[2]}
		ranges, err := ParseRanges(move[1])
		if err != nil {
			return Entry{}, fmt.Errorf("invalid entry of the audit trail: %w", err)
		}
		for _, r := range ranges {
			if n := len(m.Positions); n > 0 && m.Positions[n-1].Last+1 == r.First {
				m.Positions[n-1].Last = r.Last
			} else {
				m.Positions = append(m.Positions, r)
			}
		}
		e.Moves = append(e.Moves, m)
	}
	return e, nil
}

// readingsField begins the readings of a stored entry. No other string can contain it,
// because quotes within strings are escaped.
const readingsField = `"b":"`

// ReadingsIn returns the Readings of a stored entry, and whether it has any. It is much
// faster than Parse, and most entries have none.
func ReadingsIn(raw string) (readings string, has bool) {
	_, rest, has := strings.Cut(raw, readingsField)
	readings, _, _ = strings.Cut(rest, `"`)
	return readings, has
}

// Each iterates over the moves and their positions in the chunk. A position may have no row;
// see Check.
func (e Entry) Each() iter.Seq2[int, Move] {
	return func(yield func(int, Move) bool) {
		for _, m := range e.Moves {
			for _, r := range m.Positions {
				for p := r.First; p <= r.Last; p++ {
					if !yield(p, m) {
						return
					}
				}
			}
		}
	}
}

// Check replays the entries of a chunk whose rows all started in state first. It returns an
// error unless every move starts in the state of the move before it, and the last one ends
// in the state of its row.
func Check[S interface {
	~byte
	fmt.Stringer
}](chunk int, rows []Row, entries []Entry, first S) error {
	at := make([]S, len(rows))
	for i := range at {
		at[i] = first
	}
	for n, entry := range entries {
		for p, m := range entry.Each() {
			if p < 0 || p >= len(at) {
				return fmt.Errorf("chunk %d, entry %d of the trail is about row %d, which does not exist", chunk, n, p)
			}
			if at[p] != S(m.From) {
				return fmt.Errorf("chunk %d, entry %d of the trail takes %s from %s, but it was %s", chunk, n, rows[p].ID, S(m.From), at[p])
			}
			at[p] = S(m.To)
		}
	}
	for i, row := range rows {
		if at[i] != S(row.State) {
			return fmt.Errorf("chunk %d: by its trail %s is %s, by its row %s", chunk, row.ID, at[i], S(row.State))
		}
	}
	return nil
}
