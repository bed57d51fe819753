package api

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// event is a server-sent event.
type event struct{ name, data string }

// events reads server-sent events as the HTML standard describes them.
type events struct {
	r     *bufio.Reader
	heard func()        // called for every line, comments too; may be nil
	id    string        // of the last complete event
	retry time.Duration // that the stream asks for; 0: none

	afterCR bool // the line before ended in CR, perhaps the first half of CRLF
}

// maxEvent limits the size of an event; a state takes a few KB.
const maxEvent = 1 << 20

var errEventTooLarge = errors.New("an event is larger than a MiB")

// next reads the next event. One that is cut off does not count, nor does its id.
func (e *events) next() (event, error) {
	var ev event
	var data strings.Builder
	id := e.id
	size := 0
	for {
		line, err := e.line(maxEvent - size)
		if err != nil {
			return event{}, err
		}
		if e.heard != nil {
			e.heard()
		}
		if strings.HasPrefix(line, ":") {
			continue
		}
		size += len(line) + 1
		if line == "" {
			e.id = id
			if data.Len() > 0 {
				ev.data = strings.TrimSuffix(data.String(), "\n")
				return ev, nil
			}
			ev.name, size = "", 0
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			ev.name = value
		case "data":
			data.WriteString(value)
			data.WriteByte('\n')
		case "id":
			if sendable(value) {
				id = value
			}
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				e.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// line reads up to LF, CR or CRLF. It does not wait for the LF after a CR.
func (e *events) line(most int) (string, error) {
	var b strings.Builder
	for {
		c, err := e.r.ReadByte()
		if err != nil {
			return "", err
		}
		second := e.afterCR && c == '\n'
		e.afterCR = c == '\r'
		switch {
		case second:
		case c == '\n' || c == '\r':
			return b.String(), nil
		case b.Len() >= most:
			return "", errEventTooLarge
		default:
			b.WriteByte(c)
		}
	}
}

// sendable reports whether an id can be sent in a header.
func sendable(id string) bool {
	return !strings.ContainsFunc(id, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func newEvents(r io.Reader, heard func()) *events {
	return &events{r: bufio.NewReader(r), heard: heard}
}
