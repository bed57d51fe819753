package tasks_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestSealed(t *testing.T) {
	t.Parallel()
	require.False(t, tasks.Operation{}.Sealed())
	require.False(t, tasks.Operation{EndedAt: time.Now()}.Sealed(), "its trail is still to be sealed")
	require.False(t, tasks.Operation{Seal: "ab"}.Sealed(), "it was retried")
	require.True(t, tasks.Operation{EndedAt: time.Now(), Seal: "ab"}.Sealed())
}

// What counts by state knows every state, each in a place of its own.
func TestCounts(t *testing.T) {
	t.Parallel()
	var c tasks.Counts
	for n, s := range tasks.States {
		for range n + 1 {
			c.Count(s)
		}
	}
	want := tasks.Counts{Queued: 1, Sending: 2, Accepted: 3, Detached: 4, Failed: 5, Held: 6, Cancelled: 7, Expanded: 8, NoDesktop: 9}
	require.Equal(t, want, c)
	require.Equal(t, reflect.TypeFor[tasks.Counts]().NumField(), len(tasks.States))
	for n, s := range tasks.States {
		require.Equal(t, n+1, c.Of(s), s)
	}
	require.Zero(t, c.Of('?'))
	c.Add(c)
	require.Equal(t, tasks.Counts{Queued: 2, Sending: 4, Accepted: 6, Detached: 8, Failed: 10, Held: 12, Cancelled: 14, Expanded: 16, NoDesktop: 18}, c)
	require.Equal(t, 12, c.Unsettled())
}

func TestWhomARowNames(t *testing.T) {
	t.Parallel()
	for id, want := range map[string][2]string{
		tasks.UserRow("bob"): {"bob", ""}, tasks.ComputerRow("PC-1"): {"", "PC-1"}, tasks.UserRow("computer:x"): {"computer:x", ""}, "d1": {}, "users:bob": {},
	} {
		user, isUser := tasks.UserOf(id)
		computer, isComputer := tasks.ComputerOf(id)
		require.Equal(t, [2]bool{want[0] != "", want[1] != ""}, [2]bool{isUser, isComputer}, id)
		if isUser {
			require.Equal(t, want[0], user)
		}
		if isComputer {
			require.Equal(t, want[1], computer)
		}
	}
}

func TestRedriveState(t *testing.T) {
	t.Parallel()
	now := time.Now()
	require.Equal(t, tasks.RedriveRunning, tasks.Redrive{}.State())
	require.Equal(t, tasks.RedriveEnded, tasks.Redrive{EndedAt: now}.State())
	require.Equal(t, tasks.RedriveAborted, tasks.Redrive{EndedAt: now, AbortedBy: "jo"}.State())
}

func TestNoteOfANewerVersionIsKept(t *testing.T) {
	t.Parallel()
	var d tasks.Desktop
	require.NoError(t, json.Unmarshal([]byte(`{"state": "detached", "note": "beamed_up", "note_text": "beamed up"}`), &d))
	require.Equal(t, tasks.Note("beamed_up"), d.Note)
	b, err := json.Marshal(d)
	require.NoError(t, err)
	require.Contains(t, string(b), `"note":"beamed_up","note_text":"beamed up"`)
	require.Equal(t, "beamed_up", d.Note.Text())
}
