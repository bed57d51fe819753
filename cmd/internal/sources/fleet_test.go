package sources

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
	"github.com/detachd/detachd/worker"
)

const projectID = "0bec5db98280d2d02fd6c00c2de791ce"

// noon is the time of the cloud and of the reader.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func daysAgo(n float64) time.Time { return noon.Add(-time.Duration(n * 24 * float64(time.Hour))) }

// fleet is a cloud, and a Reader of lists that reads it.
type fleet struct {
	*lists
	cloud *fakecloud.Server
	api   *apiclient.Client
}

func newFleet(t *testing.T, cfg fakecloud.Config, rules ...tasks.Protection) *fleet {
	t.Helper()
	f := &fleet{lists: newLists(t)}
	cfg.Clock = func() time.Time { return noon }
	var err error
	f.cloud, err = fakecloud.Serve(cfg, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(f.cloud.Close)
	transport := apiclient.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	f.api, err = apiclient.New(apiclient.Config{
		ProjectID: projectID, Endpoint: f.cloud.URL, Auth: apiclient.StaticToken("t"), Timeout: 30 * time.Second, Transport: transport,
	})
	require.NoError(t, err)
	rdb := redistest.Start(t).Client(t)
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: []string{"hq"}, Record: record.Config{Protected: rules}})
	require.NoError(t, err)
	planner := worker.NewPlanner(rdb, p.Record, worker.Project{Alias: "hq", API: f.api, ReadsPerMinute: 600_000, Burst: 1000}, zerolog.Nop())
	f.r.cfg.Fleet = func(string) (Fleet, error) { return planner, nil }
	f.r.cfg.Now = func() time.Time { return noon }
	return f
}

func people(names ...string) (out []fakecloud.User) {
	for _, name := range names {
		user := fakecloud.User{Name: strings.TrimPrefix(name, "@")}
		if user.Name != name {
			user.Type = "GROUP"
		}
		out = append(out, user)
	}
	return out
}

func (f *fleet) add(desktops ...fakecloud.Desktop) { f.cloud.Add(projectID, desktops...) }

func selecting(sel tasks.Selector) tasks.Schedule {
	return tasks.Schedule{Name: "nightly", Project: "hq", Source: tasks.ScheduleSource{Selector: &sel}}
}

// expect is what a schedule finds: the users expected on each desktop.
func (f *fleet) expect(s tasks.Schedule, last int) (map[string][]string, Found) {
	f.t.Helper()
	found, err := f.r.Read(f.t.Context(), s, last)
	require.NoError(f.t, err)
	out := map[string][]string{}
	for _, l := range found.Lists {
		require.NoError(f.t, l.Err)
		require.Empty(f.t, l.SHA256)
		for _, r := range l.Requests {
			require.NoError(f.t, r.Validate(func(alias string) bool { return alias == "hq" }, noon))
			require.Equal(f.t, "schedule:nightly", r.RequestedBy)
			for _, id := range r.Desktops {
				require.NotEmpty(f.t, r.Expect[id], "a later change must hold it")
				out[id] = r.Expect[id]
			}
		}
	}
	return out, found
}

// Each condition selects what shows it, and all of them what shows all.
func TestSelectors(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{MaxPage: 3})
	f.add(
		fakecloud.Desktop{ID: "kiosk", ComputerName: "KIOSK-01", PoolID: "p1", Tags: []string{"temp=yes", "team=x"}, Users: people("ann")},
		fakecloud.Desktop{ID: "tagged", ComputerName: "PC-2", Tags: []string{"temp=no"}, Users: people("ben")},
		fakecloud.Desktop{ID: "pooled", ComputerName: "kiosk-3", Type: fakecloud.Pooled, PoolID: "p1", Users: people("cat")},
		fakecloud.Desktop{ID: "other-pool", ComputerName: "PC-4", PoolID: "p10", Tags: []string{"temporary=yes"}, Users: people("dan")},
		fakecloud.Desktop{ID: "shared", ComputerName: "KIOSK/5", Type: fakecloud.Shared, PoolID: "p1", Users: people("eve", "fay")},
		fakecloud.Desktop{ID: "free", ComputerName: "KIOSK-6", PoolID: "p1", Tags: []string{"temp=yes"}, AttachState: fakecloud.Detached},
		fakecloud.Desktop{ID: "leaving", ComputerName: "KIOSK-7", PoolID: "p1", AttachState: fakecloud.Detaching, Users: people("gil")},
		fakecloud.Desktop{ID: "group", ComputerName: "KIOSK-8", PoolID: "p1", Type: fakecloud.Shared, Users: people("hal", "@ops")},
	)
	for name, x := range map[string]struct {
		sel  tasks.Selector
		want map[string][]string
		note string
	}{
		"pool": {tasks.Selector{Pool: "p1"}, map[string][]string{"kiosk": {"ann"}, "pooled": {"cat"}, "shared": {"eve", "fay"}},
			"1 desktops may match and were not selected (a group has access: 1)"},
		"no pool":          {tasks.Selector{Pool: "p"}, map[string][]string{}, ""},
		"tag":              {tasks.Selector{Tag: "temp=yes"}, map[string][]string{"kiosk": {"ann"}}, ""},
		"any value":        {tasks.Selector{Tag: "temp"}, map[string][]string{"kiosk": {"ann"}, "tagged": {"ben"}}, ""},
		"another case":     {tasks.Selector{Tag: "TEMP=yes"}, map[string][]string{}, ""},
		"computer":         {tasks.Selector{Computer: "kiosk-0?"}, map[string][]string{"kiosk": {"ann"}}, ""},
		"computer, folded": {tasks.Selector{Computer: "Kiosk*"}, map[string][]string{"kiosk": {"ann"}, "pooled": {"cat"}, "shared": {"eve", "fay"}}, "1 desktops may match and were not selected (a group has access: 1)"},
		"all":              {tasks.Selector{Pool: "p1", Tag: "temp", Computer: "KIOSK-*"}, map[string][]string{"kiosk": {"ann"}}, ""},
		"contradicting":    {tasks.Selector{Pool: "p10", Tag: "temp"}, map[string][]string{}, ""},
	} {
		got, found := f.expect(selecting(x.sel), -1)
		require.Equal(t, x.want, got, name)
		require.Equal(t, len(x.want), found.Rows, name)
		require.Equal(t, x.note, found.Note, name)
	}
	require.Zero(t, f.cloud.Calls())
}

// A desktop is unused if the metrics show no use in all the days, and nothing contradicts.
func TestUnusedDesktops(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	for id, d := range map[string]fakecloud.Desktop{
		"long-ago":        {LastUsed: daysAgo(31.5), LastUser: "u"},
		"by-the-domain":   {LastUsed: daysAgo(90), LastUser: `CORP\U`},
		"never":           {},
		"off":             {LoginStatus: "UNREGISTER"},
		"yesterday":       {LastUsed: daysAgo(1), LastUser: "u"},
		"in-the-days":     {LastUsed: daysAgo(29), LastUser: "u"},
		"the-first-day":   {LastUsed: daysAgo(30), LastUser: "u"},
		"new":             {Created: daysAgo(29)},
		"connected":       {LoginStatus: "CONNECTED"},
		"left-open":       {LoginStatus: "DISCONNECTED", LastUsed: daysAgo(0.1)},
		"odd":             {LoginStatus: "ASLEEP"},
		"of-the-last-one": {LastUsed: daysAgo(60), LastUser: "someone"},
	} {
		d.ID, d.Users = id, people("u")
		f.add(d)
	}
	got, found := f.expect(selecting(tasks.Selector{UnusedDays: 30}), -1)
	u := []string{"u"}
	require.Equal(t, map[string][]string{"long-ago": u, "by-the-domain": u, "never": u, "off": u}, got)
	require.Equal(t, "4 desktops may match and were not selected (it may be in use now: 3; the last to use it was another than its user: 1)", found.Note)

	got, _ = f.expect(selecting(tasks.Selector{UnusedDays: 30, Computer: "nothing"}), -1)
	require.Empty(t, got)
	got, _ = f.expect(selecting(tasks.Selector{UnusedDays: 175}), -1)
	require.Equal(t, map[string][]string{"never": u, "off": u}, got)
}

// A use that the metrics do not show is not no use.
func TestUsageThatIsNotShownSelectsNothing(t *testing.T) {
	t.Parallel()
	day := int(24 * time.Hour / time.Second)
	f := newFleet(t, fakecloud.Config{})
	f.add(fakecloud.Desktop{ID: "d1", Users: people("u")})
	for metrics, selected := range map[string]bool{
		fmt.Sprintf(`{"metric_name":"desktop_usage","metric_value":0},{"metric_name":"desktop_idle_duration","metric_value":%d}`, 30*day):    true,
		fmt.Sprintf(`{"metric_name":"desktop_usage","metric_value":0},{"metric_name":"desktop_idle_duration","metric_value":%d}`, 30*day-1):  false,
		fmt.Sprintf(`{"metric_name":"desktop_usage","metric_value":0.1},{"metric_name":"desktop_idle_duration","metric_value":%d}`, 30*day):  false,
		fmt.Sprintf(`{"metric_name":"desktop_usage","metric_value":null},{"metric_name":"desktop_idle_duration","metric_value":%d}`, 30*day): false,
		fmt.Sprintf(`{"metric_name":"desktop_idle_duration","metric_value":%d}`, 30*day):                                                     false,
		`{"metric_name":"desktop_usage","metric_value":0}`:                                                                                   false,
		``: false,
	} {
		f.cloud.ClearFaults()
		f.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsage, Body: `{"items":[{"resource_id":"d1","metric":[` + metrics + `]}],"count":1}`})
		got, _ := f.expect(selecting(tasks.Selector{UnusedDays: 30}), -1)
		require.Equal(t, selected, len(got) == 1, metrics)
	}
	f.cloud.ClearFaults()
	f.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsage, Body: `{"items":[],"count":0}`})
	got, _ := f.expect(selecting(tasks.Selector{UnusedDays: 30}), -1)
	require.Empty(t, got)
}

// Users who cannot sign in, and users whom Workspace does not know.
func TestDesktopsOfUsersWhoAreGone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	shared := func(id string, users ...string) fakecloud.Desktop {
		return fakecloud.Desktop{ID: id, Type: fakecloud.Shared, Users: people(users...)}
	}
	f.add(
		fakecloud.Desktop{ID: "active", Users: people("ann")}, fakecloud.Desktop{ID: "locked", Users: people("loc")},
		fakecloud.Desktop{ID: "disabled", Users: people("dis")}, fakecloud.Desktop{ID: "missing", Users: people("gone")},
		fakecloud.Desktop{ID: "two-domains", Users: people("twice")}, fakecloud.Desktop{ID: "case", Users: people("ANN")},
		fakecloud.Desktop{ID: "mail", Users: people("b.smith")}, fakecloud.Desktop{ID: "group", Users: people("@ops")},
		shared("some", "ann", "loc", "gone", "@ops"), shared("all", "loc", "dis", "gone"), shared("none", "ann", "ben"),
	)
	f.cloud.AddPeople(projectID, fakecloud.Person{Name: "ben", Email: "b.smith@corp.example"}, fakecloud.Person{ID: "2", Name: "twice", Domain: "d2"})
	f.cloud.UpdatePeople(projectID, func(p *fakecloud.Person) bool {
		p.Locked, p.Disabled = p.Name == "loc" || p.Name == "twice" && p.Domain == "", p.Name == "dis"
		return p.Name != "gone" && p.Name != "ANN" && p.Name != "b.smith"
	})
	got, found := f.expect(selecting(tasks.Selector{User: tasks.UserLocked}), -1)
	require.Equal(t, map[string][]string{"locked": {"loc"}, "disabled": {"dis"}, "some": {"loc"}, "all": {"loc", "dis"}}, got)
	require.Equal(t, "4 desktops may match and were not selected (a group has access: 1; whether its user exists, or is locked, is not shown: 3)", found.Note)

	got, found = f.expect(selecting(tasks.Selector{User: tasks.UserMissing}), -1)
	require.Equal(t, map[string][]string{"missing": {"gone"}, "some": {"gone"}, "all": {"gone"}}, got)
	require.Equal(t, "3 desktops may match and were not selected (a group has access: 1; its user may be one that is written differently: 2)", found.Note)
}

// One list of users that lacks somebody is not enough.
func TestAUserWhoIsMissedOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	f.add(fakecloud.Desktop{ID: "d1", Users: people("u")}, fakecloud.Desktop{ID: "d2", Users: people("v")})
	f.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Calls: []int{1, 2}, Body: `{"users":[{"id":"id-v","user_name":"v"}],"total_count":1}`})
	got, _ := f.expect(selecting(tasks.Selector{User: tasks.UserMissing}), -1)
	require.Empty(t, got)
}

// hired is a fleet to which somebody comes, and in which somebody is unlocked, while it is read.
type hired struct {
	reading
	meanwhile func()
}

type reading interface{ Fleet }

func (h hired) Fleet(ctx context.Context) iter.Seq2[apiclient.Desktop, error] {
	h.meanwhile()
	return h.reading.Fleet(ctx)
}

// Who comes, or is unlocked, between the reading of users and that of desktops loses nothing.
func TestAUserWhoComesMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	f.add(fakecloud.Desktop{ID: "old", Users: people("old")}, fakecloud.Desktop{ID: "locked", Users: people("loc")})
	locked := func(is bool) {
		f.cloud.UpdatePeople(projectID, func(p *fakecloud.Person) bool { p.Locked = is && p.Name == "loc"; return true })
	}
	locked(true)
	planner := f.r.cfg.Fleet
	f.r.cfg.Fleet = func(project string) (Fleet, error) {
		p, err := planner(project)
		return hired{p, func() {
			locked(false)
			f.add(fakecloud.Desktop{ID: "new", Users: people("new")})
		}}, err
	}
	got, _ := f.expect(selecting(tasks.Selector{User: tasks.UserLocked}), -1)
	require.Empty(t, got)
	f.cloud.Remove(projectID, "new")
	f.cloud.UpdatePeople(projectID, func(p *fakecloud.Person) bool { return p.Name != "new" })
	got, _ = f.expect(selecting(tasks.Selector{User: tasks.UserMissing}), -1)
	require.Empty(t, got)
}

// A status that cannot be read is not that of a locked user.
func TestStatusThatIsNotShownSelectsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	f.add(fakecloud.Desktop{ID: "d1", Users: people("u")})
	for value, selected := range map[string]bool{`true`: true, `"true"`: true, `"perhaps"`: false, `{}`: false, `false`: false, `null`: false} {
		f.cloud.ClearFaults()
		f.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Body: `{"users":[{"id":"1","user_name":"u","locked":` + value + `}],"total_count":1}`})
		got, _ := f.expect(selecting(tasks.Selector{User: tasks.UserLocked}), -1)
		require.Equal(t, selected, len(got) == 1, value)
	}
}

// A list of users from which most are absent is that of a permission. Nobody is gone by it.
func TestAListOfUsersThatIsNotComplete(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	for i := range 10 {
		f.add(fakecloud.Desktop{ID: fmt.Sprintf("d%d", i), Users: people(fmt.Sprintf("u%d", i))})
	}
	keep := "u0 u1 u2 u3"
	f.cloud.UpdatePeople(projectID, func(p *fakecloud.Person) bool { return strings.Contains(keep, p.Name) })
	_, err := f.r.Read(t.Context(), selecting(tasks.Selector{User: tasks.UserMissing, Computer: "PC-d9"}), -1)
	require.ErrorContains(t, err, "4 users of desktops are in the list of Workspace's users and 6 are not")
	require.NotErrorIs(t, err, ErrNotReady)

	f.cloud.UpdatePeople(projectID, func(*fakecloud.Person) bool { return false })
	_, err = f.r.Read(t.Context(), selecting(tasks.Selector{User: tasks.UserMissing}), -1)
	require.ErrorContains(t, err, "0 users of desktops are in the list")
}

// A page of whatever a selector needs that fails fails the reading: later if the cloud may
// answer then, for good if it refuses.
func TestAReadingOfWhichAPageFails(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{MaxPage: 4}, tasks.Protection{Name: "vip", Kind: tasks.ProtectPool, Pattern: "vip", Project: "hq"})
	for i := range 20 {
		f.add(fakecloud.Desktop{ID: fmt.Sprintf("d%02d", i), PoolID: "p", Users: people(fmt.Sprintf("u%d", i))})
	}
	f.write("stay.csv", "user\nu1\n")
	notIn := selecting(tasks.Selector{})
	notIn.Source = tasks.ScheduleSource{NotIn: &tasks.NotIn{File: "stay.csv", Rows: 1, Selector: &tasks.Selector{UnusedDays: 1, Pool: "p"}}}
	for name, s := range map[string]tasks.Schedule{"selector": selecting(tasks.Selector{Pool: "p", UnusedDays: 1, User: tasks.UserMissing}), "not in": notIn} {
		f.cloud.ClearFaults()
		_, err := f.r.Read(t.Context(), s, -1)
		require.NoError(t, err, name)
		for _, op := range []fakecloud.Op{fakecloud.OpDetail, fakecloud.OpList, fakecloud.OpUsers, fakecloud.OpUsage} {
			for _, page := range []int{1, 3} {
				from := f.cloud.CallsOf(op, "")
				f.cloud.ClearFaults()
				f.cloud.Fail(fakecloud.Fault{Op: op, Status: 403, Code: "IAM.0002", Calls: []int{from + page}})
				found, err := f.r.Read(t.Context(), s, -1)
				require.ErrorContains(t, err, "IAM.0002", "%s, %s, page %d", name, op, page)
				require.NotErrorIs(t, err, ErrNotReady)
				require.Empty(t, found.Lists)

				if page == 1 {
					continue
				}
				f.cloud.ClearFaults()
				f.cloud.Fail(fakecloud.Fault{Op: op, Status: 503, Calls: []int{f.cloud.CallsOf(op, "") + page}})
				_, err = f.r.Read(t.Context(), s, -1)
				require.NoError(t, err, "%s, %s, page %d: once is nothing", name, op, page)
			}
			if name == "not in" {
				continue
			}
			var failing []int
			for i := range 5 { // as often as a page is read
				failing = append(failing, f.cloud.CallsOf(op, "")+2+i)
			}
			f.cloud.ClearFaults()
			f.cloud.Fail(fakecloud.Fault{Op: op, Status: 500, Calls: failing})
			found, err := f.r.Read(t.Context(), s, -1)
			require.ErrorIs(t, err, ErrNotReady, op)
			require.Empty(t, found.Lists)
		}
	}
}

// What a rule protects is not selected, so that a run is not refused because of it.
func TestProtectedDesktopsAreNotSelected(t *testing.T) {
	t.Parallel()
	rule := func(name string, kind tasks.ProtectionKind, pattern string) tasks.Protection {
		return tasks.Protection{Name: name, Kind: kind, Pattern: pattern, Configured: true}
	}
	f := newFleet(t, fakecloud.Config{}, rule("a", tasks.ProtectDesktop, "by-id"), rule("b", tasks.ProtectUser, "ceo"), rule("c", tasks.ProtectTag, "vip"),
		rule("d", tasks.ProtectPool, "board"), rule("e", tasks.ProtectComputer, "safe-*"))
	f.add(
		fakecloud.Desktop{ID: "by-id", Users: people("ann")}, fakecloud.Desktop{ID: "by-user", Users: people("CEO")},
		fakecloud.Desktop{ID: "by-tag", Tags: []string{"vip=1"}, Users: people("ann")}, fakecloud.Desktop{ID: "by-pool", PoolID: "board", Users: people("ann")},
		fakecloud.Desktop{ID: "by-computer", ComputerName: "SAFE-1", Users: people("ann")}, fakecloud.Desktop{ID: "free", ComputerName: "PC-1", Users: people("ann")},
		fakecloud.Desktop{ID: "shared", Type: fakecloud.Shared, Users: people("ann", "ceo")},
	)
	got, found := f.expect(selecting(tasks.Selector{Computer: "*"}), -1)
	require.Equal(t, map[string][]string{"free": {"ann"}}, got)
	require.Equal(t, "6 desktops may match and were not selected (a rule protects it: 6)", found.Note)
}

// What cannot be in a request is not selected: one hostile name must not stop a whole run.
func TestHostileNamesAreNotSelected(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	f.add(fakecloud.Desktop{ID: "good", Users: people("ann")})
	for i, name := range []string{" ", "a\x00b", " lead", strings.Repeat("x", 65), "two\nlines"} {
		f.add(fakecloud.Desktop{ID: fmt.Sprintf("bad%d", i), Users: people(name)})
	}
	f.add(fakecloud.Desktop{ID: "user:zoe", Users: people("ann")}, fakecloud.Desktop{ID: "bad id\t", Users: people("ann")})
	got, found := f.expect(selecting(tasks.Selector{Computer: "*"}), -1)
	require.Equal(t, map[string][]string{"good": {"ann"}}, got)
	require.Equal(t, "5 desktops may match and were not selected (no user is shown, or not one that can be named: 5)", found.Note)
}

func staying(n tasks.NotIn) tasks.Schedule {
	return tasks.Schedule{Name: "nightly", Project: "hq", Source: tasks.ScheduleSource{NotIn: &n}}
}

// Everybody who is known and in no spelling in the list loses the desktop, and nobody else.
func TestEverybodyNotInTheList(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	shared := fakecloud.Desktop{ID: "shared", Type: fakecloud.Shared, Users: people("ann", "left")}
	f.add(
		fakecloud.Desktop{ID: "ann", Users: people("ann")}, fakecloud.Desktop{ID: "case", Users: people("BEN")},
		fakecloud.Desktop{ID: "upn", Users: people("cat@corp.example")}, fakecloud.Desktop{ID: "domain", Users: people(`CORP\dan`)},
		fakecloud.Desktop{ID: "mail", Users: people("e123")}, fakecloud.Desktop{ID: "left", ComputerName: "PC-9", Users: people("left")},
		fakecloud.Desktop{ID: "unknown", Users: people("ghost")}, fakecloud.Desktop{ID: "group", Users: people("@ops")}, shared,
		fakecloud.Desktop{ID: "free", AttachState: fakecloud.Detached},
	)
	f.cloud.AddPeople(projectID, fakecloud.Person{Name: "e123", Email: "Eve.Adams@corp.example"})
	f.cloud.UpdatePeople(projectID, func(p *fakecloud.Person) bool { return p.Name != "ghost" })
	f.write("stay.csv", "user\nann\nben\ncat\ndan\neve.adams\n")
	got, found := f.expect(staying(tasks.NotIn{File: "stay.csv"}), 5)
	require.Equal(t, map[string][]string{"left": {"left"}, "shared": {"left"}}, got)
	require.Equal(t, 5, found.Rows, "of the list, not of what was found")
	require.Equal(t, "2 desktops may match and were not selected (a group has access: 1; whether its user exists, or is locked, is not shown: 1)", found.Note)

	f.write("stay.csv", "user,status,contract end\nann,active,2199-01-01\nben,terminated,\ncat,,\ndan,,\neve.adams,,\n")
	again, _ := f.expect(staying(tasks.NotIn{File: "stay.csv"}), 5)
	require.Equal(t, got, again, "nobody asks who of these leaves")
	got, _ = f.expect(staying(tasks.NotIn{File: "stay.csv", Selector: &tasks.Selector{Computer: "PC-9"}}), 5)
	require.Equal(t, map[string][]string{"left": {"left"}}, got)
	got, _ = f.expect(staying(tasks.NotIn{File: "stay.csv", Selector: &tasks.Selector{User: tasks.UserLocked}}), 5)
	require.Empty(t, got, "both must be true")

	f.write("stay.csv", "user\n\"=\"\"ann\"\"\"\n'ben\ncat; dan\nEve Adams <eve.adams@corp.example>\n")
	got, _ = f.expect(staying(tasks.NotIn{File: "stay.csv"}), 4)
	require.Equal(t, map[string][]string{"left": {"left"}, "shared": {"left"}}, got, "as spreadsheets and mails write names")
}

// A list that has lost rows detaches nobody, and says by how many; an empty one never does.
func TestAListThatIsTooShort(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	for i := range 100 {
		f.add(fakecloud.Desktop{ID: fmt.Sprintf("d%02d", i), Users: people(fmt.Sprintf("u%d", i))})
	}
	stay := func(n int) {
		var text strings.Builder
		text.WriteString("user\n")
		for i := range n {
			fmt.Fprintf(&text, "u%d\n", i)
		}
		f.write("stay.csv", text.String())
	}
	for _, x := range []struct {
		rows, last, expected, atLeast int
		leave                         int // below 0: it is refused
		why                           string
	}{
		{rows: 100, last: 100, leave: 0},
		{rows: 80, last: 100, leave: 20},
		{rows: 79, last: 100, leave: -1, why: "has 79 users, and at least 80 are required, 80 % of 100; nobody is detached"},
		{rows: 79, last: 99, leave: -1, why: "has 79 users, and at least 80 are required, 80 % of 99; nobody is detached"},
		{rows: 79, last: 98, leave: 21},
		{rows: 79, last: 100, atLeast: 79, leave: 21},
		{rows: 99, last: 100, atLeast: 100, leave: -1, why: "at least 100 are required"},
		{rows: 90, last: -1, leave: 0, why: "the list of those who stay has 90 users; nobody is detached the first time"},
		{rows: 90, last: 0, leave: 0, why: "nobody is detached the first time"},
		{rows: 90, last: -1, expected: 100, leave: 10},
		{rows: 79, last: -1, expected: 100, leave: -1, why: "has 79 users, and at least 80 are required"},
		{rows: 79, last: 100, expected: 10, leave: -1, why: "has 79 users, and at least 80 are required"},
		{rows: 0, last: -1, leave: -1, why: "is empty; nobody is detached"},
		{rows: 0, last: 0, expected: 0, leave: -1, why: "is empty; nobody is detached"},
		{rows: 0, last: 1, atLeast: 1, leave: -1, why: "is empty; nobody is detached"},
		{rows: 0, last: 100, leave: -1, why: "is empty; nobody is detached"},
	} {
		stay(x.rows)
		s := staying(tasks.NotIn{File: "stay.csv", Rows: x.expected, AtLeast: x.atLeast})
		if x.leave < 0 {
			found, err := f.r.Read(t.Context(), s, x.last)
			require.ErrorContains(t, err, x.why, "%+v", x)
			require.NotErrorIs(t, err, ErrNotReady)
			require.Equal(t, Found{}, found)
			continue
		}
		got, found := f.expect(s, x.last)
		require.Len(t, got, x.leave, "%+v", x)
		require.Equal(t, x.rows, found.Rows)
		require.Contains(t, found.Note, x.why)
		if x.why != "" {
			require.Empty(t, found.Lists)
		}
	}
}

// A list that is not of the users of Workspace detaches nobody, nor one that cannot be read.
func TestAListThatIsNotOfUsers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{})
	f.add(fakecloud.Desktop{ID: "d1", Users: people("ann")}, fakecloud.Desktop{ID: "d2", Users: people("ben")})
	for text, want := range map[string]string{
		"user\n1001\n1002\n":        "nobody of Workspace is in the list",
		"computer\nPC-1\nPC-2\n":    "line 2 of the list of those who stay names no user",
		"user\nann\n\tx\n":          "",
		"user\nann\nbad\tname\n":    "line 3",
		"user,project\nann,other\n": "line 2",
		"":                          "nobody is detached",
	} {
		f.write("stay.csv", text)
		found, err := f.r.Read(t.Context(), staying(tasks.NotIn{File: "stay.csv", Rows: 1}), -1)
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
		require.Empty(t, found.Lists)
	}
	f.write("stay.csv", "user\nann\n")
	f.write("stay-2.csv", "user\nann\nben\n")
	for pattern, want := range map[string]string{"stay*.csv": "the pattern matches 2", "none*.csv": "the pattern matches 0", "absent.csv": "can be read"} {
		_, err := f.r.Read(t.Context(), staying(tasks.NotIn{File: pattern, Rows: 1}), -1)
		require.ErrorContains(t, err, want)
	}
	f.meanwhile(func() { f.lists.add("stay.csv", "ben\n") })
	_, err := f.r.Read(t.Context(), staying(tasks.NotIn{File: "stay.csv", Rows: 1}), -1)
	require.ErrorIs(t, err, ErrNotReady)
}

// Two processes make the same of the same fleet, so that they make one operation.
func TestTheSameFleetIsTheSameList(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{MaxPage: 50})
	for i := range 300 {
		f.add(fakecloud.Desktop{ID: fmt.Sprintf("d%03d", (i*7)%300), Users: people(fmt.Sprintf("u%d", i))})
	}
	first, err := f.r.Read(t.Context(), selecting(tasks.Selector{Computer: "*"}), -1)
	require.NoError(t, err)
	require.Equal(t, 300, first.Rows)
	again, err := f.r.Read(t.Context(), selecting(tasks.Selector{Computer: "*"}), -1)
	require.NoError(t, err)
	require.Equal(t, first, again)
}

// Each page of a fleet waits for its turn among the readings of the credential.
func TestAFleetIsReadWithinTheBudget(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fakecloud.Config{MaxPage: 10})
	for i := range 60 {
		f.add(fakecloud.Desktop{ID: fmt.Sprintf("d%03d", i), Users: people("ann")})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := worker.Project{Alias: "hq", API: f.api, ReadsPerMinute: 1, Burst: 5}
	rdb := redistest.Start(t).Client(t)
	rec := record.New(rdb, record.Config{})
	planner := worker.NewPlanner(rdb, rec, slow, zerolog.Nop())
	read := make(chan error, 1)
	go func() {
		for _, err := range planner.Fleet(ctx) {
			if err != nil {
				read <- err
				return
			}
		}
		read <- nil
	}()
	require.NoError(t, f.cloud.Wait(t.Context(), func() bool { return f.cloud.CallsOf(fakecloud.OpDetail, "") >= 2 }))
	cancel()
	require.ErrorIs(t, <-read, context.Canceled)
	require.Equal(t, 2, f.cloud.CallsOf(fakecloud.OpDetail, ""), "the lowest priority gets two of a burst of five")
}
