package tasks

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A desktop is stored as
//
//	<state><position>;<attempts>;<updated at>;<call id>;<note>
//
// with position and the time in milliseconds in base 36, for example
// "A2r;1;mi2x8k9q;d4f0…;". It stays under the 64 bytes up to which Redis keeps a
// hash of a hundred as a listpack: half the memory of a hash table.

func encodeDesktop(d Desktop) string {
	b := make([]byte, 0, 48)
	b = append(b, byte(d.State))
	b = strconv.AppendInt(b, int64(d.Position), 36)
	b = append(b, ';')
	b = strconv.AppendInt(b, int64(d.Attempts), 10)
	b = append(b, ';')
	b = strconv.AppendInt(b, d.UpdatedAt.UnixMilli(), 36)
	b = append(b, ';')
	b = append(b, d.CallID...)
	b = append(b, ';')
	b = append(b, d.Note...)
	return string(b)
}

func decodeDesktop(op string, chunk int, id, value string) (Desktop, error) {
	bad := func() (Desktop, error) {
		return Desktop{}, fmt.Errorf("record of operation %s, chunk %d, desktop %s cannot be read: %q", op, chunk, id, value)
	}
	if value == "" || stateNames[State(value[0])] == "" {
		return bad()
	}
	f := strings.Split(value[1:], ";")
	if len(f) != 5 {
		return bad()
	}
	position, err1 := strconv.ParseInt(f[0], 36, 32)
	attempts, err2 := strconv.Atoi(f[1])
	at, err3 := strconv.ParseInt(f[2], 36, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return bad()
	}
	return Desktop{
		OperationID: op, ID: id, Chunk: chunk, Position: int(position),
		State: State(value[0]), Attempts: attempts, UpdatedAt: time.UnixMilli(at).UTC(),
		CallID: f[3], Note: Note(f[4]), value: value,
	}, nil
}

// storedFailure is a Failure within its operation: what the operation's own
// keys say already is left out. Final marks a desktop that ended failed; the
// others are being retried.
type storedFailure struct {
	Name      string `json:"n,omitempty"`
	Code      string `json:"c"`
	Message   string `json:"m"`
	Class     string `json:"k"`
	Status    int    `json:"s,omitempty"`
	RequestID string `json:"r,omitempty"`
	CallID    string `json:"i,omitempty"`
	Attempts  int    `json:"a"`
	At        int64  `json:"t"`
	Final     bool   `json:"f,omitempty"`
}

func encodeFailure(f Failure, final bool) string {
	return mustJSON(storedFailure{
		Name: f.DesktopName, Code: f.Code, Message: f.Message, Class: f.Class, Status: f.Status,
		RequestID: f.RequestID, CallID: f.CallID, Attempts: f.Attempts, At: f.At.UnixMilli(), Final: final,
	})
}

func decodeFailure(op, project, desktop, value string) (f Failure, final bool, err error) {
	var s storedFailure
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return f, false, fmt.Errorf("failure of desktop %s in operation %s cannot be read: %w", desktop, op, err)
	}
	return Failure{
		OperationID: op, Project: project, DesktopID: desktop, DesktopName: s.Name, Code: s.Code, Message: s.Message,
		Class: s.Class, Status: s.Status, RequestID: s.RequestID, CallID: s.CallID, Attempts: s.Attempts,
		At: time.UnixMilli(s.At).UTC(),
	}, s.Final, nil
}

// storedCall adds the desktops, as positions within the operation, to a Call.
type storedCall struct {
	Call
	Positions string `json:"desktops"`
}

func encodeCall(c Call) string {
	c.DurationMS = c.Duration.Milliseconds()
	return mustJSON(storedCall{Call: c, Positions: encodeRanges(c.Desktops)})
}

func decodeCall(op, value string) (Call, error) {
	var s storedCall
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return Call{}, fmt.Errorf("a call of operation %s cannot be read: %w", op, err)
	}
	c := s.Call
	c.Duration = time.Duration(c.DurationMS) * time.Millisecond
	var err error
	c.Desktops, err = decodeRanges(s.Positions)
	return c, err
}

// Range is a run of places in an operation's request, both ends included.
type Range struct{ First, Last int }

// Ranges packs places, given in ascending order, into runs.
func Ranges(places []int) []Range {
	var out []Range
	for _, p := range places {
		if n := len(out); n > 0 && out[n-1].Last+1 == p {
			out[n-1].Last = p
			continue
		}
		out = append(out, Range{p, p})
	}
	return out
}

func encodeRanges(rs []Range) string {
	b := make([]byte, 0, 16)
	for i, r := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(r.First), 10)
		if r.Last != r.First {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(r.Last), 10)
		}
	}
	return string(b)
}

func decodeRanges(s string) ([]Range, error) {
	if s == "" {
		return nil, nil
	}
	var out []Range
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRun := strings.Cut(part, "-")
		if !isRun {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || b < a {
			return nil, fmt.Errorf("places of a call cannot be read: %q", s)
		}
		out = append(out, Range{a, b})
	}
	return out, nil
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only our own plain structs come here
	}
	return string(b)
}
