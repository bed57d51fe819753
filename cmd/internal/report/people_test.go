package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

func TestTheResultInASentence(t *testing.T) {
	t.Parallel()
	const target = 15 * 60 * 1000
	users := func(n int) string { return fmt.Sprintf(`{"users":%d,"total":%[1]d}`, n) }
	for want, h := range map[string]head{
		"All 16 desktops of 13 leavers are confirmed detached, the slowest 3.8 s after it was due.": {
			Final: true, Accepted: users(13), Operation: of(tasks.Counts{Detached: 16, Expanded: 13}),
			Removal: removal{TargetMS: target, Proven: 16, WorstMS: 3800},
		},
		"The desktop of 1 leaver is confirmed detached, 1 min 30 s after it was due; 1 later than the target of 1 min.": {
			Final: true, Accepted: users(1), Operation: of(tasks.Counts{Detached: 1, Expanded: 1}),
			Removal: removal{TargetMS: 60000, Proven: 1, WorstMS: 90000, Late: 1},
		},
		"All 2,000 desktops are confirmed detached, none after it was due.": {
			Final: true, Accepted: `{"total":2000}`, Operation: of(tasks.Counts{Detached: 2000}), Removal: removal{TargetMS: target, Proven: 2000},
		},
		"1 desktop is confirmed detached, 2 s after it was due. Not detached: 1 failed, 2 on hold, 3 cancelled, 4 without a desktop.": {
			Final: true, Accepted: `{"total":11}`, Operation: of(tasks.Counts{Detached: 1, Failed: 1, Held: 2, Cancelled: 3, NoDesktop: 4}),
			Removal: removal{TargetMS: target, Proven: 1, WorstMS: 2000},
		},
		"No desktop is confirmed detached. Not detached: 2 without a desktop.": {
			Final: true, Accepted: users(2), Operation: of(tasks.Counts{NoDesktop: 2}),
		},
		"So far: 3 desktops are confirmed detached, the slowest 1 s after it was due. Not detached: 7 in progress.": {
			Accepted: `{"total":10}`, Operation: of(tasks.Counts{Detached: 3, Queued: 4, Sending: 2, Accepted: 1}),
			Removal: removal{TargetMS: target, Proven: 3, WorstMS: 1000},
		},
		"So far: no desktop is confirmed detached. Not detached: 1 in progress.": {Operation: of(tasks.Counts{Queued: 1})},
	} {
		require.Equal(t, want, h.Result())
	}
}

func of(c tasks.Counts) record.Operation {
	return record.Operation{Operation: tasks.Operation{Counts: c}}
}

// The first page has the result, the seal, and how to verify.
func TestTheFirstPage(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	open := b.small(plainTexts)
	before, _, _ := strings.Cut(string(b.write(open, HTML)), "<main>")
	require.Contains(t, before, "Audit seal: none yet")
	op := b.finish(open)
	text := string(b.write(op, HTML))
	before, after, _ := strings.Cut(text, "<main>")
	require.Contains(t, before,
		"2 desktops are confirmed detached, the slowest 20 min after it was due; 1 later than the target of 15 min. Not detached: 1 failed.")
	require.Contains(t, before, "Audit seal: <code>"+op.Seal+"</code>")
	require.Contains(t, before, "detachd verify --record FILE")
	require.NotContains(t, after, "<dd>0</dd>", "what is not there is not listed")
	require.NotContains(t, after, "1 desktops")
}

// A report of more rows than anybody prints is a summary, which lists what is not confirmed
// detached, and verifies as any other.
func TestALargeReportIsASummary(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	ids := make([]string, longest+1)
	for i := range ids {
		ids[i] = fmt.Sprintf("d-%05d", i)
	}
	op := b.enqueue(tasks.Request{Desktops: ids})
	for n := range op.Chunks() {
		rows := b.rows(op, n)
		change := record.Change{Operation: op, Chunk: n, By: "w"}
		for i, id := range ids[n*record.ChunkSize : min((n+1)*record.ChunkSize, len(ids))] {
			move := record.Move{Desktop: rows[id], To: tasks.StateDetached, Note: tasks.NoteReadBack}
			if n < 6 || i == 7 { // 600 and one of each later chunk fail
				move = record.Move{Desktop: rows[id], To: tasks.StateFailed, Failure: &tasks.Failure{
					Code: "WKS.<b>", Message: "m", Class: "permanent", At: b.now, CallID: "c",
				}}
			}
			change.Moves = append(change.Moves, move)
		}
		b.apply(change)
	}
	op = b.finish(b.later(op, time.Minute))
	text := b.write(op, HTML)
	page := string(text)
	failed := op.Counts.Failed
	require.Equal(t, 614, failed)
	require.Contains(t, page, "This is a summary, because a page with 2,001 rows can hardly be printed.")
	require.Contains(t, page, "detachd report "+op.ID+" -o report.json")
	require.Equal(t, longestList, strings.Count(page, `<tr role="row">`)-1)
	require.Contains(t, page, fmt.Sprintf("<p>%d rows more of this kind", failed-longestList))
	require.Contains(t, page, `<tr><th scope="row">failed</th><td>WKS.&lt;b&gt;</td><td>614</td></tr>`)
	require.Contains(t, page, `<tr><th scope="row">detached</th><td>confirmed by reading the desktop</td><td>1,387</td></tr>`)
	require.Contains(t, page, ">d-00000<")
	require.NotContains(t, page, ">d-02000<")
	require.Contains(t, page, "1,387 desktops are confirmed detached")

	res, err := Verify(bytes.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, longest+1, res.Rows)
	newer, err := b.compare(t, res)
	require.NoError(t, err)
	require.Zero(t, newer)
	require.Len(t, asCSV(t, b.write(op, CSV)), longest+1, "the other formats have every row")
	forged := bytes.Replace(text, []byte("<td>614</td>"), []byte("<td>613</td>"), 1)
	res, err = Verify(bytes.NewReader(reseal(HTML, forged)))
	require.NoError(t, err)
	_, err = b.compare(t, res)
	require.ErrorIs(t, err, ErrDiffers)
}

// However many reasons there are, a summary stays one.
func TestASummaryIsBounded(t *testing.T) {
	t.Parallel()
	s := newSummary()
	for i := range 10_000 {
		s.add(row{State: tasks.StateFailed, Failure: &tasks.Failure{Code: fmt.Sprint(i)}})
	}
	table := s.table()
	require.Len(t, table, mostReasons+1)
	require.Equal(t, counted{outcome{tasks.StateFailed, "other reasons"}, 10_000 - mostReasons}, table[0])
	require.Equal(t, longestList, s.shown)
	require.Equal(t, 10_000, s.open)
}
