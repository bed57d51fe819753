package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestReportAndVerify(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1", ComputerName: "PC1", Users: []fakecloud.User{{Name: "zoe"}}})
	s.worker(t)
	require.Equal(t, exitOK, s.run(t, "detach", "d1", "--project", "hq", "--expected-user", "zoe", "--ticket", "HR-1", "--wait").code)
	op := s.operations(t)[0]

	dir := t.TempDir()
	for _, name := range []string{"e.html", "e.csv", "e.json"} {
		file := filepath.Join(dir, name)
		require.Empty(t, s.ok(t, "report", op.ID, "-o", file), name)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, want := range []string{"zoe", "PC1", "HR-1", "DEATTACHED by request"} {
			require.Contains(t, string(text), want, name)
		}
		out := s.ok(t, "verify", file, "--record", "--head", op.Seal)
		require.Contains(t, out, op.Seal)
		require.Contains(t, out, "not altered")
		require.Contains(t, out, "record      has the same trail")

		s.refused(t, exitFailed, "not the one of --head", "verify", file, "--head", "00")
		require.NoError(t, os.WriteFile(file, bytes.Replace(text, []byte("zoe"), []byte("eve"), 1), 0o600))
		s.refused(t, exitFailed, "it was altered", "verify", file)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm())
	}
	require.Contains(t, s.ok(t, "report", op.ID), "<!doctype html>")
	r := s.runWith(t, t.Context(), s.ok(t, "report", op.ID, "--format", "json"), nil, "verify", "-")
	require.Contains(t, r.out, "every row agrees", r.err)

	// The trail goes on: what was written before is not the record's any more.
	file := filepath.Join(dir, "old.json")
	s.cloud.Attach(hqID, "d2", fakecloud.User{Name: "heir"})
	s.cloud.Add(hqID, fakecloud.Desktop{ID: "d2", Users: []fakecloud.User{{Name: "heir"}}})
	require.Equal(t, exitHeld, s.run(t, "detach", "d2", "--project", "hq", "--expected-user", "zoe", "--wait").code)
	held := s.operations(t)[0]
	s.ok(t, "report", held.ID, "-o", file)
	s.ok(t, "cancel", held.ID)
	s.refused(t, exitFailed, "or the operation has gone on", "verify", file, "--record")
	s.ok(t, "verify", file)
}

func TestReportThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	id := s.detached(t, "d1")
	dir := t.TempDir()
	s.refused(t, exitUsage, "there is no format", "report", id, "--format", "pdf")
	s.refused(t, exitUsage, "there is no format", "report", id, "-o", filepath.Join(dir, "e.pdf"))
	s.refused(t, exitUsage, "no such operation", "report", "nowhere", "-o", filepath.Join(dir, "e.html"))
	s.refused(t, exitUsage, "no such file", "report", id, "-o", "/nowhere/e.html")
	s.refused(t, exitUsage, "no such file", "verify", filepath.Join(dir, "e.html"))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "whole or not at all")
	r := s.runWith(t, t.Context(), s.ok(t, "report", id), nil, "verify", "-")
	require.Equal(t, exitOK, r.code)
	require.Contains(t, r.err, "not final")
}
