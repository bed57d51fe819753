package worker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/worker/policy"
)

// The record has a note for each that a verdict can have.
func TestVerdictsHaveNotesOfTheRecord(t *testing.T) {
	t.Parallel()
	for _, row := range policy.Verdicts() {
		note, known := recordNotes[row.Note]
		require.True(t, known || row.Note == "", "%q", row.Note)
		require.Equal(t, row.Note == "", note == "", "%q", row.Note)
	}
}
