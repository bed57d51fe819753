package report

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// A report does not change because desktops of it are given back. The undo has a report of its
// own, with its own words, and both verify.
func TestReportOfAnUndo(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.finish(b.small(plainTexts))
	before := map[Format][]byte{}
	for _, f := range Formats {
		before[f] = b.write(op, f)
	}
	undo, err := b.p.Undo(t.Context(), op, tasks.UndoRequest{RequestedBy: "amy", Reason: "wrong list"})
	require.NoError(t, err)
	require.Equal(t, 1, undo.Total, "d-9 was taken from nobody")
	b.apply(record.Change{Operation: undo, Moves: []record.Move{
		{Desktop: b.rows(undo, 0)["d-1"], To: tasks.StateDetached, Note: tasks.NoteReadBack, Detail: "ATTACHED"},
	}})
	undo = b.finish(b.later(undo, 0))
	for _, f := range Formats {
		require.Equal(t, string(before[f]), string(b.write(op, f)), f)
		_, err := Verify(bytes.NewReader(b.write(undo, f)))
		require.NoError(t, err, f)
	}
	page := string(b.write(undo, HTML))
	for _, says := range []string{
		"Desktop return report: undo <code>" + undo.ID, "Gives back desktops of</dt><dd><code>" + op.ID,
		"The desktop is confirmed given back", "<strong>given back</strong>", "queued → given back",
	} {
		require.Contains(t, page, says)
	}
	require.NotContains(t, page, "detached<")
}

// What a person decided about an operation is not in the accepted request, and verifies.
func TestReportOfAnApprovedOperation(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.enqueue(tasks.Request{Desktops: []string{"d-1", "d-2"}})
	asked, err := b.r.AskApproval(t.Context(), op, tasks.Clearance{Why: tasks.WhyLimit, Desktops: 2, AskedAt: b.now, ExpiresAt: b.now})
	require.NoError(t, err)
	require.True(t, asked)
	_, err = b.p.Approve(t.Context(), b.later(op, 0), tasks.Approval{By: "zoe"})
	require.NoError(t, err)
	_, _, err = b.r.Cancel(t.Context(), b.later(op, 0), b.now, "zoe")
	require.NoError(t, err)
	_, err = Verify(bytes.NewReader(b.write(b.later(op, 0), JSON)))
	require.NoError(t, err)
}
