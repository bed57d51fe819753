package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/harmless"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// auditFile is a file of n entries with hostile texts, and their hashes, the latest first.
func auditFile(t *testing.T, n int, next string) (file string, events []tasks.AuditEvent) {
	t.Helper()
	r := record.New(redistest.Mini(t), record.Config{})
	for range n {
		_, err := r.AppendAudit(t.Context(), tasks.AuditEvent{
			At: time.Now(), Action: tasks.AuditKeyRevoked, Outcome: tasks.AuditStarted, Owner: "Zoe \u202e\u001b[31m",
			Reason: "left <b>\"],\n}", Detail: "\x9b\U0001F600\xff",
		})
		require.NoError(t, err)
	}
	events, _, err := r.AuditLog(t.Context(), tasks.AuditFilter{}, 1000, "")
	require.NoError(t, err)
	require.Len(t, events, n)
	var out bytes.Buffer
	w := NewAuditWriter(&out)
	for _, e := range events {
		require.NoError(t, w.Write(e))
	}
	require.NoError(t, w.Close(next))
	return out.String(), events
}

func verifyAudit(file, hash string) (AuditResult, error) {
	return VerifyAudit(bufio.NewReader(strings.NewReader(file)), hash)
}

func TestAuditFile(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"", "a\u001b\"b"} {
		for n := range 4 {
			file, events := auditFile(t, n, next)
			require.True(t, IsAudit(bufio.NewReader(strings.NewReader(file))))
			require.Equal(t, string(harmless.JSON([]byte(file))), file, "no text acts on a terminal")
			var page struct {
				Items []tasks.AuditEvent `json:"items"`
				Next  string             `json:"next_page_token"`
			}
			require.NoError(t, json.Unmarshal([]byte(file), &page), "it is one document: %s", file)
			require.Len(t, page.Items, n)
			require.Equal(t, next, page.Next)
			res, err := verifyAudit(file, "")
			require.NoError(t, err, file)
			if n == 0 {
				require.Equal(t, AuditResult{}, res)
				continue
			}
			require.Equal(t, AuditResult{First: 1, Last: int64(n), Head: events[0].Hash}, res)
			res, err = verifyAudit(file, strings.ToUpper(events[n-1].Hash))
			require.NoError(t, err)
			require.Equal(t, int64(1), res.HeadAt)
		}
	}
}

// Every altered, added or removed byte is found, and every entry that is missing in between.
func TestAlteredAuditFile(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"", "token"} {
		file, _ := auditFile(t, 4, next)
		refused := func(text, what string) {
			t.Helper()
			if !IsAudit(bufio.NewReader(strings.NewReader(text))) {
				return // another kind of file
			}
			_, err := verifyAudit(text, "")
			require.ErrorIs(t, err, ErrAuditAltered, "%s: %s", what, text)
		}
		end := len(file)
		if next != "" {
			end = strings.LastIndex(file, "token") // a token is not evidence
		}
		for i := range end {
			altered := []byte(file)
			altered[i] ^= 1
			refused(string(altered), "altered")
			refused(file[:i]+file[i+1:], "removed")
			refused(file[:i]+" "+file[i:], "added")
		}
		refused(file+" ", "added at the end")
		lines := strings.SplitAfter(file, "\n")
		for i := 1; i < len(lines)-1; i++ {
			refused(strings.Join(lines[:i], ""), "cut off")
			if 1 < i && i < 4 {
				refused(strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), ""), "an entry less")
			}
			if i < 5 {
				refused(strings.Join(append(append([]string{}, lines[:i+1]...), lines[i:]...), ""), "an entry twice")
			}
		}
	}
}
