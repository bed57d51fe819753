package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
)

// ended has desktops of hq detached by a worker, d2 failing, and gives the
// operation as sealed.
func (s *stage) ended(t *testing.T) tasks.Operation {
	t.Helper()
	s.cloud.Fail(fakecloud.Refused("d2", "WKS.00010110", "no <address>"))
	s.worker(t)
	r := s.run(t, "detach", "d1", "d2", "--project", "hq", "--wait", "--reason", "left", "--ticket", "HR-1")
	require.Equal(t, exitFailed, r.code, r.err)
	ended, err := s.store(t).Record.Finish(t.Context(), []string{s.operations(t)[0].ID})
	require.NoError(t, err)
	require.Len(t, ended, 1)
	return ended[0].Operation
}

func TestReportAndVerify(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		op := s.ended(t)
		for format, begins := range map[string]string{"html": "<!DOCTYPE html>", "csv": "line,subject,", "json": `{"format":"detachd report 1"`} {
			text := s.ok(t, "report", op.ID, "--format", strings.ToUpper(format))
			require.True(t, strings.HasPrefix(text, begins), text)
			require.Contains(t, text, "HR-1")
			r := s.runWith(t, t.Context(), text, nil, "verify", "-")
			require.Equal(t, exitOK, r.code, r.err)
			for _, want := range []string{op.ID, op.Seal, "rows        2", "sha256", format} {
				require.Contains(t, r.out, want)
			}
			require.Contains(t, r.err, "--record", "what is not proven is said")

			file := filepath.Join(t.TempDir(), "evidence."+format)
			require.NoError(t, os.WriteFile(file, []byte("an older one"), 0o644))
			require.Empty(t, s.ok(t, "report", op.ID, "-o", file))
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			r = s.run(t, "verify", file, "--record", "--head", strings.ToUpper(op.Seal))
			require.Equal(t, exitOK, r.code, r.err)
			require.Contains(t, r.out, "the record gives exactly this report")
			require.Contains(t, r.out, "matches the audit seal of the report")
			require.Empty(t, r.err)

			whole, err := os.ReadFile(file)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(whole), begins))
			altered := strings.Replace(string(whole), "HR-1", "HR-2", 1)
			require.NoError(t, os.WriteFile(file, []byte(altered), 0o600))
			s.refused(t, exitFailed, "the report was altered", "verify", file)
			require.NoError(t, os.WriteFile(file, whole[:len(whole)/2], 0o600))
			s.refused(t, exitFailed, "the report was altered", "verify", file, "--record")
			names, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
			require.NoError(t, err)
			require.Equal(t, []string{file}, names, "nothing else is left")
		}
		require.Contains(t, s.ok(t, "report", op.ID), "<!DOCTYPE html>", "html is the default")
		require.Contains(t, s.ok(t, "report", op.ID, "-o", "-"), "<!DOCTYPE html>")
		r := s.runWith(t, t.Context(), s.ok(t, "report", op.ID, "--format", "csv"), nil, "verify", "-", "--head", op.Seal)
		require.Contains(t, r.err, "the audit seal proves no rows of a csv report")
		r = s.runWith(t, t.Context(), s.ok(t, "report", op.ID, "--format", "json"), nil, "verify", "-", "--head", op.Seal)
		require.Empty(t, r.err)
		require.Contains(t, r.out, "every step was replayed")
	})
}

func TestReportWrongUse(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		id := s.detached(t, "d1")
		dir := t.TempDir()
		for want, args := range map[string][]string{
			`unknown format "pdf"`:                  {"report", id, "--format", "pdf"},
			"does not say the format":               {"report", id, "-o", filepath.Join(dir, "evidence")},
			"evidence.pdf\": the name does not say": {"report", id, "-o", filepath.Join(dir, "evidence.pdf")},
			"no such file or directory":             {"report", id, "-o", filepath.Join(dir, "none", "evidence.csv")},
			"operation nowhere: no such":            {"report", "nowhere"},
			"nowhere: no such operation":            {"report", "nowhere", "-o", filepath.Join(dir, "e.csv")},
			"nothing.html":                          {"verify", filepath.Join(dir, "nothing.html")},
			"invalid --head \"12\"":                 {"verify", "-", "--head", "12"},
			"FILE is missing":                       {"verify"},
			"OPERATION is missing":                  {"report"},
			"unknown flag: --recrod":                {"verify", "-", "--recrod"},
			"flag needs an argument: --format\n":    {"report", id, "--format"},
		} {
			s.refused(t, exitUsage, want, args...)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		require.Empty(t, names)
		hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
		require.NoError(t, err)
		require.Empty(t, hidden, "nothing is left after an error")
		s.refused(t, exitFailed, "the report was altered, or is not a detachd report", "verify", s.config)
	})
}

func TestReportBeforeTheEnd(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		id := s.detached(t, "d1", "--at", "+2h")
		text := s.ok(t, "report", id)
		require.Contains(t, text, "This report is not final")
		r := s.runWith(t, t.Context(), text, nil, "verify", "-", "--record")
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.err, "not final")
		js := s.ok(t, "report", id, "--format", "json")
		s.ok(t, "cancel", id)
		r = s.runWith(t, t.Context(), text, nil, "verify", "-", "--record")
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.err, "the record has changed since")
		r = s.runWith(t, t.Context(), js, nil, "verify", "-", "--record")
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, "unchanged; not in the report: 1 newer entry")
	})
}

func TestReportOfAnAlteredRecord(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		op := s.ended(t)
		file := filepath.Join(t.TempDir(), "evidence.json")
		s.ok(t, "report", op.ID, "-o", file)
		before, err := os.ReadFile(file)
		require.NoError(t, err)

		other := strings.Repeat("0", 64)
		s.refused(t, exitFailed, "not "+other, "verify", file, "--head", other)

		trails := s.keysLike(t, "*{"+op.ID+"}:t:0*")
		require.Len(t, trails, 1)
		last, err := s.keys.LIndex(t.Context(), trails[0], -1).Result()
		require.NoError(t, err)
		require.NoError(t, s.keys.LSet(t.Context(), trails[0], -1, strings.Replace(last, `{"t":`, `{"t": `, 1)).Err())
		s.refused(t, exitFailed, "the record was altered", "report", op.ID, "-o", file)
		after, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(before), string(after), "the old report stays")
		s.refused(t, exitFailed, "the record was altered", "verify", file, "--record")

		for _, key := range s.keysLike(t, "*") {
			if !strings.Contains(key, ":access:") {
				s.keys.Del(t.Context(), key)
			}
		}
		s.refused(t, exitUsage, "no such operation", "verify", file, "--record")
		s.redis.Stop()
		require.Equal(t, exitOK, s.run(t, "verify", file).code, "by itself the report needs no Redis")
	})
}

// A device or a pipe is written to, and stays what it is; a link leads to the file that is replaced.
func TestReportIntoWhatIsNoFile(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		op := s.ended(t)
		dir := t.TempDir()
		file, link, device := filepath.Join(dir, "evidence.json"), filepath.Join(dir, "latest.json"), filepath.Join(dir, "device.json")
		require.NoError(t, os.WriteFile(file, []byte("an older one"), 0o600))
		require.NoError(t, os.Symlink(file, link))
		require.NoError(t, os.Symlink(os.DevNull, device))
		for _, name := range []string{link, device} {
			require.Empty(t, s.ok(t, "report", op.ID, "-o", name))
			info, err := os.Lstat(name)
			require.NoError(t, err)
			require.Equal(t, os.ModeSymlink, info.Mode().Type(), name)
		}
		require.Equal(t, exitOK, s.run(t, "verify", file).code)
		s.refused(t, exitUsage, "is a directory", "report", op.ID, "--format", "json", "-o", dir)
	})
}
