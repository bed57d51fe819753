package report

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/tasks/trail"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// book is a record with a producer and a clock.
type book struct {
	t   *testing.T
	rdb redis.UniversalClient
	p   *record.Producer
	r   *record.Record
	now time.Time
}

func newBook(t *testing.T) *book {
	t.Helper()
	b := &book{t: t, rdb: redistest.Start(t).Client(t), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	b.p, err = record.NewProducer(b.rdb, record.ProducerConfig{
		Projects: []string{"hq"}, Record: record.Config{Prefix: "t"}, Now: func() time.Time { return b.now },
	})
	require.NoError(t, err)
	b.r = b.p.Record
	return b
}

func (b *book) enqueue(req tasks.Request) record.Operation {
	b.t.Helper()
	req.Project = "hq"
	op, err := b.p.Enqueue(b.t.Context(), req)
	require.NoError(b.t, err)
	return op
}

// rows reads the rows of a chunk, by id.
func (b *book) rows(op record.Operation, n int) map[string]record.Row {
	b.t.Helper()
	c, err := b.r.Chunk(b.t.Context(), op.ID, n)
	require.NoError(b.t, err)
	out := map[string]record.Row{}
	for _, d := range c.Desktops {
		out[d.ID] = d
	}
	return out
}

func (b *book) apply(ch record.Change) {
	b.t.Helper()
	_, err := b.r.Apply(b.t.Context(), b.now, []record.Change{ch})
	require.NoError(b.t, err)
}

// later advances the clock and returns the operation as it is then.
func (b *book) later(op record.Operation, d time.Duration) record.Operation {
	b.t.Helper()
	b.now = b.now.Add(d)
	op, err := b.r.Operation(b.t.Context(), op.ID)
	require.NoError(b.t, err)
	return op
}

func (b *book) finish(op record.Operation) record.Operation {
	b.t.Helper()
	ended, err := b.r.Finish(b.t.Context(), []string{op.ID})
	require.NoError(b.t, err)
	require.Len(b.t, ended, 1)
	return ended[0]
}

// texts are those of the cloud and of people.
type texts struct{ name, user, reason, ticket, requestedBy, detail, code, message, by string }

var plainTexts = texts{
	name: "PC-4711", user: "jo", reason: "contract ended", ticket: "HR-1", requestedBy: "ann",
	detail: "UNATTACHED", code: "WKS.00010110", message: "no address", by: "worker-1",
}

// small is an operation of two desktops and a user with a third: two are confirmed
// after 90 s and 20 min, one fails. It is not finished.
func (b *book) small(x texts) record.Operation {
	b.t.Helper()
	op := b.enqueue(tasks.Request{
		Desktops: []string{"d-1", "d-2"}, Users: []string{"jo"}, Expect: map[string][]string{"d-1": {"jo", "ann"}},
		RequestedBy: x.requestedBy, Reason: x.reason, Ticket: x.ticket,
	})
	op, err := b.p.AddFound(b.t.Context(), op, record.Find{
		Desktops: []string{"d-9"}, Expect: map[string][]string{"d-9": {"jo"}},
		Rows: map[string]record.RowFind{"user:jo": {To: tasks.StateExpanded, Detail: "1 desktop"}},
	})
	require.NoError(b.t, err)
	found, err := b.r.Found(b.t.Context(), op.ID)
	require.NoError(b.t, err)
	_, _, err = b.r.SettleLookups(b.t.Context(), b.now, op, found, x.by)
	require.NoError(b.t, err)

	before := &tasks.Before{
		Name: x.name, Type: "SHARED", AttachState: "ATTACHED", ReadAt: b.now,
		Users: []tasks.Person{{Name: x.user, Group: "sudo", Type: "USER"}, {Name: "staff", Type: "GROUP"}},
	}
	rows := b.rows(op, 0)
	sent := record.Call{Call: tasks.Call{ID: "call-1", At: b.now, Size: 2, Worker: x.by}, Desktops: []trail.Range{{First: 0, Last: 1}}}
	b.apply(record.Change{Operation: op, Chunk: 0, By: x.by, Call: &sent, Moves: []record.Move{
		{Desktop: rows["d-1"], To: tasks.StateSending, Attempts: 1, CallID: sent.ID, Before: before},
		{Desktop: rows["d-2"], To: tasks.StateSending, Attempts: 1, CallID: sent.ID},
	}})
	op = b.later(op, 30*time.Second)
	rows = b.rows(op, 0)
	answered := sent
	answered.Answered, answered.Status, answered.Code, answered.RequestID, answered.JobID = true, 200, x.code, "req-1", "job-1"
	b.apply(record.Change{Operation: op, Chunk: 0, By: x.by, Call: &answered, LookAt: b.now, Moves: []record.Move{
		{Desktop: rows["d-1"], To: tasks.StateAccepted, Attempts: 1, CallID: sent.ID, Note: tasks.NoteByJob},
		{Desktop: rows["d-2"], To: tasks.StateFailed, Attempts: 1, CallID: sent.ID, Failure: &tasks.Failure{
			Code: x.code, Message: x.message, Class: "permanent", Status: 200, RequestID: "req-1", CallID: sent.ID, Attempts: 1, At: b.now,
			DesktopName: x.name,
		}},
	}})
	op = b.later(op, time.Minute)
	b.apply(record.Change{Operation: op, Chunk: 0, By: x.by, Moves: []record.Move{
		{Desktop: b.rows(op, 0)["d-1"], To: tasks.StateDetached, Attempts: 1, CallID: sent.ID, Note: tasks.NoteReadBack, Detail: x.detail},
	}})
	op = b.later(op, 20*time.Minute-90*time.Second)
	b.apply(record.Change{Operation: op, Chunk: 2, By: x.by, Moves: []record.Move{
		{Desktop: b.rows(op, 2)["d-9"], To: tasks.StateDetached, Note: tasks.NoteNotTheirs, Detail: x.detail},
	}})
	return b.later(op, time.Hour)
}

func (b *book) write(op record.Operation, f Format) []byte {
	b.t.Helper()
	var out bytes.Buffer
	require.NoError(b.t, Write(b.t.Context(), &out, b.r, op.ID, f, b.now))
	return out.Bytes()
}

// reseal recomputes the last line, as a forger would.
func reseal(f Format, text []byte) []byte {
	body := text[:len(text)-len(f.lastLine(strings.Repeat("0", 64)))]
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), f.lastLine(hex.EncodeToString(sum[:]))...)
}

func forEachFormat(t *testing.T, test func(*testing.T, Format)) {
	t.Helper()
	for _, f := range Formats {
		t.Run(string(f), func(t *testing.T) { t.Parallel(); test(t, f) })
	}
}

func TestAReportVerifies(t *testing.T) {
	t.Parallel()
	forEachFormat(t, func(t *testing.T, f Format) {
		b := newBook(t)
		op := b.finish(b.small(plainTexts))
		text := b.write(op, f)
		res, err := Verify(bytes.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, op.ID, res.Operation)
		require.Equal(t, op.Seal, res.Head)
		require.Equal(t, 4, res.Rows)
		require.True(t, res.Final)
		require.Equal(t, f, res.Format)
		require.True(t, b.now.Equal(res.Made), res.Made)
		newer, err := b.compare(t, res)
		require.NoError(t, err)
		require.Zero(t, newer)
		require.Equal(t, text, b.write(op, f), "the same record and time give the same bytes")
		last := text[bytes.LastIndexByte(text[:len(text)-1], '\n')+1:]
		sum := sha256.Sum256(text[:len(text)-len(last)])
		require.Contains(t, string(last), hex.EncodeToString(sum[:]))
	})
}

// parts is a JSON report taken apart.
type parts struct {
	head
	chunks []chunk
	rows   int
	trail  string
}

func takeApart(t *testing.T, text []byte) parts {
	t.Helper()
	var v struct {
		Made      time.Time        `json:"made_at"`
		Final     bool             `json:"final"`
		Operation record.Operation `json:"operation"`
		Accepted  string           `json:"accepted"`
		Removal   removal          `json:"removal"`
		Chunks    []chunk          `json:"chunks"`
		Rows      int              `json:"rows"`
		TrailHead string           `json:"trail_head"`
	}
	require.NoError(t, json.Unmarshal(text, &v))
	return parts{head{v.Made, v.Final, v.Operation, v.Accepted, v.Removal}, v.Chunks, v.Rows, v.TrailHead}
}

// together writes the parts as Write does, with the sum.
func (p parts) together(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	j := &jsonRenderer{}
	require.NoError(t, j.head(&out, p.head))
	for _, c := range p.chunks {
		require.NoError(t, j.chunk(&out, c))
	}
	require.NoError(t, j.foot(&out, foot{head: p.head, Rows: p.rows, Head: p.trail}))
	sum := sha256.Sum256(out.Bytes())
	return append(out.Bytes(), JSON.lastLine(hex.EncodeToString(sum[:]))...)
}

// rechain recomputes chains, head and seal.
func (p *parts) rechain() {
	var chains []trail.Chain
	for i := range p.chunks {
		c := &p.chunks[i]
		var ds []record.Row
		for _, r := range c.Rows {
			ds = append(ds, record.Row{Desktop: tasks.Desktop{ID: r.ID, Expect: r.Expect}})
		}
		chain := record.StartChain(p.Accepted, c.Number, ds)
		for _, raw := range c.Trail {
			chain = chain.Add(raw)
		}
		c.Chain = hex.EncodeToString(chain[:])
		chains = append(chains, chain)
	}
	p.trail = trail.Head(chains)
	p.Operation.Seal = p.trail
}

func TestForgedJSONIsFound(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.finish(b.small(plainTexts))
	text := b.write(op, JSON)
	require.Equal(t, string(text), string(takeApart(t, text).together(t)), "the forger's tools are right")

	// The file alone exposes an edit after which only the SHA-256 was recomputed.
	for name, forge := range map[string]func(p *parts){
		"request": func(p *parts) {
			p.Accepted = strings.Replace(p.Accepted, "ann", "bob", 1)
			p.Operation.RequestedBy = "bob"
		},
		"operation":      func(p *parts) { p.Operation.RequestedBy = "bob" },
		"request unread": func(p *parts) { p.Accepted = "{" },
		"id":             func(p *parts) { p.chunks[0].Rows[0].ID = "d-3" },
		"expected users": func(p *parts) { p.chunks[0].Rows[0].Expect[0] = "bo" },
		"state":          func(p *parts) { p.chunks[0].Rows[1].State = tasks.StateDetached },
		"time of proof":  func(p *parts) { p.chunks[0].Rows[0].ProvenAt = op.DueAt },
		"time it took":   func(p *parts) { *p.chunks[0].Rows[0].TookMS = 1 },
		"since":          func(p *parts) { p.chunks[0].Rows[0].Since = op.DueAt },
		"user before":    func(p *parts) { p.chunks[0].Rows[0].Before.Users[0].Name = "bo" },
		"event":          func(p *parts) { p.chunks[0].Rows[0].Events[0].By = "bo" },
		"no event":       func(p *parts) { p.chunks[0].Rows[0].Events = p.chunks[0].Rows[0].Events[1:] },
		"proof":          func(p *parts) { p.chunks[0].Rows[0].Detail = "DETACHED" },
		"call":           func(p *parts) { p.chunks[0].Rows[0].Calls[0].ID = "call-2" },
		"no call":        func(p *parts) { p.chunks[0].Rows[0].Calls = nil },
		"trail text": func(p *parts) {
			p.chunks[0].Trail[2] = strings.Replace(p.chunks[0].Trail[2], "UNATTACHED", "UNUSED", 1)
		},
		"trail entry gone": func(p *parts) { p.chunks[0].Trail = p.chunks[0].Trail[:2] },
		"trail unread":     func(p *parts) { p.chunks[0].Trail[0] = "{" },
		"trail and chain": func(p *parts) {
			h := p.trail
			p.chunks[0].Trail[0] = p.chunks[0].Trail[0] + " "
			p.rechain()
			p.trail = h
		},
		"seal":           func(p *parts) { p.Operation.Seal = strings.Repeat("0", 64) },
		"head":           func(p *parts) { p.trail = strings.Repeat("0", 64) },
		"head and seal":  func(p *parts) { p.trail = strings.Repeat("0", 64); p.Operation.Seal = p.trail },
		"chain":          func(p *parts) { p.chunks[0].Chain = p.chunks[1].Chain },
		"a chunk gone":   func(p *parts) { p.chunks = p.chunks[:2] },
		"chunks in turn": func(p *parts) { p.chunks[0], p.chunks[1] = p.chunks[1], p.chunks[0] },
		"chunk number":   func(p *parts) { p.chunks[2].Number = 3 },
		"counts":         func(p *parts) { p.Operation.Counts.Failed, p.Operation.Counts.Detached = 0, 3 },
		"times":          func(p *parts) { p.Removal.WorstMS = 1 },
		"late":           func(p *parts) { p.Removal.Late = 0 },
		"rows":           func(p *parts) { p.rows = 5 },
		"final":          func(p *parts) { p.Final = false },
		"steps that do not follow": func(p *parts) {
			p.chunks[0].Trail = append(p.chunks[0].Trail[:1], p.chunks[0].Trail[2:]...)
			p.rechain()
		},
		"a step of no row": func(p *parts) {
			p.chunks[1].Trail[0] = strings.Replace(p.chunks[1].Trail[0], `"0"`, `"7"`, 1)
			p.rechain()
		},
		"chunk number and chain": func(p *parts) { p.chunks[2].Number = 3; p.rechain() },
	} {
		p := takeApart(t, text)
		forge(&p)
		_, err := Verify(bytes.NewReader(p.together(t)))
		require.ErrorIs(t, err, ErrReportAltered, name)
		require.ErrorContains(t, err, "recomputed", name)
	}
	// Nothing can hide in what decoding of JSON ignores.
	for old, forged := range map[string]string{
		`"rows":4,`:                `"rows":4,"rows":4,`,
		`"final":true,`:            `"final": true,`,
		`"removal":`:               `"REMOVAL":`,
		`{"chunk":0,`:              `{"chunk":0,"chunk":0,`,
		`"format":`:                `"FORMAT":`,
		`"detachd report 1"`:       `"detachd report 2"`,
		"],\n\"rows\"":             "],\n\n\"rows\"",
		`"project":"hq",`:          `"project":"hq","comment":"x",`,
		`"state":"failed",`:        `"state":"failed","State":"failed",`,
		`"trail_head":"` + op.Seal: `"trail_head":"` + strings.ToUpper(op.Seal),
	} {
		changed := bytes.Replace(text, []byte(old), []byte(forged), 1)
		require.NotEqual(t, string(text), string(changed), old)
		_, err := Verify(bytes.NewReader(reseal(JSON, changed)))
		require.ErrorIs(t, err, ErrReportAltered, old)
	}
	// The head exposes an edit after which everything was recomputed.
	p := takeApart(t, text)
	p.Accepted = strings.Replace(p.Accepted, "ann", "bob", 1)
	p.Operation.RequestedBy = "bob"
	p.rechain()
	res, err := Verify(bytes.NewReader(p.together(t)))
	require.NoError(t, err, "by itself it is a report")
	require.NotEqual(t, op.Seal, res.Head)
	_, err = b.compare(t, res)
	require.ErrorIs(t, err, ErrDiffers)
	require.ErrorContains(t, err, "chunk 0")
}

// A change that no chain covers is found because the record gives another report.
func TestForgedTextIsFoundByTheRecord(t *testing.T) {
	t.Parallel()
	forEachFormat(t, func(t *testing.T, f Format) {
		b := newBook(t)
		op := b.finish(b.small(plainTexts))
		text := reseal(f, bytes.ReplaceAll(b.write(op, f), []byte("no address"), []byte("no problem")))
		res, err := Verify(bytes.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, op.Seal, res.Head)
		_, err = b.compare(t, res)
		require.ErrorIs(t, err, ErrDiffers)
	})
}

func TestForgedHeadOfATextReport(t *testing.T) {
	t.Parallel()
	for _, f := range []Format{HTML, CSV} {
		b := newBook(t)
		op := b.finish(b.small(plainTexts))
		text := b.write(op, f)
		none := strings.Repeat("0", 64)
		res, err := Verify(bytes.NewReader(reseal(f, bytes.ReplaceAll(text, []byte(op.Seal), []byte(none)))))
		require.NoError(t, err)
		require.Equal(t, none, res.Head)
		_, err = b.compare(t, res)
		require.ErrorIs(t, err, ErrDiffers)
		for _, bad := range []string{"x", "", strings.ToUpper(op.Seal)} {
			_, err = Verify(bytes.NewReader(reseal(f, bytes.ReplaceAll(text, []byte(op.Seal), []byte(bad)))))
			require.ErrorIs(t, err, ErrReportAltered)
		}
	}
}

func TestTheRecordGoesOn(t *testing.T) {
	t.Parallel()
	forEachFormat(t, func(t *testing.T, f Format) {
		b := newBook(t)
		op := b.finish(b.small(plainTexts))
		res, err := Verify(bytes.NewReader(b.write(op, f)))
		require.NoError(t, err)
		b.now = b.now.Add(time.Hour)
		n, err := b.p.Retry(t.Context(), op, tasks.RetryFilter{}, "ann")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		for _, ended := range []bool{false, true} {
			if ended {
				op = b.later(op, time.Minute)
				b.apply(record.Change{Operation: op, Chunk: 0, By: "w", Moves: []record.Move{{Desktop: b.rows(op, 0)["d-2"], To: tasks.StateDetached,
					Note: tasks.NoteReadBack}}})
				b.finish(op)
			}
			newer, err := b.compare(t, res)
			if f == JSON {
				require.NoError(t, err, "what the report has is in the record still")
				require.Equal(t, map[bool]int{false: 1, true: 2}[ended], newer)
			} else {
				require.ErrorIs(t, err, ErrMovedOn)
			}
		}
		require.NoError(t, b.rdb.LSet(t.Context(), "t:{"+op.ID+"}:t:2", 0, `{"t":1,"m":[["QD|n|","0"]]}`).Err())
		_, err = b.compare(t, res)
		require.ErrorIs(t, err, ErrRecordAltered)
		require.NoError(t, b.rdb.FlushDB(t.Context()).Err())
		_, err = b.compare(t, res)
		require.ErrorIs(t, err, tasks.ErrNotFound)
	})
}

func TestAnAlteredRecordIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		alter func(ctx context.Context, rdb redis.UniversalClient, key string) error
		want  string
	}{
		"seal": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			return rdb.HSet(ctx, key+":op", "seal", strings.Repeat("0", 64)).Err()
		}, "sealed"},
		"request": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			s := rdb.HGet(ctx, key+":op", "meta").Val()
			return rdb.HSet(ctx, key+":op", "meta", strings.Replace(s, "ann", "bob", 1)).Err()
		}, "sealed"},
		"other id": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			s := rdb.HGet(ctx, key+":op", "meta").Val()
			return rdb.HSet(ctx, key+":op", "meta", strings.Replace(s, `"id":"`, `"id":"x`, 1)).Err()
		}, "is stored with the id"},
		"counts": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			return rdb.HSet(ctx, key+":op", "nF", "0", "nD", "3").Err()
		}, "counts"},
		"trail entry": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			s := rdb.LIndex(ctx, key+":t:0", 2).Val()
			return rdb.LSet(ctx, key+":t:0", 2, strings.Replace(s, "UNATTACHED", "UNUSED", 1)).Err()
		}, "sealed"},
		"trail not UTF-8": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			s := rdb.LIndex(ctx, key+":t:0", 2).Val()
			return rdb.LSet(ctx, key+":t:0", 2, strings.Replace(s, "UNATTACHED", "\xff", 1)).Err()
		}, "chunk 0, entry 2"},
		"trail entry gone": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			return rdb.RPop(ctx, key+":t:0").Err()
		}, "chunk 0"},
		"trail entry twice": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			return rdb.RPush(ctx, key+":t:0", rdb.LIndex(ctx, key+":t:0", -1).Val()).Err()
		}, "chunk 0, entry 3"},
		"state": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			return rdb.HSet(ctx, key+":c:0", "d-2", "1;D;1;"+"mm6y5s00;call-1;").Err()
		}, "d-2"},
		"time of proof": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			s := rdb.HGet(ctx, key+":c:0", "d-1").Val()
			f := strings.Split(s, ";")
			f[3] = "mm6y5s00"
			return rdb.HSet(ctx, key+":c:0", "d-1", strings.Join(f, ";")).Err()
		}, "d-1"},
		"a row more": {func(ctx context.Context, rdb redis.UniversalClient, key string) error {
			return rdb.HSet(ctx, key+":c:0", "d-3", "2").Err()
		}, "d-3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachFormat(t, func(t *testing.T, f Format) {
				b := newBook(t)
				op := b.finish(b.small(plainTexts))
				require.NoError(t, c.alter(t.Context(), b.rdb, "t:{"+op.ID+"}"))
				var out bytes.Buffer
				err := Write(t.Context(), &out, b.r, op.ID, f, b.now)
				require.ErrorIs(t, err, ErrRecordAltered)
				require.ErrorContains(t, err, c.want)
				_, err = Verify(&out)
				require.ErrorIs(t, err, ErrReportAltered, "a part of a report does not verify")
			})
		})
	}
}

func TestAnAddedRowIsRefused(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.enqueue(tasks.Request{Desktops: []string{"d-1"}})
	key := "t:{" + op.ID + "}:c:0"
	require.NoError(t, b.rdb.HSet(t.Context(), key, "d-2", "1").Err())
	err := Write(t.Context(), io.Discard, b.r, op.ID, CSV, b.now)
	require.ErrorIs(t, err, ErrRecordAltered)
	require.ErrorContains(t, err, "has 2 rows, but its request has 1")
}

func TestAReportOutlivesAnAlteredRecord(t *testing.T) {
	t.Parallel()
	forEachFormat(t, func(t *testing.T, f Format) {
		b := newBook(t)
		op := b.finish(b.small(plainTexts))
		res, err := Verify(bytes.NewReader(b.write(op, f)))
		require.NoError(t, err)
		require.NoError(t, b.rdb.LSet(t.Context(), "t:{"+op.ID+"}:t:2", 0, `{"t":1,"m":[["QD|n|","0"]]}`).Err())
		_, err = b.compare(t, res)
		require.ErrorIs(t, err, ErrRecordAltered, "the seal says that it is not the report")
	})
}

// After a retry nothing is final until it is sealed again.
func TestTakenUpAgain(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.finish(b.small(plainTexts))
	_, err := b.p.Retry(t.Context(), op, tasks.RetryFilter{}, "ann")
	require.NoError(t, err)
	op = b.later(op, time.Minute)
	b.apply(record.Change{Operation: op, Chunk: 0, Moves: []record.Move{{Desktop: b.rows(op, 0)["d-2"], To: tasks.StateDetached,
		Note: tasks.NoteReadBack}}})
	b.now = b.now.Add(time.Second)
	for _, final := range []bool{false, true} {
		res, err := Verify(bytes.NewReader(b.write(op, JSON)))
		require.NoError(t, err)
		require.Equal(t, final, res.Final)
		b.finish(op)
	}
}

func TestNotFinal(t *testing.T) {
	t.Parallel()
	forEachFormat(t, func(t *testing.T, f Format) {
		b := newBook(t)
		open := b.enqueue(tasks.Request{Desktops: []string{"d-5"}})
		unsealed := b.small(plainTexts)
		for op, why := range map[string]string{open.ID: "the operation has not finished", unsealed.ID: "not sealed yet"} {
			text := b.write(record.Operation{Operation: tasks.Operation{ID: op}}, f)
			res, err := Verify(bytes.NewReader(text))
			require.NoError(t, err)
			require.False(t, res.Final)
			switch f {
			case HTML:
				require.Contains(t, string(text), "This report is not final: ")
				require.Contains(t, string(text), why)
			case CSV:
				for _, line := range asCSV(t, text) {
					require.Equal(t, "false", line["final"])
				}
			case JSON:
				require.Contains(t, string(text), `"final":false`)
			}
			_, err = b.compare(t, res)
			require.NoError(t, err)
		}
		res, err := Verify(bytes.NewReader(b.write(open, f)))
		require.NoError(t, err)
		b.apply(record.Change{Operation: open, Chunk: 0, Moves: []record.Move{{Desktop: b.rows(open, 0)["d-5"], To: tasks.StateDetached}}})
		newer, err := b.compare(t, res)
		if f == JSON {
			require.NoError(t, err)
			require.Equal(t, 1, newer)
		} else {
			require.ErrorIs(t, err, ErrMovedOn)
		}
	})
	b := newBook(t)
	require.ErrorIs(t, Write(t.Context(), io.Discard, b.r, "nowhere", HTML, b.now), tasks.ErrNotFound)
	require.ErrorContains(t, Write(t.Context(), io.Discard, b.r, "nowhere", "pdf", b.now), "unknown format")
}

// asCSV reads the rows of a CSV report by column, without the last two lines.
func asCSV(t *testing.T, text []byte) []map[string]string {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err, "it is rectangular")
	require.Equal(t, "trail_head", lines[len(lines)-2][0])
	require.Equal(t, "sha256", lines[len(lines)-1][0])
	var out []map[string]string
	for _, line := range lines[1 : len(lines)-2] {
		row := map[string]string{}
		for i, cell := range line {
			row[lines[0][i]] = cell
		}
		out = append(out, row)
	}
	return out
}

func TestWhatAReportSays(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.finish(b.small(plainTexts))

	rows := asCSV(t, b.write(op, CSV))
	require.Len(t, rows, 4)
	for column, want := range map[string]string{
		"line": "desktop", "subject": "d-1", "operation": op.ID, "project": "hq", "requested_by": "ann", "reason": "contract ended",
		"ticket": "HR-1", "accepted_at": "2026-03-01T12:00:00.000Z", "ended_at": "2026-03-01T12:20:00.000Z", "rows": "4", "final": "true",
		"computer_name": "PC-4711", "type": "SHARED", "users_before": "jo (sudo, USER); staff (GROUP)", "expected_users": "jo; ann",
		"state": "detached", "due_at": "2026-03-01T12:00:00.000Z", "proven_at": "2026-03-01T12:01:30.000Z", "took_seconds": "90.000",
		"took_since_accepted_seconds": "90.000",
		"proof":                       "confirmed by reading the desktop: UNATTACHED", "attempts": "1", "failure_code": "",
		"calls": "2026-03-01T12:00:00.000Z HTTP 200 WKS.00010110 request req-1 job job-1",
	} {
		require.Equal(t, want, rows[0][column], column)
	}
	for column, want := range map[string]string{
		"subject": "d-2", "state": "failed", "proven_at": "", "took_seconds": "", "proof": "", "failure_code": "WKS.00010110",
		"failure_class": "permanent", "failure_message": "no address", "since": "2026-03-01T12:00:30.000Z",
	} {
		require.Equal(t, want, rows[1][column], column)
	}
	require.Equal(t, "user", rows[2]["line"])
	require.Equal(t, "jo", rows[2]["subject"])
	require.Equal(t, "expanded", rows[2]["state"])
	require.Equal(t, "d-9", rows[3]["subject"])
	require.Equal(t, "1200.000", rows[3]["took_seconds"])
	require.Equal(t, "the expected user is not on it: UNATTACHED", rows[3]["proof"])

	text := b.write(op, JSON)
	p := takeApart(t, text)
	accepted, err := b.r.Accepted(t.Context(), op.ID)
	require.NoError(t, err)
	require.Equal(t, accepted, p.Accepted, "byte for byte")
	require.Equal(t, removal{TargetMS: 900000, Proven: 2, P50MS: 90000, P95MS: 1200000, WorstMS: 1200000, Late: 1, Overdue: 1,
		AcceptedP50MS: 90000, AcceptedP95MS: 1200000, AcceptedWorstMS: 1200000, AcceptedLate: 1}, p.Removal)
	require.Equal(t, op.Seal, p.trail)
	es, err := b.r.Evidence(t.Context(), op, 0, op.Chunks())
	require.NoError(t, err)
	for i, e := range es {
		require.Equal(t, e.Raw, p.chunks[i].Trail)
	}
	d1 := p.chunks[0].Rows[0]
	require.Len(t, d1.Events, 3)
	require.Equal(t, event{At: d1.Events[1].At, From: tasks.StateSending, To: tasks.StateAccepted, By: "worker-1", Note: tasks.NoteByJob,
		NoteText: "tracked as a job of the cloud", CallID: "call-1"}, d1.Events[1])
	require.Equal(t, []string{"job-1"}, d1.Calls[0].JobIDs)

	page := string(b.write(op, HTML))
	for _, want := range []string{
		`<html lang="en">`, "<title>Desktop access removal report: operation " + op.ID, "<caption>", `scope="col"`, "prefers-color-scheme: dark",
		"@media print",
		"@media screen and (max-width", "contract ended", "HR-1", "ann", "PC-4711", "jo (sudo, USER)", "1 min 30 s", "20 min", op.Seal, "no address",
		"job job-1",
		"sending → accepted by cloud, tracked as a job of the cloud", "target is 15 min", "2026-03-01 12:01:30",
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "not final")
	for _, external := range []string{"<script", "src=", "href=", "url(", "@import", "http://", "https://"} {
		require.NotContains(t, page, external)
	}
}

const attack = `<script>alert(1)</script><img src=x onerror="x()">{{.}}' "]]>--><!-- `

func TestHostileTexts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A<b>\u202e\x00\x1b[2J\r\n\t\u2028", 600) // more than 10 KB
	require.Greater(t, len(long), 10_000)
	hostile := texts{
		name: "=cmd|' /C calc'!A0" + attack, user: "@SUM(1+1)\t" + attack, reason: "-2+3\n" + attack, ticket: "+1" + attack,
		requestedBy: "=1" + attack,
		detail:      "=\x1b]0;x\a" + attack + long, code: "=WKS" + attack, message: "\r\n=1+1" + attack + long, by: "=by" + attack,
	}
	forEachFormat(t, func(t *testing.T, f Format) {
		b := newBook(t)
		op := b.finish(b.small(hostile))
		text := b.write(op, f)
		_, err := Verify(bytes.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, -1, strings.IndexFunc(string(text), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }),
			"nothing that acts on a terminal")
		switch f {
		case HTML:
			requireInert(t, string(text))
			require.Contains(t, string(text), "&lt;script&gt;alert(1)&lt;/script&gt;")
		case CSV:
			lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
			require.NoError(t, err)
			require.Len(t, lines, 1+4+2)
			for _, line := range lines {
				for _, cell := range line {
					require.False(t, cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])), cell)
					for part := range strings.SplitSeq(cell, "; ") {
						require.NotContains(t, []string{"=", "+", "@"}, part[:min(1, len(part))], cell)
					}
				}
			}
			require.Contains(t, lines[1][12], "'=cmd|")
		case JSON:
			require.NotContains(t, string(text), "<")
			row := takeApart(t, text).chunks[0].Rows[0]
			require.Equal(t, hostile.name, row.Before.Name, "and nothing is lost")
			require.Equal(t, hostile.user, row.Before.Users[0].Name)
			require.Equal(t, hostile.detail, row.Detail)
			require.Equal(t, hostile.message, takeApart(t, text).chunks[0].Rows[1].Failure.Message)
		}
	})
}

// requireInert fails for an element, attribute or comment that is not in the template.
func requireInert(t *testing.T, page string) {
	t.Helper()
	known := map[string]bool{}
	for _, tag := range tags(htmlText) {
		known[name(tag)] = true
	}
	for _, tag := range tags(page) {
		require.True(t, known[name(tag)], tag)
		require.NotContains(t, tag, "onerror")
		require.NotContains(t, tag, "src=")
	}
	require.Equal(t, 2, strings.Count(page, "<!--"), "just our own")
	require.Equal(t, 2, strings.Count(page, "-->"))
}

// tags lists what a browser parses as tags.
func tags(page string) (out []string) {
	for i, part := range strings.Split(page, "<") {
		if i == 0 || part == "" {
			continue
		}
		if c := part[0]; c == '/' || c == '!' || c == '?' || c|' ' >= 'a' && c|' ' <= 'z' {
			tag, _, _ := strings.Cut(part, ">")
			out = append(out, tag)
		}
	}
	return out
}

func name(tag string) string {
	n, _, _ := strings.Cut(strings.TrimPrefix(tag, "/"), " ")
	if strings.HasPrefix(n, "!--") {
		return "!DOCTYPE" // counted apart
	}
	return n
}

// bigReads records the maximum number of chunks whose trails are read at once.
type bigReads struct{ most atomic.Int64 }

func (h *bigReads) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *bigReads) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *bigReads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		trails := int64(0)
		for _, c := range cmds {
			if c.Name() == "lrange" {
				trails++
			}
		}
		h.most.Store(max(h.most.Load(), trails))
		return next(ctx, cmds)
	}
}

// progress records how much was written, in total and at once.
type progress struct{ most, total int }

func (p *progress) Write(b []byte) (int, error) {
	p.most, p.total = max(p.most, len(b)), p.total+len(b)
	return len(b), nil
}

func TestALargeReportIsWrittenPieceByPiece(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	ids := make([]string, 5000)
	for i := range ids {
		ids[i] = fmt.Sprintf("d-%05d", i)
	}
	op := b.enqueue(tasks.Request{Desktops: ids})
	reads := &bigReads{}
	b.rdb.AddHook(reads)
	forEachFormat(t, func(t *testing.T, f Format) {
		p := &progress{}
		require.NoError(t, Write(t.Context(), p, b.r, op.ID, f, b.now))
		require.Greater(t, p.total, 200_000)
		require.Less(t, p.most, p.total/3, "it is handed on in pieces")
		require.LessOrEqual(t, reads.most.Load(), int64(batch))
		require.Positive(t, reads.most.Load())
		pr, pw := io.Pipe()
		go func() { pw.CloseWithError(Write(t.Context(), pw, b.r, op.ID, f, b.now)) }()
		res, err := Verify(pr)
		require.NoError(t, err)
		require.Equal(t, 5000, res.Rows)
	})
}

// A report that cannot be written to its end is an error.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.finish(b.small(plainTexts))
	require.ErrorIs(t, Write(t.Context(), full{}, b.r, op.ID, HTML, b.now), io.ErrShortWrite)
	_, err := Verify(io.MultiReader(strings.NewReader("<!DOCTYPE html>\n"), broken{}))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.NotErrorIs(t, err, ErrReportAltered)
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// compare compares a report with the current record.
func (b *book) compare(t *testing.T, res Result) (newer int, err error) {
	t.Helper()
	var now bytes.Buffer
	if err := Write(t.Context(), &now, b.r, res.Operation, JSON, time.Now()); err != nil {
		return 0, err
	}
	return Compare(bytes.NewReader(now.Bytes()), res)
}
