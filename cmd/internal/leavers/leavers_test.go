package leavers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/tasks"
)

func known(alias string) bool { return alias == "hq" || alias == "branch" }

func readList(project, text string) (*List, error) {
	l := New(project, known)
	return l, l.Read(strings.NewReader(text))
}

func TestLeaversAreRead(t *testing.T) {
	t.Parallel()
	want := []Leaver{{Line: 2, Project: "hq", Desktop: "d1"}, {Line: 3, Project: "branch", Desktop: "d2"}}
	for name, text := range map[string]string{
		"plain":                 "project,desktop_id\nhq,d1\nbranch,d2\n",
		"no newline at the end": "project,desktop_id\nhq,d1\nbranch,d2",
		"other order":           "desktop_id,project\nd1,hq\nd2,branch\n",
		"byte order mark":       "\xef\xbb\xbfdesktop_id,project\nd1,hq\nd2,branch\n",
		"CRLF":                  "desktop_id,project\r\nd1,hq\r\nd2,branch\r\n",
		"quoted":                "\"desktop_id\",\"project\"\n\"d1\",\"hq\"\n\"d2\",branch\n",
		"semicolons":            "desktop_id;project\nd1;hq\nd2;branch\n",
		"id":                    "id,project\nd1,hq\nd2,branch\n",
		"desktop":               "desktop,project\nd1,hq\nd2,branch\n",
		"capitals and spaces":   " Desktop_ID , Project\n d1 , hq\nd2,branch\n",
		"empty rows at the end": "desktop_id,project\nd1,hq\nd2,branch\n,\n\n , \n",
		"empty columns":         "desktop_id,project,,\nd1,hq,,\nd2,branch\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := readList("", text)
			require.NoError(t, err)
			require.Empty(t, l.Bad)
			require.Equal(t, want, l.Good)
		})
	}
}

func TestLeaversWithLinesInQuotedFieldsKeepTheirLineNumbers(t *testing.T) {
	t.Parallel()
	l, err := readList("hq", "desktop_id,reason\nd1,\"left\non Monday, really\"\n\nd 2,\nd3,x\n")
	require.NoError(t, err)
	require.Equal(t, []Leaver{{Line: 2, Project: "hq", Desktop: "d1"}, {Line: 6, Project: "hq", Desktop: "d3"}}, l.Good)
	require.Equal(t, []string{"reason"}, l.Unknown)
	require.Len(t, l.Bad, 1)
	require.Equal(t, 5, l.Bad[0].Line)
}

func TestLeaversReportsEveryBadRow(t *testing.T) {
	t.Parallel()
	l, err := readList("", strings.Join([]string{
		"desktop_id,project,note",
		"d1,hq,",             // 2
		",hq,no id",          // 3
		"d2,nowhere,",        // 4
		"d3,,",               // 5
		"d1,hq,again",        // 6
		"d4,hq",              // 7
		`d5,hq,"open" quote`, // 8
		"d1,branch,",         // 9: another desktop
		"d6,hq,x,y",          // 10
		"d\x1b[2J,hq,",       // 11
	}, "\n"))
	require.NoError(t, err)
	require.Equal(t, []Leaver{{Line: 2, Project: "hq", Desktop: "d1"}, {Line: 9, Project: "branch", Desktop: "d1"}}, l.Good)
	var lines []int
	for _, b := range l.Bad {
		lines = append(lines, b.Line)
	}
	require.Equal(t, []int{3, 4, 5, 7, 8, 10, 11}, lines, "line 6 says the same as line 2")
	require.Equal(t, 7, l.BadRows)
	require.Contains(t, l.Bad[0].String(), "is empty")
	require.Contains(t, l.Bad[1].String(), `project "nowhere" is not configured`)
	require.Contains(t, l.Bad[2].String(), "has no project")
	require.NotContains(t, l.Bad[6].String(), "\x1b")
}

func TestLeaversProjectOfTheCommandLine(t *testing.T) {
	t.Parallel()
	l, err := readList("hq", "desktop_id,project\nd1,\nd2,hq\nd3,branch\n")
	require.NoError(t, err)
	require.Equal(t, []Leaver{{Line: 2, Project: "hq", Desktop: "d1"}, {Line: 3, Project: "hq", Desktop: "d2"}}, l.Good)
	require.Len(t, l.Bad, 1)
	require.Contains(t, l.Bad[0].String(), `line 4: project "branch" differs from the project of the list, "hq"`)
}

func TestLeaversOfArgumentsAndFile(t *testing.T) {
	t.Parallel()
	l := New("hq", known)
	require.NoError(t, l.Add(Leaver{Desktop: "d1"}))
	require.NoError(t, l.Read(strings.NewReader("id\nd1\nd2\n")))
	require.Equal(t, []Leaver{{Line: 0, Project: "hq", Desktop: "d1"}, {Line: 3, Project: "hq", Desktop: "d2"}}, l.Good)
	require.Empty(t, l.Bad, "what says the same counts once")
}

func TestLeaversFilesThatAreNoLists(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "is empty"},
		"no such column":  {"kennel,note\na,b\n", "no column desktop_id"},
		"two columns":     {"desktop_id,id\na,b\n", "several columns name the desktop"},
		"broken header":   {"desk\"top,id\na,b\n", "header row cannot be read"},
		"UTF-16":          {"\xff\xfed\x00e\x00x", "UTF-16"},
		"only a newline":  {"\n", "is empty"},
		"an HTML page":    {"<html>\n<body>sign in</body>\n", "no column desktop_id"},
		"ids, no header":  {"8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11\n", "no column desktop_id"},
		"too large a row": {"id\n" + strings.Repeat("x", MaxFileBytes), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readList("hq", c.text)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestLeaversMoreThanOneOperationHolds(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("id\n")
	for i := range tasks.MaxDesktops + 1 {
		fmt.Fprintf(&b, "d%d\n", i)
	}
	_, err := readList("hq", b.String())
	require.ErrorContains(t, err, "more than 100000 desktops of project hq")
}

func TestLeaversKeepsOnlySomeBadRows(t *testing.T) {
	t.Parallel()
	l, err := readList("hq", "id\n"+strings.Repeat("a b\n", maxBadRows+5))
	require.NoError(t, err)
	require.Len(t, l.Bad, maxBadRows)
	require.Equal(t, maxBadRows+5, l.BadRows)
}

// FuzzLeavers holds whatever a file has in it to what the rest relies on: no
// desktop twice, none that a producer would refuse, none that is not in the
// file, and every row accounted for with a line number.
func FuzzLeavers(f *testing.F) {
	for _, seed := range []string{
		"", "desktop_id\nd1\n", "\xef\xbb\xbfid;project\r\nd1;hq\r\nd1;hq\r\n", "id,project\n\"d1\nx\",hq\n\"", "project,id\n,,\nhq\n",
		"user\nzoe\n", "id,user\nd1,zoe\nd1,bob\n,x\n",
	} {
		f.Add("hq", seed)
		f.Add("", seed)
	}
	f.Fuzz(func(t *testing.T, project, text string) {
		l, err := readList(project, text)
		if err != nil {
			return
		}
		decoded, err := Text(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%q is a list, and no text: %v", text, err)
		}
		lines := strings.Count(decoded, "\n") + 1
		seen := map[[3]string]bool{}
		for _, x := range l.Good {
			key := [3]string{x.Project, x.row(), x.guard()}
			in := func(s string) bool {
				return strings.Contains(strings.ToLower(norm.NFC.String(decoded)), strings.ToLower(s)) || strings.Contains(decoded, `"`) || !norm.NFC.IsNormalString(decoded)
			}
			if seen[key] || x.problem() != "" || !known(x.Project) || !in(x.Desktop) || !in(x.Computer) || !in(x.User) {
				t.Errorf("row %+v must not be taken", x)
			}
			seen[key] = true
			if x.Line < 2 || x.Line > lines {
				t.Errorf("row %+v has no such line", x)
			}
		}
		for _, b := range l.Bad {
			if b.Line < 2 || b.Line > lines || b.Problem == "" {
				t.Errorf("bad row %+v", b)
			}
		}
	})
}

func TestLeaversWithUsers(t *testing.T) {
	t.Parallel()
	l, err := readList("hq", "desktop_id,user_name\nd1,zoe\nd1,bob\nd1,zoe\nd2,\nd2,zoe\nd1,\n,zoe\nd3,\"a\tb\"\n")
	require.NoError(t, err)
	require.Equal(t, []Leaver{{Line: 2, Project: "hq", Desktop: "d1", User: "zoe"}, {Line: 3, Project: "hq", Desktop: "d1", User: "bob"}, {Line: 5, Project: "hq", Desktop: "d2"}}, l.Good)
	var bad []string
	for _, b := range l.Bad {
		bad = append(bad, b.String())
	}
	require.Equal(t, []string{
		`line 6: desktop "d2" is already on line 5, once with a user and once without`,
		`line 7: desktop "d1" is already on line 2, once with a user and once without`,
		`line 8: has the user "zoe" and no desktop: to detach all desktops of a user, use a file without the desktop column`,
		`line 9: user "a\tb" has a control character`,
	}, bad)
}

func TestLeaversThatAreUsers(t *testing.T) {
	t.Parallel()
	l, err := readList("", "user,project,team\nzoe,hq,a\nzoe,branch,a\nbob,hq,b\nzoe,hq,a\n")
	require.NoError(t, err)
	require.Equal(t, []Leaver{{Line: 2, Project: "hq", User: "zoe"}, {Line: 3, Project: "branch", User: "zoe"}, {Line: 4, Project: "hq", User: "bob"}}, l.Good)
	require.Empty(t, l.Bad)

	// A misspelt column of desktops must not turn into all desktops of the users.
	for _, name := range []string{"Desktops", "uuid", "cloud desktop", "Serial number", "VMHost", "Desktop type", "name"} {
		_, err := readList("hq", "user,"+name+"\nzoe,d1\n")
		require.ErrorContains(t, err, "all desktops of the users would be detached", name)
	}
}
