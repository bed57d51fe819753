package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks/redistest"
)

// A short run of what make load does at length: a real server, a real kill.
func TestLoad(t *testing.T) {
	redistest.Need(t)
	s := scenario{Site: drill.Site{Dir: t.TempDir()}, Rate: 100, Steady: 2 * time.Second, Killed: 3 * time.Second}
	var err error
	s.Binary, err = drill.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // after the build, which takes minutes on a loaded machine
	defer cancel()
	v, err := s.run(ctx)
	require.NoError(t, err)
	var text bytes.Buffer
	v.print(&text)
	require.Zero(t, v.bad(), text.String())
	require.Len(t, v.Steady.Took, 200)
	require.Len(t, v.Killed.Took, 300)
	require.NotZero(t, v.Killed.Unanswered, "no request noticed the kill")
}
