package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
)

// printJSON writes one document that a terminal may show.
func printJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(harmless.JSON(text.Bytes()))
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable escapes what a terminal may take for a command. Texts of the cloud are
// hostile input.
func printable(s string) string { return harmless.Text(s) }

// shown quotes user input for a message, shortened.
func shown(s string) string { return fmt.Sprintf("%.60q", s) }

// clip cuts s to n characters and marks the cut.
func clip(s string, n int) string {
	at := 0
	for i := range s {
		if at == n {
			return s[:i] + "…"
		}
		at++
	}
	return s
}

// printCSV writes rows for a spreadsheet, of which no cell is a formula.
func printCSV(w io.Writer, rows [][]string) error {
	cw := csv.NewWriter(w)
	for _, row := range rows {
		if err := cw.Write(harmless.Row(row)); err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

// clock formats a time in the local zone, with its offset; empty for the zero time.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return when.Show(t.Local())
}

// count writes "1 desktop" or "2 desktops".
func count(n int, what string) string { return plural(n, what, what+"s") }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// share writes "1 of 2 desktops".
func share(n, total int, what string) string { return strconv.Itoa(n) + " of " + count(total, what) }

// stateName is a state for people.
func stateName(s tasks.State) string { return tasks.Operation{}.StateText(s) }

// rowState is the state of a row for people, with the undo that gave the desktop back.
func rowState(op tasks.Operation, d tasks.Desktop) string {
	if d.GivenBackBy != "" {
		return op.StateText(d.State) + ", given back by " + d.GivenBackBy
	}
	return op.StateText(d.State)
}

// size describes what an operation names.
func size(op tasks.Operation) string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{{op.Total - op.Users - op.Computers, "desktop"}, {op.Computers, "computer"}, {op.Users, "user"}} {
		if part.n > 0 {
			parts = append(parts, count(part.n, part.what))
		}
	}
	return strings.Join(parts, " and ")
}

// seconds formats a duration to the second.
func seconds(d time.Duration) string { return d.Round(time.Second).String() }

// sizes is size for several operations.
func sizes(ops []tasks.Operation) string {
	var all tasks.Operation
	for _, op := range ops {
		all.Total += op.Total
		all.Users += op.Users
		all.Computers += op.Computers
	}
	return size(all)
}
