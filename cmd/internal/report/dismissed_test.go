package report

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

// What was dismissed stays as it was: the report says so, and can be verified.
func TestADismissedDesktopInTheReport(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	op := b.finish(b.small(plainTexts))
	n, err := b.r.Dismiss(t.Context(), tasks.DismissRequest{
		Desktops: []tasks.DesktopRef{{OperationID: op.ID, DesktopID: "d-2"}}, By: "ann", Reason: "scrapped",
	}, b.now)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.finish(op) // it seals the longer trail
	for _, f := range []Format{HTML, CSV, JSON} {
		text := b.write(op, f)
		require.NotEmpty(t, text)
		if f == CSV {
			continue
		}
		res, err := Verify(bytes.NewReader(text))
		require.NoError(t, err, f)
		_, err = b.compare(t, res)
		require.NoError(t, err, f)
	}
	rows := b.rows(op, 0)
	require.Equal(t, tasks.StateFailed, rows["d-2"].State)
}
