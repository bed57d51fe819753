package record

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// A chunk is a hash. Its field "" holds the status that most of its desktops share,
// and how many share it,
//
//	<count>|<state>;<attempts>;<updated at>;<call id>;<note>
//
// and each desktop has a field that holds its position, and its own status if it does
// not share the common one:
//
//	<position>
//	<position>;<state>;<attempts>;<updated at>;<call id>;<note>
//
// Position and time, in milliseconds, are in base 36. In a bulk operation a chunk's
// desktops change state together, which is one small write instead of a hundred. Every
// value stays under 64 bytes: up to that size Redis keeps a hash of a hundred fields as
// a listpack, at half the memory of a hash table.
const commonField = ""

// What else a chunk has is in fields that begin with a space, as no id of a row does. isRow tells
// them apart.
func isRow(field string) bool { return field != commonField && field[0] != ' ' }

// expectField of a chunk was a JSON object from position to the names of the expected users in
// format 1. They are packed now, in the fields " 0", " 1", …; see packExpect.
const expectField = " "

// Parts of packed names are short, and at most mostParts, so that the hash stays a listpack.
// Longer ones are one part: the hash is a table then in any case.
const (
	expectPart = 64
	mostParts  = 128 - 1 - ChunkSize
)

// packExpect returns the fields of the expected users: DEFLATE of columns, as those of readings.
// They are, per row, the number of users and then their names.
func packExpect(desktops []string, expect map[string][]string) (fields []any) {
	c, any := make(columns, 0, 32*len(desktops)), false
	for _, id := range desktops {
		c.number(len(expect[id]))
		for _, name := range expect[id] {
			c.text(name)
			any = true
		}
	}
	if !any {
		return nil
	}
	all := deflate(c)
	size := expectPart
	if len(all) > mostParts*expectPart {
		size = len(all)
	}
	for n := 0; all != ""; n++ {
		part := all[:min(size, len(all))]
		fields, all = append(fields, expectField+strconv.Itoa(n), part), all[len(part):]
	}
	return fields
}

// unpackExpect returns the expected users by position.
func unpackExpect(values map[string]string) (out map[int][]string, err error) {
	if v, named := values[expectField]; named {
		err = json.Unmarshal([]byte(v), &out)
		return out, err
	}
	var all strings.Builder
	for n := 0; ; n++ {
		part, more := values[expectField+strconv.Itoa(n)]
		if !more {
			break
		}
		all.WriteString(part)
	}
	if all.Len() == 0 {
		return nil, nil
	}
	plain, err := inflate(all.String())
	if err != nil {
		return nil, err
	}
	p := packed{s: plain}
	out = map[int][]string{}
	for at := 0; p.s != ""; at++ {
		for range p.number(len(p.s)) {
			out[at] = append(out[at], p.text())
		}
	}
	if p.bad {
		return nil, errors.New("the packed names end too early")
	}
	return out, nil
}

// foundAsField of a chunk is a JSON object from position to the computer name by which
// the desktop was found.
const foundAsField = "  "

// encodeFoundAs is the value of foundAsField.
func encodeFoundAs(desktops []string, foundAs map[string]string) (value string, any bool) {
	out := map[int]string{}
	for i, id := range desktops {
		if name := foundAs[id]; name != "" {
			out[i] = name
		}
	}
	return mustJSON(out), len(out) > 0
}

// hadField of a chunk of an undo has Row.Had, packed; see before.go.
const hadField = "   "

// encodeHad is the value of hadField.
func encodeHad(desktops []string, had map[string]tasks.Before) (value string, any bool) {
	var rows []beforeAt
	for i, id := range desktops {
		if b, known := had[id]; known {
			rows = append(rows, beforeAt{i, b})
		}
	}
	if len(rows) == 0 {
		return "", false
	}
	return packBefore(rows), true
}

func decodeHad(value string, rows []Row) error {
	had, err := unpackBefore(value)
	if err != nil {
		return err
	}
	for _, b := range had {
		if b.position < len(rows) {
			rows[b.position].Had = &b.Before
		}
	}
	return nil
}

// plannedField of a chunk is the readings of the plan that binds its rows, see packBefore.
const plannedField = "    "

// plannedFindsField of a chunk of look-ups is what the plan found for them: packed JSON of
// plannedFinds.
const plannedFindsField = "     "

// encodeStatus returns the status part of a desktop's value or of the common value.
func encodeStatus(d tasks.Desktop) string {
	b := make([]byte, 0, 40)
	b = append(b, byte(d.State), ';')
	b = strconv.AppendInt(b, int64(d.Attempts), 10)
	b = append(b, ';')
	b = strconv.AppendInt(b, d.UpdatedAt.UnixMilli(), 36)
	b = append(b, ';')
	b = append(b, d.CallID...)
	b = append(b, ';')
	b = append(b, noteLetter(d.Note)...)
	return string(b)
}

// noteLetters are the stored forms of notes. A code without a letter is stored as it is.
var noteLetters = map[tasks.Note]string{
	tasks.NoteGone: "g", tasks.NoteReadBack: "r", tasks.NoteByJob: "j", tasks.NoteNotTheirs: "n", tasks.NoteUnknownUser: "u",
	tasks.NoteSuspect: "s", tasks.NoteDenied: "p", tasks.NoteRecheck: "k", tasks.NoteDismissed: "d", tasks.NoteRecalled: "c",
}

var notesOf = func() map[string]tasks.Note {
	out := map[string]tasks.Note{}
	for n, letter := range noteLetters {
		out[letter] = n
	}
	return out
}()

func noteLetter(n tasks.Note) string { return cmp.Or(noteLetters[n], string(n)) }

func noteOf(letter string) tasks.Note { return cmp.Or(notesOf[letter], tasks.Note(letter)) }

func encodePosition(d Row) string { return strconv.FormatInt(int64(d.Position), 36) }

func encodeCommon(count int, status string) string { return strconv.Itoa(count) + "|" + status }

// decodeStatus fills in a desktop from a status.
func decodeStatus(d *Row, status string) error {
	f := strings.Split(status, ";")
	if len(f) != 5 || len(f[0]) != 1 || !tasks.State(f[0][0]).Valid() {
		return fmt.Errorf("status %q cannot be read", status)
	}
	attempts, err1 := strconv.Atoi(f[1])
	at, err2 := strconv.ParseInt(f[2], 36, 64)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("status %q cannot be read", status)
	}
	d.State, d.Attempts, d.UpdatedAt = tasks.State(f[0][0]), attempts, time.UnixMilli(at).UTC()
	d.CallID, d.Note = f[3], noteOf(f[4])
	d.NoteText = d.Note.Text()
	return nil
}

// decodeChunk reads a chunk's hash into rows in the order of their positions.
func decodeChunk(op string, n int, values map[string]string) ([]Row, error) {
	bad := func(id string, err error) ([]Row, error) {
		return nil, fmt.Errorf("chunk %d of operation %s, desktop %q: %w", n, op, id, err)
	}
	common := Row{Desktop: tasks.Desktop{OperationID: op}, Chunk: n}
	count, status, ok := strings.Cut(values[commonField], "|")
	followers, err := strconv.Atoi(count)
	if !ok || err != nil {
		return bad(commonField, fmt.Errorf("common value %q cannot be read", values[commonField]))
	}
	if err := decodeStatus(&common, status); err != nil {
		return bad(commonField, err)
	}
	rows := 0
	for field := range values {
		if isRow(field) {
			rows++
		}
	}
	var planned []beforeAt
	if v, bound := values[plannedField]; bound {
		if planned, err = unpackBefore(v); err != nil {
			return bad(plannedField, err)
		}
	}
	expect, err := unpackExpect(values)
	if err != nil {
		return bad(expectField, err)
	}
	var foundAs map[int]string
	if v, named := values[foundAsField]; named {
		if err := json.Unmarshal([]byte(v), &foundAs); err != nil {
			return bad(foundAsField, err)
		}
	}
	out := make([]Row, rows)
	for id, value := range values {
		if !isRow(id) {
			continue
		}
		position, own, alone := strings.Cut(value, ";")
		place, err := strconv.ParseInt(position, 36, 32)
		if err != nil || place < 0 || int(place) >= len(out) || out[place].ID != "" {
			return bad(id, fmt.Errorf("position %q", position))
		}
		d := common
		d.ID, d.Position, d.stored, d.Expect, d.FoundAs = id, int(place), value, expect[int(place)], foundAs[int(place)]
		if alone {
			if err := decodeStatus(&d, own); err != nil {
				return bad(id, err)
			}
		} else {
			d.common, d.followers = status, followers
		}
		out[place] = d
	}
	for _, b := range planned {
		if b.position < len(out) {
			out[b.position].Planned = &b.Before
		}
	}
	if had, undo := values[hadField]; undo {
		if err := decodeHad(had, out); err != nil {
			return bad(hadField, err)
		}
	}
	return out, nil
}

// decodePinned is decodeChunk that also fills in Pinned, from the first readings. If a plan
// binds the operation, its reading is the first; else Planned does not count.
func decodePinned(op string, bound bool, n int, values map[string]string, trail []string) ([]Row, error) {
	return decodePinnedFrom(op, bound, n, values, &trailReadings{trail: trail})
}

func decodePinnedFrom(op string, bound bool, n int, values map[string]string, read *trailReadings) ([]Row, error) {
	out, err := decodeChunk(op, n, values)
	if err != nil {
		return nil, err
	}
	for i := range out {
		switch d := &out[i]; {
		case !bound:
			d.Planned = nil
		case d.Planned != nil:
			d.pin(*d.Planned)
		}
	}
	if err := addPins(out, read); err != nil {
		return nil, fmt.Errorf("chunk %d of operation %s: %w", n, op, err)
	}
	return out, nil
}

// storedFailure is a Failure without the fields that the operation's own keys have.
// Final marks a desktop that failed for good or is on hold; the others are being retried.
type storedFailure struct {
	Name      string      `json:"n,omitempty"`
	Code      string      `json:"c"`
	Message   string      `json:"m"`
	Class     tasks.Class `json:"k"`
	Status    int         `json:"s,omitempty"`
	RequestID string      `json:"r,omitempty"`
	CallID    string      `json:"i,omitempty"`
	Attempts  int         `json:"a"`
	At        int64       `json:"t"`
	Final     bool        `json:"f,omitempty"`

	Expect []string `json:"e,omitempty"`
}

func encodeFailure(f tasks.Failure, final bool) string {
	return mustJSON(storedFailure{
		Name: f.DesktopName, Code: f.Code, Message: f.Message, Class: f.Class, Status: f.Status,
		RequestID: f.RequestID, CallID: f.CallID, Attempts: f.Attempts, At: f.At.UnixMilli(), Final: final,
		Expect: f.Expect,
	})
}

func decodeFailure(op, project, desktop, value string) (f tasks.Failure, final bool, err error) {
	var s storedFailure
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return f, false, fmt.Errorf("failure of desktop %s in operation %s cannot be read: %w", desktop, op, err)
	}
	return tasks.Failure{
		OperationID: op, Project: project, DesktopID: desktop, DesktopName: s.Name, Code: s.Code, Message: s.Message,
		Class: s.Class, Status: s.Status, RequestID: s.RequestID, CallID: s.CallID, Attempts: s.Attempts,
		At: time.UnixMilli(s.At).UTC(), Expect: s.Expect,
	}, s.Final, nil
}

// storedCall is a Call with its desktops, as positions within the operation.
type storedCall struct {
	Call
	Positions string `json:"desktops"`
}

func encodeCall(c Call) string {
	return mustJSON(storedCall{Call: c, Positions: trail.FormatRanges(c.Desktops)})
}

func decodeCall(op, value string) (Call, error) {
	var s storedCall
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return Call{}, fmt.Errorf("a call of operation %s cannot be read: %w", op, err)
	}
	c := s.Call
	var err error
	c.Desktops, err = trail.ParseRanges(s.Positions)
	return c, err
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is called with plain structs of this package only
	}
	return string(b)
}
