package report

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/detachd/detachd/tasks"
)

// row is what a report says of a desktop, or of a user that was named.
type row struct {
	ID            string         `json:"id"`
	ComputerName  string         `json:"computer_name,omitempty"`
	Type          string         `json:"type,omitempty"`
	UsersBefore   []tasks.Person `json:"users_before,omitempty"`
	ReadBefore    time.Time      `json:"read_before_at,omitzero"`
	ExpectedUsers []string       `json:"expected_users,omitempty"`
	State         tasks.State    `json:"state"`
	Attempts      int            `json:"attempts"`
	DueAt         time.Time      `json:"due_at"`
	ProvenAt      time.Time      `json:"proven_at,omitzero"`
	TookMS        *int64         `json:"took_ms,omitempty"` // from due to proven
	Proof         string         `json:"proof,omitempty"`
	Failure       *tasks.Failure `json:"failure,omitempty"`
	Calls         []call         `json:"calls,omitempty"`
	Events        []event        `json:"events"`
}

// call is a call as far as a desktop was in it.
type call struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at,omitzero"`
	Status    int       `json:"status"`
	Code      string    `json:"code,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	JobID     string    `json:"job_id,omitempty"`
}

// event is a change of a desktop's state.
type event struct {
	At     time.Time   `json:"at"`
	From   tasks.State `json:"from"`
	To     tasks.State `json:"to"`
	By     string      `json:"by,omitempty"`
	Why    string      `json:"why,omitempty"`
	Detail string      `json:"detail,omitempty"`
	CallID string      `json:"call_id,omitempty"`
}

// rowsOf makes the rows of a chunk; calls are the operation's, by id.
func rowsOf(op tasks.Operation, e tasks.Evidence, calls map[string]tasks.Call) []row {
	rows := make([]row, len(e.Desktops))
	for i, events := range eventsOf(e) {
		d := e.Desktops[i]
		r := row{
			ID: d.ID, ExpectedUsers: d.Expect, State: d.State, Attempts: d.Attempts, DueAt: op.DueAt, Failure: d.Failure, Events: events,
		}
		if b := d.Before; b != nil {
			r.ComputerName, r.Type, r.UsersBefore, r.ReadBefore = b.Name, b.Type, b.Users, b.ReadAt
		}
		if r.ComputerName == "" && d.Failure != nil {
			r.ComputerName = d.Failure.DesktopName
		}
		if took, proven := d.TookFrom(op); proven {
			ms := took.Milliseconds()
			r.ProvenAt, r.TookMS = d.UpdatedAt, &ms
		}
		seen := map[string]bool{"": true}
		for _, ev := range events {
			if !seen[ev.CallID] {
				seen[ev.CallID] = true
				c := calls[ev.CallID]
				r.Calls = append(r.Calls, call{ev.CallID, c.At, c.Status, c.Code, c.RequestID, c.JobID})
			}
		}
		if n := len(events); n > 0 && d.State == tasks.Detached {
			r.Proof = strings.TrimPrefix(strings.Join([]string{events[n-1].Why, events[n-1].Detail}, ": "), ": ")
			r.Proof = strings.TrimSuffix(r.Proof, ": ")
		}
		rows[i] = r
	}
	return rows
}

// eventsOf sorts a chunk's trail by desktop.
func eventsOf(e tasks.Evidence) [][]event {
	out := make([][]event, len(e.Desktops))
	for _, entry := range e.Trail {
		for _, m := range entry.Moves {
			for _, r := range m.Positions {
				for i := max(0, r.First); i <= r.Last && i < len(out); i++ {
					out[i] = append(out[i], event{
						At: entry.At, From: m.From, To: m.To, By: entry.By, Why: m.Note.String(), Detail: m.Detail, CallID: entry.CallID,
					})
				}
			}
		}
	}
	return out
}

// Printable escapes what is not, so that neither a terminal nor a browser takes
// it for a command.
func Printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// Inert gives a cell that a spreadsheet does not take for a formula either: that
// gets an apostrophe in front.
func Inert(s string) string {
	if s = Printable(s); s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return "'" + s
	}
	return s
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func names(people []tasks.Person) string {
	out := make([]string, len(people))
	for i, p := range people {
		out[i] = p.Name
		if p.Type == "GROUP" {
			out[i] += " (group)"
		}
	}
	return strings.Join(out, ", ")
}

// Took shows TookMS.
func (r row) Took() string {
	if r.TookMS == nil {
		return ""
	}
	return (time.Duration(*r.TookMS) * time.Millisecond).String()
}
