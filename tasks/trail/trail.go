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
	By       string // the worker, or the person
	CallID   string // the call that it belongs to
	Readings string // what its desktops were read as before the call, packed; tasks unpacks it
	Moves    []Move // of its desktops
}

// Move is one step of some desktops of a chunk.
type Move struct {
	From, To  byte    // states
	Note      string  // why, where the states alone do not say it
	Detail    string  // what the desktops were seen as, or the error's code; may be the cloud's text
	Positions []Range // in the chunk
}

// storedEntry is an Entry as the script writes it. A move is a pair: its Tag, and the
// positions.
type storedEntry struct {
	At       int64       `json:"t"`
	By       string      `json:"by"`
	CallID   string      `json:"call"`
	Readings string      `json:"b"`
	Moves    [][2]string `json:"m"`
}

// Tag is how a move is stored, but for its positions: from and to, note, and detail,
// separated by "|", as a JSON text.
func (m Move) Tag() string {
	states := string([]byte{m.From, m.To})
	if m.Detail == "" && m.Note == "" {
		return `"` + states + `||"` // almost all are so
	}
	return mustJSON(states + "|" + m.Note + "|" + m.Detail)
}

// Common is what an entry says of the whole change, to follow its time.
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
		panic(err) // texts always marshal
	}
	return string(b)
}

// Parse reads an entry as it is stored.
func Parse(raw string) (Entry, error) {
	var s storedEntry
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return Entry{}, fmt.Errorf("an entry of the trail cannot be read: %w", err)
	}
	e := Entry{At: time.UnixMilli(s.At).UTC(), By: s.By, CallID: s.CallID, Readings: s.Readings}
	for _, move := range s.Moves {
		f := strings.SplitN(move[0], "|", 3)
		if len(f) != 3 || len(f[0]) != 2 {
			return Entry{}, fmt.Errorf("an entry of the trail cannot be read: move %q", move[0])
		}
		m := Move{From: f[0][0], To: f[0][1], Note: f[1], Detail: f[2]}
		places, err := ParseRanges(move[1])
		if err != nil {
			return Entry{}, fmt.Errorf("an entry of the trail cannot be read: %w", err)
		}
		for _, p := range places {
			if n := len(m.Positions); n > 0 && m.Positions[n-1].Last+1 == p.First {
				m.Positions[n-1].Last = p.Last
			} else {
				m.Positions = append(m.Positions, p)
			}
		}
		e.Moves = append(e.Moves, m)
	}
	return e, nil
}

// readingsField begins the packed readings of an entry. No other text of an entry can
// contain it, as quotes within texts are escaped.
const readingsField = `"b":"`

// ReadingsIn gives Readings of an entry as it is stored; most have none, and Parse takes
// long.
func ReadingsIn(raw string) (readings string, has bool) {
	_, rest, has := strings.Cut(raw, readingsField)
	readings, _, _ = strings.Cut(rest, `"`)
	return readings, has
}

// Each goes through the moves, with each position in the chunk that one is about. Only
// Check says that there is such a row.
func (e Entry) Each() iter.Seq2[int, Move] {
	return func(yield func(int, Move) bool) {
		for _, m := range e.Moves {
			for _, places := range m.Positions {
				for p := places.First; p <= places.Last; p++ {
					if !yield(p, m) {
						return
					}
				}
			}
		}
	}
}

// Check replays the entries of a chunk, the rows of which begin in state first: every
// step must begin where the one before it ended, and the last must end where the row
// stands.
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
