package leavers

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func notesOf(t *testing.T, text string) string {
	t.Helper()
	l := New("hq", known)
	l.Now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	l.AnyDate = true
	require.NoError(t, l.Read(strings.NewReader(text)))
	return strings.Join(l.Notes(), " ")
}

func TestRowsThatNameNoUserAmongOthers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"desktop_id,user\nd1,zoe\nd2,\nd3, \n": "rows with a desktop or computer and no user: 2 of 3. Whoever has it loses it.",
		"computer,user\nWS-1,zoe\nWS-2,\n":     "rows with a desktop or computer and no user: 1 of 2. Whoever has it loses it.",
		"desktop_id,user\nd1,\nd2,\n":          "",
		"desktop_id\nd1\n":                     "",
		"user\nzoe\n":                          "",
		"desktop_id,user\nd1,zoe\nuser:bob,\n": "",
	} {
		require.Equal(t, want, notesOf(t, text), text)
	}
}

// Nothing waits for the last day of somebody who has not left yet, so people are told.
func TestDatesToComeInIgnoredColumns(t *testing.T) {
	t.Parallel()
	for date, toCome := range map[string]bool{
		"2026-12-31": true, "2026-11-28": true, "2026-11-27": false, "2026-11-26": false, "31.12.2026": true, "1.12.2026": true, "31.10.2026": false,
		"2026/12/31": true, "12/31/2026": true, "31/12/2026": true, "03/04/2027": true, "12/11/2026": true /* or 12 November: nobody knows */, "31-Dec-2026": true, "Dec 31, 2026": true,
		"2026年12月31日": true, "2026-12-31T18:00:00+08:00": true, "2026-12-31 18:00": true, "20261231": true, "later": false, "": false, "99.99.2027": false,
	} {
		want := ""
		switch {
		case date == "later", date == "99.99.2027":
			want = `column "last day" is ignored, and in 2 of the rows it is not clear whether its day is to come, the first in line 3: "` + date + `".`
		case toCome:
			want = `column "last day" is ignored, and has dates to come in 2 of the rows, the first in line 3: "` + date + `". Nothing waits for them.`
		}
		require.Equal(t, want, notesOf(t, "user,last day,note\nann,2026-01-31,\nzoe,\""+date+"\",\nbob,\" "+date+"\",\n"), date)
	}
	require.Equal(t, `column 2 is ignored, and has dates to come in 1 of the rows, the first in line 2: "2027-01-01". Nothing waits for them.`,
		notesOf(t, "user,,note\nann,2027-01-01,x\n"))
	require.Equal(t, `column "note" is ignored, and has dates to come in 1 of the rows, the first in line 3: "last day is 31.12.2026". Nothing waits for them.`,
		notesOf(t, "user,note\nann,x\nzoe,last day is 31.12.2026\n"))
	require.Equal(t, `column "Status" is ignored, and says in 1 of the rows that the person may still work, the first in line 2: "Notice period". `+
		"Nothing waits for the last day.", notesOf(t, "user,Status\nann,Notice period\nzoe,Terminated\n"))
}
