package api

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

// parsed is all that a stream says.
type parsed struct {
	events []event
	ids    []string // at each event
	last   string
	retry  time.Duration
	err    error
}

func parse(r io.Reader) (p parsed) {
	e := newEvents(r, nil)
	for {
		ev, err := e.next()
		p.last, p.retry, p.err = e.id, e.retry, err
		if err != nil {
			return p
		}
		p.events, p.ids = append(p.events, ev), append(p.ids, e.id)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		events     []event
		last       string
	}{
		{"one", "id: 1\nevent: operation\ndata: {}\n\n", []event{{"operation", "{}"}}, "1"},
		{"nothing", "", nil, ""},
		{"comments", ":\n\n: x\ndata: a\n:y\ndata: b\n\n:\n\n", []event{{"", "a\nb"}}, ""},
		{"several lines", "data: a\ndata:\ndata:  b\n\n", []event{{"", "a\n\n b"}}, ""},
		{"empty data", "data\n\ndata:\n\n", []event{{"", ""}, {"", ""}}, ""},
		{"an event needs data", "event: x\nid: 7\n\ndata: a\n\n", []event{{"", "a"}}, "7"},
		{"without spaces", "id:1\nevent:end\ndata:{}\n\n", []event{{"end", "{}"}}, "1"},
		{"an id stays", "id: 1\ndata: a\n\ndata: b\n\n", []event{{"", "a"}, {"", "b"}}, "1"},
		{"an id ends", "id: 1\ndata: a\n\nid\ndata: b\n\n", []event{{"", "a"}, {"", "b"}}, ""},
		{"an id that cannot be sent", "id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n", []event{{"", "a"}, {"", "b"}}, "1"},
		{"unknown fields", "what: x\nData: y\ndata : z\ndata: a\n\n", []event{{"", "a"}}, ""},
		{"broken off", "id: 1\ndata: a\n\nid: 2\nevent: end\ndata: b\n", []event{{"", "a"}}, "1"},
	} {
		for name, ending := range map[string]string{"LF": "\n", "CR": "\r", "CRLF": "\r\n"} {
			got := parse(strings.NewReader(strings.ReplaceAll(c.text, "\n", ending)))
			require.Equal(t, c.events, got.events, "%s, %s", c.name, name)
			require.Equal(t, c.last, got.last, "%s, %s", c.name, name)
			require.ErrorIs(t, got.err, io.EOF)
		}
	}
}

func TestEventsSayHowLongToWait(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"retry: 2000": 2 * time.Second, "retry: -1": 0, "retry: x": 0, "retry: 99999999999999": 0, "retry: ": 0} {
		require.Equal(t, want, parse(strings.NewReader(text+"\n")).retry, text)
	}
}

// Whatever comes shows that the connection lives.
func TestEventsAreHeard(t *testing.T) {
	t.Parallel()
	heard := 0
	_, err := newEvents(strings.NewReader(":\n\nretry: 1\n: x\n"), func() { heard++ }).next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 4, heard)
}

// What is behind a CR is not waited for: there may be nothing for long.
func TestEventsEndWithCR(t *testing.T) {
	t.Parallel()
	from, to := io.Pipe()
	defer from.Close()
	go func() { _, _ = io.WriteString(to, "data: a\r\n\r") }()
	ev, err := newEvents(from, nil).next()
	require.NoError(t, err)
	require.Equal(t, "a", ev.data)
}

func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"data: " + strings.Repeat("x", maxEvent), strings.Repeat("data: x\n", maxEvent/8+1), strings.Repeat("x\n", maxEvent)} {
		require.ErrorIs(t, parse(strings.NewReader(text)).err, errEventTooLarge)
	}
	got := parse(strings.NewReader("data: " + strings.Repeat("x", maxEvent-20) + "\n\n" + strings.Repeat(": comment\n", maxEvent/5) + "data: y\n\n"))
	require.Len(t, got.events, 2)
	require.ErrorIs(t, got.err, io.EOF)
}

func FuzzEvents(f *testing.F) {
	for _, seed := range []string{"id: 1\r\nevent: operation\rdata: {}\n\n", ":\n\nretry: 10\n\n", "data\n\r\ndata:\n\n", "id: \x00\n\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := parse(strings.NewReader(text))
		require.True(t, errors.Is(got.err, io.EOF) || errors.Is(got.err, errEventTooLarge), got.err)
		require.Equal(t, got, parse(iotest.OneByteReader(strings.NewReader(text))), "however it arrives")
		plain := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
		require.Equal(t, got, parse(strings.NewReader(plain)), "whatever ends its lines")
		for _, id := range append(got.ids, got.last) {
			require.True(t, sendable(id))
		}
		// What was understood is understood again when it is written.
		var again strings.Builder
		for i, ev := range got.events {
			again.WriteString("id: " + got.ids[i] + "\nevent: " + ev.name + "\ndata: " + strings.ReplaceAll(ev.data, "\n", "\ndata: ") + "\n\n")
		}
		back := parse(strings.NewReader(again.String()))
		require.Equal(t, got.events, back.events)
		require.Equal(t, got.ids, back.ids)
	})
}
