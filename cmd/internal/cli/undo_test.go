package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestUndo(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.worker(t)
		require.Equal(t, exitOK, s.run(t, "detach", "d1", "d2", "--project", "hq", "--wait").code)
		id := s.operations(t)[0].ID
		s.refused(t, exitUsage, "undo needs a reason", "undo", id)
		s.refused(t, exitUsage, `"d3" is not a desktop of the operation`, "undo", id, "--desktop", "d2", "--desktop", "d3", "--reason", "x")
		v := s.json(t, exitOK, "undo", id, "--desktop", "d2", "--reason", "she stays", "--ticket", "CHG-7", "--idempotency-key", "k")
		undo := v["id"].(string)
		require.Equal(t, id, v["undo_of"])
		require.Equal(t, undo, s.json(t, exitOK, "undo", id, "--desktop", "d2", "--reason", "she stays", "--ticket", "CHG-7", "--idempotency-key", "k")["id"])
		followed := s.run(t, "status", undo, "--wait")
		require.Equal(t, exitOK, followed.code, followed.out+s.ok(t, "desktops", undo))

		status := s.ok(t, "status", undo)
		require.Regexp(t, `undo of +`+id, status)
		require.Regexp(t, `given back +1`, status)
		require.NotContains(t, status, "detached")
		require.Regexp(t, `undone by +`+undo, s.ok(t, "status", id))
		rows := s.ok(t, "desktops", id)
		require.Contains(t, rows, "detached, given back by "+undo)
		require.Contains(t, s.ok(t, "desktops", undo), "given back")
		require.Contains(t, s.ok(t, "history", "d2"), "detached, given back by "+undo)
		for _, a := range s.cloud.Assignments(hqID) {
			require.Equal(t, []any{"d2", false}, []any{a.DesktopID, a.Cleared})
		}
		require.Equal(t, exitOK, s.run(t, "undo", id, "--reason", "the wrong list", "--wait").code)
		require.Len(t, s.cloud.Assignments(hqID), 2, "d2 was given back already")
		require.Equal(t, tasks.Counts{Detached: 2}, s.operations(t)[0].Counts)
	})
}
