package report

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/redistest"
)

const script = `"><script>alert(1)</script>`

// bed is a record with an operation on its way.
type bed struct {
	t   *testing.T
	rdb redis.UniversalClient
	p   *tasks.Producer
	now time.Time
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, rdb: redistest.Mini(t), now: time.Now()}
	var err error
	b.p, err = tasks.NewProducer(b.rdb, tasks.ProducerConfig{Projects: []string{"hq"}})
	require.NoError(t, err)
	return b
}

// move takes those of a chunk that are in one state to another.
func (b *bed) move(op tasks.Operation, chunk int, from, to tasks.State, change func(*tasks.Move), call *tasks.Call) {
	b.t.Helper()
	c, err := b.p.Record.Chunk(b.t.Context(), op.ID, chunk)
	require.NoError(b.t, err)
	ch := tasks.Change{Operation: op, Chunk: chunk, By: "worker-1", Call: call}
	for _, d := range c.Desktops {
		if d.State != from {
			continue
		}
		m := tasks.Move{Desktop: d, To: to, CallID: d.CallID}
		if call != nil {
			m.CallID = call.ID
			call.Desktops = append(call.Desktops, tasks.Range{First: d.Place(), Last: d.Place()})
		}
		if change != nil {
			change(&m)
		}
		ch.Moves = append(ch.Moves, m)
	}
	b.now = b.now.Add(time.Second)
	_, err = b.p.Record.Apply(b.t.Context(), b.now, []tasks.Change{ch})
	require.NoError(b.t, err)
}

// ended is an operation whose first desktop failed and whose others are
// detached.
func (b *bed) ended(desktops []string, text string) tasks.Operation {
	b.t.Helper()
	op, err := b.p.Enqueue(b.t.Context(), tasks.Request{
		Project: "hq", Desktops: desktops, Expect: map[string][]string{desktops[0]: {"=zoe"}}, RequestedBy: "hr", Reason: text, Ticket: "=1+1",
	})
	require.NoError(b.t, err)
	for n := range op.Chunks() {
		call := &tasks.Call{ID: fmt.Sprintf("call-%d", n), At: b.now, Status: 200, RequestID: "request-1", JobID: "job-1", Size: 2, Worker: "worker-1", Answered: true}
		b.move(op, n, tasks.Queued, tasks.Sending, func(m *tasks.Move) {
			m.Before = &tasks.Before{Name: "PC" + text, Type: "SHARED", AttachState: "ATTACHED", Users: []tasks.Person{{Name: "=zoe"}, {Name: "bob" + text}}, ReadAt: b.now}
		}, call)
		b.move(op, n, tasks.Sending, tasks.Accepted, nil, call)
		b.move(op, n, tasks.Accepted, tasks.Detached, func(m *tasks.Move) {
			m.Note, m.Detail = tasks.ReadBack, "DEATTACHED by request r-2"
			if m.Desktop.ID == desktops[0] {
				m.To, m.Note = tasks.Failed, tasks.NoNote
				m.Failure = &tasks.Failure{Code: "UNCONFIRMED", Message: text, Class: "ambiguous", At: b.now, DesktopName: "PC" + text}
			}
		}, nil)
	}
	_, err = b.p.Record.Finish(b.t.Context(), []string{op.ID})
	require.NoError(b.t, err)
	op, err = b.p.Record.Operation(b.t.Context(), op.ID)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, op.Seal)
	return op
}

func (b *bed) write(op tasks.Operation, f Format) []byte {
	b.t.Helper()
	var out bytes.Buffer
	require.NoError(b.t, Write(b.t.Context(), &out, b.p.Record, op.ID, f, 0, b.now))
	return out.Bytes()
}

func TestReportSaysWhatHappened(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	op := b.ended([]string{"d1", "d2"}, "left")
	for _, f := range Formats {
		text := b.write(op, f)
		for _, want := range []string{
			op.ID, "hr", "left", "PCleft", "bobleft", "zoe", "request-1", "job-1", "DEATTACHED by request r-2", "UNCONFIRMED", op.Seal,
		} {
			require.Contains(t, string(text), want, f)
		}
		res, err := Verify(bytes.NewReader(text))
		require.NoError(t, err, f)
		require.Equal(t, Result{Format: f, Operation: op.ID, Rows: 2, Head: op.Seal, Final: true, Replayed: f == JSON}, res)
	}
	require.NotContains(t, string(b.write(op, HTML)), "Not final")

	var v struct {
		Chunks []jsonChunk `json:"chunks"`
	}
	require.NoError(t, json.Unmarshal(b.write(op, JSON), &v))
	d1, d2 := v.Chunks[0].Rows[0], v.Chunks[0].Rows[1]
	require.Nil(t, d1.TookMS)
	require.Equal(t, "UNCONFIRMED", d1.Failure.Code)
	require.Positive(t, *d2.TookMS)
	require.Equal(t, "established by reading the desktop: DEATTACHED by request r-2", d2.Proof)
	require.Len(t, d2.Events, 3)
	require.Equal(t, []call{{ID: "call-0", At: d2.Calls[0].At, Status: 200, RequestID: "request-1", JobID: "job-1"}}, d2.Calls)
}

func TestReportOfWhatHasNotEnded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	op, err := b.p.Enqueue(t.Context(), tasks.Request{Project: "hq", Desktops: []string{"d1"}})
	require.NoError(t, err)
	require.Contains(t, string(b.write(op, HTML)), "Not final")
	for _, f := range Formats {
		res, err := Verify(bytes.NewReader(b.write(op, f)))
		require.NoError(t, err)
		require.False(t, res.Final)
	}
	require.ErrorIs(t, Write(t.Context(), &bytes.Buffer{}, b.p.Record, "nowhere", JSON, 0, b.now), tasks.ErrNotFound)
	require.ErrorContains(t, Write(t.Context(), &bytes.Buffer{}, b.p.Record, op.ID, "pdf", 0, b.now), "no format")
}

// Every byte that is changed, taken out or put in is found, wherever it is.
func TestEveryAlteredByteIsFound(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	op := b.ended([]string{"d1", "d2"}, "left")
	for _, f := range Formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			text := b.write(op, f)
			found := func(altered []byte, what string, at int) {
				_, err := Verify(bytes.NewReader(altered))
				require.ErrorIs(t, err, ErrAltered, "%s at byte %d of %d", what, at, len(text))
			}
			for i := range text {
				for _, c := range []byte{text[i] ^ 1, text[i] ^ ' ', '\n', 0} {
					if c != text[i] {
						one := bytes.Clone(text)
						one[i] = c
						found(one, fmt.Sprintf("%q for %q", c, text[i]), i)
					}
				}
				found(append(bytes.Clone(text[:i]), text[i+1:]...), "without the one", i)
				for _, c := range []byte{'0', '\n'} {
					found(append(append(bytes.Clone(text[:i]), c), text[i:]...), "one more", i)
				}
				found(text[:i], "cut", i)
			}
			found(append(bytes.Clone(text), '\n'), "one more", len(text))
			found(append(bytes.Clone(text), text...), "twice", len(text))
		})
	}
	found := func(text string) {
		_, err := Verify(strings.NewReader(text))
		require.ErrorIs(t, err, ErrAltered)
	}
	found("")
	found("hello\nworld\n")
}

// reseal computes the last line anew, as a forger would.
func reseal(text []byte) []byte {
	body := text[:bytes.LastIndexByte(text[:len(text)-1], '\n')+1]
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), hashLine(JSON, sum[:])...)
}

// Who computes the hash anew is found where a row, the request or an event does
// not agree with the trail, and the trail with its head.
func TestForgeryIsFoundByTheTrail(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	op := b.ended([]string{"d1", "d2"}, "left")
	text := b.write(op, JSON)
	_, err := Verify(bytes.NewReader(reseal(text)))
	require.NoError(t, err)
	for _, change := range [][2]string{
		{`"state":"failed"`, `"state":"detached"`},
		{`"requested_by":"hr"`, `"requested_by":"me"`},
		{`\"requested_by\":\"hr\"`, `\"requested_by\":\"me\"`},
		{`"id":"d2"`, `"id":"d3"`},
		{`"expected_users":["=zoe"]`, `"expected_users":["bob"]`},
		{`{"name":"bobleft"}`, `{"name":"eveleft"}`},
		{`\"name\":\"bobleft\"`, `\"name\":\"eveleft\"`},
		{`"computer_name":"PCleft"`, `"computer_name":"PCother"`},
		{`"by":"worker-1"`, `"by":"worker-2"`},
		{`\"by\":\"worker-1\"`, `\"by\":\"worker-2\"`},
		{`"to":"accepted"`, `"to":"detached"`},
		{`"rows":2`, `"rows":3`},
		{`"trail_head":"`, `"trail_head":"0`},
		{`"chunk":0`, `"chunk":1`},
		{`"proven_at":"2`, `"proven_at":"3`},
		{`"due_at":"2`, `"due_at":"3`},
	} {
		require.Contains(t, string(text), change[0])
		_, err := Verify(bytes.NewReader(reseal(bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1))))
		require.ErrorIs(t, err, ErrAltered, "%s", change)
	}
}

// A record that was altered is not reported.
func TestAlteredRecordIsNotReported(t *testing.T) {
	t.Parallel()
	for name, alter := range map[string]func(ctx context.Context, rdb redis.UniversalClient, op string) error{
		"a state": func(ctx context.Context, rdb redis.UniversalClient, op string) error {
			key := "detachd:{" + op + "}:c:0"
			all, err := rdb.HGetAll(ctx, key).Result()
			for field, value := range all {
				if err == nil {
					err = rdb.HSet(ctx, key, field, strings.ReplaceAll(value, ";F;", ";D;")).Err()
				}
			}
			return err
		},
		"an entry": func(ctx context.Context, rdb redis.UniversalClient, op string) error {
			key := "detachd:{" + op + "}:t:0"
			entry, err := rdb.LIndex(ctx, key, 0).Result()
			if err != nil {
				return err
			}
			return rdb.LSet(ctx, key, 0, strings.Replace(entry, "worker-1", "worker-2", 1)).Err()
		},
		"the request": func(ctx context.Context, rdb redis.UniversalClient, op string) error {
			key := "detachd:{" + op + "}:op"
			asked, err := rdb.HGet(ctx, key, "meta").Result()
			if err != nil {
				return err
			}
			return rdb.HSet(ctx, key, "meta", strings.Replace(asked, `"hr"`, `"me"`, 1)).Err()
		},
		"the seal": func(ctx context.Context, rdb redis.UniversalClient, op string) error {
			return rdb.HSet(ctx, "detachd:{"+op+"}:op", "seal", strings.Repeat("0", 64)).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			op := b.ended([]string{"d1", "d2"}, "left")
			before := b.write(op, JSON)
			require.NoError(t, alter(t.Context(), b.rdb, op.ID))
			var out bytes.Buffer
			err := Write(t.Context(), &out, b.p.Record, op.ID, JSON, 0, b.now)
			require.ErrorIs(t, err, ErrAltered)
			require.NotEqual(t, before, out.Bytes())
		})
	}
}

// Whatever is in a text, it stays text.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, text := range []string{
		script, `=HYPERLINK("http://x","y")`, "-- end x", "</td></tr></table>", strings.Repeat("x", 1000), `{"chunk":7}`,
	} {
		op := b.ended([]string{"d1", "d2"}, text)
		html := string(b.write(op, HTML))
		require.NotContains(t, html, "<script", text)
		require.Equal(t, 1, strings.Count(html, "</table>"))
		for _, rows := range [][][]string{readCSV(t, b.write(op, CSV))} {
			require.Len(t, rows, 1+2+2)
			for _, row := range rows {
				require.Len(t, row, len(columns))
				for _, cell := range row {
					require.False(t, cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])), "%q", cell)
				}
			}
		}
		require.True(t, json.Valid(b.write(op, JSON)))
		for _, f := range Formats {
			_, err := Verify(bytes.NewReader(b.write(op, f)))
			require.NoError(t, err, "%s with %q", f, text)
		}
	}
	require.Equal(t, `'=1\x1b[2J\n\u202e`, Inert("=1\x1b[2J\n\u202e"))
	require.Equal(t, `\x1b]0;x\a`, Printable("\x1b]0;x\a"))
}

func readCSV(t *testing.T, text []byte) [][]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	return rows
}

// A large operation is written and verified chunk by chunk.
func TestManyChunks(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var ids []string
	for i := range 40*tasks.ChunkSize + 7 {
		ids = append(ids, fmt.Sprintf("d-%05d", i))
	}
	op := b.ended(ids, "left")
	for _, f := range Formats {
		res, err := Verify(bytes.NewReader(b.write(op, f)))
		require.NoError(t, err)
		require.Equal(t, len(ids), res.Rows)
	}
	require.Len(t, readCSV(t, b.write(op, CSV)), 1+len(ids)+2)
}
