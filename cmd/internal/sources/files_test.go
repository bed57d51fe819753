package sources

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/leavers"
	"github.com/detachd/detachd/tasks"
)

// lists is a directory of lists, beside one with files that are nobody's business.
type lists struct {
	t       *testing.T
	dir     string
	outside string
	r       *Reader
}

// newLists makes a Reader that does not wait; meanwhile runs what happens while it would.
func newLists(t *testing.T) *lists {
	t.Helper()
	top := t.TempDir()
	l := &lists{t: t, dir: filepath.Join(top, "lists"), outside: filepath.Join(top, "outside")}
	require.NoError(t, os.Mkdir(l.dir, 0o755))
	require.NoError(t, os.Mkdir(l.outside, 0o755))
	l.r = New(Config{Lists: l.dir, Settle: 5 * time.Second})
	l.meanwhile(func() {})
	return l
}

func (l *lists) meanwhile(f func()) {
	l.r.wait = func(_ context.Context, d time.Duration) error {
		require.Equal(l.t, 5*time.Second, d)
		f()
		return nil
	}
}

func (l *lists) write(name, text string) {
	l.t.Helper()
	require.NoError(l.t, os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600))
}

func (l *lists) add(name, text string) {
	l.t.Helper()
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	require.NoError(l.t, err)
	_, err = f.WriteString(text)
	require.NoError(l.t, err)
	require.NoError(l.t, f.Close())
}

// named is a schedule with a file, as a person adds it.
func named(file string) tasks.Schedule {
	return tasks.Schedule{Name: "nightly", Project: "hq", Owner: "ann", Ticket: "HR-1", Source: tasks.ScheduleSource{File: file}}
}

func configured(file string) tasks.Schedule {
	s := named(file)
	s.Configured = true
	return s
}

func (l *lists) read(s tasks.Schedule) Found {
	l.t.Helper()
	found, err := l.r.Read(l.t.Context(), s, -1)
	require.NoError(l.t, err)
	return found
}

// one is the list of a schedule with one file.
func (l *lists) one(s tasks.Schedule) List {
	l.t.Helper()
	found := l.read(s)
	require.Len(l.t, found.Lists, 1)
	if err := found.Lists[0].Err; err != nil {
		require.Empty(l.t, found.Lists[0].Requests, "half a list")
		require.ErrorContains(l.t, found.Err(), err.Error())
		require.Zero(l.t, found.Rows)
	}
	return found.Lists[0]
}

func TestAListIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	l.write("leavers.csv", "desktop_id,user\nd1,zoe\nd2,\nd1,kim\n")
	s := named("leavers.csv")
	s.Urgent, s.AllowShared, s.ShutoffAfterDetach, s.UnknownUsers, s.Reason = true, true, true, tasks.IgnoreUnknown, "left"
	got := l.one(s)
	require.NoError(t, got.Err)
	require.Equal(t, "leavers.csv", got.File)
	require.Len(t, got.SHA256, 64)
	require.Equal(t, []tasks.Request{{
		Project: "hq", Desktops: []string{"d1", "d2"}, Expect: map[string][]string{"d1": {"zoe", "kim"}}, UnknownUsers: tasks.IgnoreUnknown,
		AllowShared: true, ShutoffAfterDetach: true, Urgent: true, RequestedBy: "schedule:nightly", Owner: "ann", Reason: "left", Ticket: "HR-1",
	}}, got.Requests)
	require.Equal(t, 3, l.read(s).Rows)
}

// However a file changes while it is picked up, it is taken later.
// The tick of a schedule waits for nobody's last day: the list is refused until it has come.
func TestAListOfPeopleWhoLeaveLater(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	l.write("leavers.csv", "user,last day\nzoe,2026-01-31\nkim,2199-12-31\n")
	require.ErrorContains(t, l.one(configured("leavers.csv")).Err, `line 3: column "last day" has a date to come`)
	l.write("leavers.csv", "user,status\nzoe,terminated\nkim,active\n")
	require.ErrorContains(t, l.one(configured("leavers.csv")).Err, `line 3: column "status" says "active"`)
}

func TestAFileThatChangesIsNotReady(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(l *lists, path string){
		"grows":        func(l *lists, _ string) { l.add("a.csv", "kim\n") },
		"shrinks":      func(l *lists, path string) { require.NoError(l.t, os.Truncate(path, 5)) },
		"is rewritten": func(l *lists, path string) { l.write("a.csv", "user\nkim\n"); l.touch(path, 1) },
		"is replaced": func(l *lists, path string) {
			l.write("b", "user\nkim\n")
			require.NoError(l.t, os.Rename(filepath.Join(l.dir, "b"), path))
		},
		"is touched": func(l *lists, path string) { l.touch(path, 1) },
		"becomes a dir": func(l *lists, path string) {
			require.NoError(l.t, os.Remove(path))
			require.NoError(l.t, os.Mkdir(path, 0o755))
		},
		"goes away": func(l *lists, path string) { require.NoError(l.t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLists(t)
			l.write("a.csv", "user\nzoe\n")
			path := filepath.Join(l.dir, "a.csv")
			l.touch(path, 0)
			l.meanwhile(func() { change(l, path) })
			got := l.one(named("a.csv"))
			require.Error(t, got.Err)
			require.Empty(t, got.SHA256)
			if name != "becomes a dir" && name != "goes away" {
				require.ErrorIs(t, got.Err, ErrNotReady)
				require.ErrorIs(t, Found{Lists: []List{got}}.Err(), ErrNotReady)
			}
		})
	}
}

// touch sets the time of a file, in seconds after the same moment.
func (l *lists) touch(path string, seconds int64) {
	l.t.Helper()
	at := time.Unix(1_790_000_000+seconds, 0)
	require.NoError(l.t, os.Chtimes(path, at, at))
}

// A change between the two looks at a file is seen, also one during the reading, and one that is
// taken back.
func TestAFileThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	rewrite := func(l *lists) { l.write("a.csv", "user\nkim\n"); l.touch(filepath.Join(l.dir, "a.csv"), 1) }
	swap := func(from, to string) func(l *lists) {
		return func(l *lists) { require.NoError(l.t, os.Rename(filepath.Join(l.dir, from), filepath.Join(l.dir, to))) }
	}
	nothing := func(*lists) {}
	for name, before := range map[string][3]func(l *lists){ // the first look, the reading, and the last look
		"nothing":            {nothing, nothing, nothing},
		"grows":              {nothing, nothing, func(l *lists) { l.add("a.csv", "kim\n") }},
		"is rewritten":       {nothing, nothing, rewrite},
		"is rewritten early": {nothing, rewrite, nothing},
		"is another for a moment": {nothing, func(l *lists) { swap("a.csv", "c")(l); swap("b", "a.csv")(l) },
			func(l *lists) { swap("a.csv", "b")(l); swap("c", "a.csv")(l) }},
	} {
		l := newLists(t)
		l.write("a.csv", "user\nzoe\n")
		l.write("b", "user\nbob\n")
		l.touch(filepath.Join(l.dir, "a.csv"), 0)
		l.touch(filepath.Join(l.dir, "b"), 0)
		p, closeRoot, err := l.r.place(named("a.csv"), "a.csv")
		require.NoError(t, err)
		open, n := p.open, 0
		p.open = func(name string) (*os.File, error) {
			before[n](l)
			n++
			return open(name)
		}
		info, err := p.stat("a.csv")
		require.NoError(t, err)
		text, err := p.read("a.csv", info)
		if name == "nothing" {
			require.NoError(t, err)
			require.Equal(t, "user\nzoe\n", string(text))
		} else {
			require.ErrorIs(t, err, ErrNotReady, name)
		}
		closeRoot()
	}
}

// A list that somebody writes in pieces is taken when it is whole, whatever the pieces.
func TestAFileThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	var whole strings.Builder
	whole.WriteString("user\n")
	for i := range 300 {
		fmt.Fprintf(&whole, "user-%03d\n", i)
	}
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 0))
		l := newLists(t)
		rest := whole.String()
		l.meanwhile(func() {
			n := min(len(rest), 1+random.IntN(200))
			l.add("leavers.csv", rest[:n])
			rest = rest[n:]
		})
		l.r.wait(t.Context(), 5*time.Second) //nolint:errcheck // the file exists now
		for {
			ended := rest == ""
			got := l.one(named("leavers*.csv"))
			if got.Err == nil {
				require.True(t, ended)
				require.Len(t, got.Requests[0].Users, 300)
				break
			}
			require.False(t, ended)
			require.ErrorIs(t, got.Err, ErrNotReady)
		}
	}
}

// The same content is the same list, however often and under whatever name.
func TestTheSameFileTwice(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	l.write("a.csv", "user\nzoe\nann\n")
	l.write("b.csv", "user\nzoe\nann\n")
	l.write("c.csv", "user\nann\nzoe\n")
	first := l.read(named("*.csv"))
	require.NoError(t, first.Err())
	require.Equal(t, first, l.read(named("*.csv")))
	require.Equal(t, []string{"a.csv", "b.csv", "c.csv"}, []string{first.Lists[0].File, first.Lists[1].File, first.Lists[2].File})
	require.Equal(t, first.Lists[0].SHA256, first.Lists[1].SHA256)
	require.Equal(t, first.Lists[0].Requests, first.Lists[1].Requests)
	require.NotEqual(t, first.Lists[0].SHA256, first.Lists[2].SHA256)
}

// A list may have 100,000 users: they are as many requests as it takes, each valid.
func TestAListOf100000Users(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	var text strings.Builder
	text.WriteString("user\n")
	for i := range tasks.MaxDesktops {
		fmt.Fprintf(&text, "leaver-%06d\n", i)
	}
	l.write("all.csv", text.String())
	got := l.one(named("all.csv"))
	require.NoError(t, got.Err)
	require.Len(t, got.Requests, 10)
	seen := map[string]bool{}
	for _, r := range got.Requests {
		require.NoError(t, r.Validate(func(string) bool { return true }, time.Now()))
		for _, u := range r.Users {
			require.False(t, seen[u], u)
			seen[u] = true
		}
	}
	require.Len(t, seen, tasks.MaxDesktops)
	l.add("all.csv", "one-more\n")
	require.ErrorContains(t, l.one(configured("all.csv")).Err, "more than 100000 users and computers")
}

// Desktops and computers with their users stay together, whatever the number of rows.
func TestSplit(t *testing.T) {
	t.Parallel()
	var users, computers []string
	expect := map[string][]string{"d1": {"zoe"}}
	for i := range 9_999 {
		users = append(users, fmt.Sprintf("u%d", i))
	}
	for i := range 10_002 {
		name := fmt.Sprintf("PC-%d", i)
		computers = append(computers, name)
		expect[tasks.ComputerRow(name)] = []string{"zoe"}
	}
	got := split(tasks.Request{Project: "hq"}, []string{"d1"}, users, computers, expect)
	require.Len(t, got, 3)
	rows := 0
	for _, r := range got {
		require.NoError(t, r.Validate(func(string) bool { return true }, time.Now()))
		require.Len(t, r.Expect, len(r.Desktops)+len(r.Computers))
		rows += len(r.Desktops) + len(r.Computers) + len(r.Users)
	}
	require.Equal(t, 20_002, rows)
	require.Empty(t, split(tasks.Request{}, nil, nil, nil, nil))
}

// One bad row refuses a list, and says where it is. Who may add a schedule may not be who may
// read the file: the text shows nothing of it.
func TestABrokenListIsRefusedWhole(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"user\nzoe\nsecret\tuser\nkim\n":     "line 3",
		"user,project\nzoe,hq\nkim,secret\n": "line 3",
		"user,note\nzoe,x\nsecret\n":         "line 3",
		"user\nzoe\n\"secret\n":              "",
		"secret-a,secret-b\n1,2\n":           "",
		"username,userid\nsecret,zoe\n":      "",
		"":                                   "",
		"PK\x03\x04secret":                   "",
		"user\nzoe\n" + strings.Repeat("secret\tx\n", 12) + "a\n": "12 of its rows cannot be used, and nothing of it was taken: line 3, line 4, line 5, line 6, line 7, line 8, line 9, line 10, line 11, line 12, and 2 more",
	} {
		l := newLists(t)
		l.write("bad.csv", text)
		l.write("good.csv", "user\nzoe\n")
		got := l.read(named("*.csv"))
		require.Len(t, got.Lists, 2)
		require.ErrorContains(t, got.Lists[0].Err, "nothing of it was taken", text)
		require.ErrorContains(t, got.Lists[0].Err, want)
		require.NotErrorIs(t, got.Err(), ErrNotReady)
		require.NotContains(t, got.Err().Error(), "secret")
		require.Empty(t, got.Lists[0].Requests)
		require.Len(t, got.Lists[1].Requests, 1, "the other list is taken")
		require.Equal(t, 1, got.Rows)

		l.write("bad.csv", text)
		full := l.one(configured("bad.csv")).Err
		require.ErrorContains(t, full, "nothing of it was taken")
		if strings.HasPrefix(text, "user\n") && want != "" {
			require.ErrorContains(t, full, "secret", "the configuration is of who has the files")
		}
	}
}

// A list without rows is nobody.
func TestAListOfNobody(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	l.write("none.csv", "user\n")
	got := l.one(named("none.csv"))
	require.NoError(t, got.Err)
	require.Empty(t, got.Requests)
	require.NotEmpty(t, got.SHA256)
}

// Whatever a schedule of a person names, nothing outside of the directory is read, and the
// answer is the same whether there is something or not.
func TestNothingOutsideIsRead(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	secret := filepath.Join(l.outside, "secret.csv")
	require.NoError(t, os.WriteFile(secret, []byte("user\nsecret\n"), 0o600))
	l.write("good.csv", "user\nzoe\n")
	link := func(to, name string) { require.NoError(t, os.Symlink(to, filepath.Join(l.dir, name))) }
	link(secret, "absolute")
	link("../outside/secret.csv", "relative")
	link("../outside/absent.csv", "dangling")
	link("../outside", "dir")
	link("/dev/zero", "device")
	link("/proc/self/environ", "environ")
	link("good.csv", "inside")
	link("../lists/good.csv", "around")
	require.NoError(t, os.Mkdir(filepath.Join(l.dir, "sub"), 0o755))
	require.NoError(t, syscall.Mkfifo(filepath.Join(l.dir, "pipe"), 0o600))
	link("pipe", "to-pipe")

	require.NoError(t, l.one(named("good.csv")).Err)
	require.NoError(t, l.one(named("inside")).Err)
	require.NoError(t, l.one(named("sub/../good.csv")).Err)
	for _, name := range []string{
		"absolute", "relative", "dangling", "dir/secret.csv", "dir/absent.csv", "device", "environ", "around", "sub", "pipe", "to-pipe", "absent", "good.csv/x",
	} {
		require.Equal(t, errUnreadable, l.one(named(name)).Err, name)
	}
	for _, pattern := range []string{"dir/*", "absent/*", "pipe/*", "good.csv/*"} {
		_, err := l.r.Read(t.Context(), named(pattern), -1)
		require.Equal(t, errUnreadable, err, pattern)
	}
	for _, name := range []string{secret, "../outside/secret.csv", "../outside/absent.csv", "sub/../../outside/secret.csv", "..", "/", "/etc/passwd", filepath.Join(l.dir, "good.csv"), "../*", "*/../../outside/*"} {
		_, err := l.r.Read(t.Context(), named(name), -1)
		require.ErrorContains(t, err, "invalid file", name)
		require.NotContains(t, strings.ReplaceAll(err.Error(), fmt.Sprintf("%q", filepath.Clean(name)), ""), l.outside)
	}
	for _, x := range l.read(named("*")).Lists {
		taken := x.File == "good.csv" || x.File == "inside"
		require.Equal(t, taken, x.Err == nil, x.File)
		if !taken {
			require.Equal(t, errUnreadable, x.Err)
		}
	}

	// The configuration is of who has the machine.
	require.NoError(t, l.one(configured(secret)).Err)
	require.NoError(t, l.one(configured("../outside/secret.csv")).Err)
	require.NoError(t, l.one(configured("relative")).Err)
	require.ErrorContains(t, l.one(configured("pipe")).Err, "not a regular file")
	require.ErrorIs(t, l.one(configured("absent")).Err, os.ErrNotExist)

	l.r.cfg.Lists = ""
	_, err := l.r.Read(t.Context(), named("good.csv"), -1)
	require.ErrorContains(t, err, "set worker.lists")
	l.r.cfg.Lists = filepath.Join(l.dir, "absent")
	_, err = l.r.Read(t.Context(), named("good.csv"), -1)
	require.ErrorContains(t, err, "the directory worker.lists cannot be read")
}

// A link that is turned while the file is picked up leads nowhere else.
func TestALinkThatIsTurned(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	require.NoError(t, os.WriteFile(filepath.Join(l.outside, "secret.csv"), []byte("user\nsecret\n"), 0o600))
	l.write("good.csv", "user\nzoe\n")
	link := filepath.Join(l.dir, "link")
	require.NoError(t, os.Symlink("good.csv", link))
	l.meanwhile(func() {
		require.NoError(t, os.Remove(link))
		require.NoError(t, os.Symlink("../outside/secret.csv", link))
	})
	require.Equal(t, errUnreadable, l.one(named("link")).Err)
}

func TestAFileThatIsTooLarge(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	l.write("huge.csv", "user\n")
	require.NoError(t, os.Truncate(filepath.Join(l.dir, "huge.csv"), leavers.MaxFileBytes+1))
	require.ErrorContains(t, l.one(named("huge.csv")).Err, "larger than 64 MiB")
	for i := range 4 {
		l.write(fmt.Sprintf("%d.csv", i), "user\n")
		require.NoError(t, os.Truncate(filepath.Join(l.dir, fmt.Sprintf("%d.csv", i)), leavers.MaxFileBytes))
	}
	_, err := l.r.Read(t.Context(), named("*.csv"), -1)
	require.ErrorContains(t, err, "larger than 256 MiB together")
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	require.Equal(t, Found{Note: "no file matches the pattern"}, l.read(named("*.csv")))
	require.NoError(t, os.Mkdir(filepath.Join(l.dir, "dir.csv"), 0o755))
	for _, name := range []string{"b.csv", "a.csv", ".a.csv", "~$a.csv", "a.csv.part", "dir.csv/c.csv"} {
		l.write(name, "user\nzoe\n")
	}
	files := func(pattern string) (out []string) {
		for _, x := range l.read(named(pattern)).Lists {
			require.NoError(t, x.Err)
			out = append(out, x.File)
		}
		return out
	}
	require.Equal(t, []string{"a.csv", "b.csv"}, files("*.csv"))
	require.Equal(t, []string{".a.csv"}, files(".*.csv"))
	require.Equal(t, []string{"c.csv"}, files("dir.csv/*"))
	require.Equal(t, []string{"a.csv"}, files("a.*v"))
	for _, bad := range []string{"d*/c.csv", "[.csv"} {
		_, err := l.r.Read(t.Context(), named(bad), -1)
		require.ErrorContains(t, err, "invalid file")
	}
	for i := range maxFiles {
		l.write(fmt.Sprintf("dir.csv/%04d.csv", i), "")
	}
	_, err := l.r.Read(t.Context(), named("dir.csv/*.csv"), -1)
	require.ErrorContains(t, err, "more than 1000 files")
}

// Who stops waiting gets no list.
func TestReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	l := newLists(t)
	l.write("a.csv", "user\nzoe\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	l.r.wait = wait
	_, err := l.r.Read(ctx, named("a.csv"), -1)
	require.ErrorIs(t, err, ErrNotReady)
	require.ErrorIs(t, err, why)
	l.meanwhile(func() {})
	_, err = l.r.Read(ctx, named("a.csv"), -1)
	require.ErrorIs(t, err, ErrNotReady)
}

func TestListsWithinASchedule(t *testing.T) {
	t.Parallel()
	s := named("")
	s.Source = tasks.ScheduleSource{Desktops: []string{"d1"}, Users: []string{"zoe"}, Computers: []string{"PC-1"}}
	found, err := New(Config{}).Read(t.Context(), s, -1)
	require.NoError(t, err)
	require.Equal(t, 3, found.Rows)
	require.Len(t, found.Lists, 1)
	require.Equal(t, []tasks.Request{{
		Project: "hq", Desktops: []string{"d1"}, Users: []string{"zoe"}, Computers: []string{"PC-1"}, RequestedBy: "schedule:nightly", Owner: "ann", Ticket: "HR-1",
	}}, found.Lists[0].Requests)
	require.Empty(t, found.Lists[0].SHA256)
}
