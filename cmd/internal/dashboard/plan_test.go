package dashboard_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

// behind delays all answers of the cloud until a channel is closed.
func behind(t *testing.T, gate <-chan struct{}) func(cloud string) string {
	return func(cloud string) string {
		to, err := url.Parse(cloud)
		require.NoError(t, err)
		proxy := httputil.NewSingleHostReverseProxy(to)
		door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-gate:
				proxy.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}))
		t.Cleanup(door.Close)
		return door.URL
	}
}

// thousand is a list of 1,150 desktops, of which the last 120 have another user.
func (s *stage) thousand() (list string) {
	s.t.Helper()
	list = "desktop_id,user,department\n"
	for i := range 1150 {
		d := fakecloud.Desktop{ID: desktopID(i), Users: []fakecloud.User{{Name: fmt.Sprintf("user.%04d", i)}}}
		list += fmt.Sprintf("%s,%s,sales\n", d.ID, d.Users[0].Name)
		if i >= 1030 {
			d.Users[0].Name = "tom.heir"
		}
		s.cloud.Add(projectIDs["hq"], d)
	}
	return list
}

// While a large plan is read, its page shows the progress. Then one sentence describes
// the result for all rows, and the confirmation is in view.
func TestLargePlan(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	s := newStageBehind(t, behind(t, gate))
	list := s.thousand()
	b := newBrowser(t, s.url)
	b.expect("404")
	b.signIn(s.key(access.Operator))
	b.open("/new")
	b.choose("input[name=file]", "leavers.csv", list)
	b.run(chromedp.SetValue("select[name=project]", "hq", chromedp.ByQuery))
	b.press("Show the plan")
	b.at("/new/plan")
	b.sees("Reading from the cloud: 0 of 1,150 rows.")
	require.Zero(t, value[int](b, `document.querySelectorAll("main button:not(noscript *, .back *), main strong, main .sum").length`),
		"nothing is shown or offered yet")
	b.accessible("a plan that is read")
	b.mark()
	close(gate)
	b.sees("Of 1,150 desktops, 1,030 will be detached from 1,030 people and 120 will be put on hold (OTHER_USER 120).")
	b.stayed()
	b.sees("The first 100 of 1,150 rows, on hold first.")
	b.sees("Ignored columns: department")
	require.Zero(t, value[int](b, `document.querySelectorAll("main strong").length`), "nothing is bold but the sentence")
	require.True(t, value[bool](b, `scrollY === 0 && document.querySelector("main .danger").getBoundingClientRect().bottom < innerHeight`),
		"the confirmation is in view")
	require.True(t, value[bool](b, `(() => {
		scrollTo(0, document.documentElement.scrollHeight / 2);
		const box = document.querySelector("main .danger").getBoundingClientRect();
		scrollTo(0, 0);
		return box.top >= 0 && box.bottom < innerHeight;
	})()`), "and stays in view")
	require.Equal(t, 100, value[int](b, `document.querySelectorAll("tbody tr").length`))
	b.accessible("a large plan")
	b.shoot("plan-large")
	all := value[string](b, `document.querySelector("#planned a[target]").getAttribute("href")`)
	b.fill("input[name=count]", "1150")
	b.press("Detach")
	b.sees("Accepted. This page shows the progress.")
	ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{}, 0, "")
	require.NoError(t, err)
	require.Equal(t, 1150, ops[0].Total)

	// All rows in a new window.
	b.open(all)
	b.sees("Submit it from the page where you planned it.")
	require.Zero(t, value[int](b, `document.querySelectorAll("main button:not(.copy)").length`))
	b.press("Next")
	b.until(`document.querySelectorAll("tbody tr").length === 100 && document.querySelector("tbody").innerText.includes("detach")`)
	require.Equal(t, 20, value[int](b, `[...document.querySelectorAll("tbody .tag")].filter((x) => x.innerText === "on hold").length`))

	// Other visitors cannot see it.
	require.Equal(t, http.StatusNotFound, s.get(all, s.session(access.Admin)).status)
	require.Equal(t, "/new", s.get("/new/plan", s.session(access.Admin)).header.Get("Location"), "no plan is named")
}

// hiddenFields are the names and values of the hidden fields of a page.
func hiddenFields(page string) (out []string) {
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		out = append(out, m[1], html.UnescapeString(m[2]))
	}
	return out
}

// The confirmation runs what the page showed: a desktop that has somebody else by then is on
// hold, and so is one that came since. Of both projects.
func TestTheConfirmationRunsThePlan(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	zoe := fakecloud.User{Name: "zoe"}
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-1", Users: []fakecloud.User{zoe}}, fakecloud.Desktop{ID: "d-2", Users: []fakecloud.User{zoe}})
	s.cloud.Add(projectIDs["branch"], fakecloud.Desktop{ID: "d-3", Users: []fakecloud.User{zoe}})
	session := s.session(access.Producer)
	page := s.postMulti("/new/plan", session, "list", "user,project\nzoe,hq\nzoe,branch\n", "reason", "left", "urgent", "on")
	require.Equal(t, http.StatusOK, page.status)
	require.Contains(t, page.body, "has other users by then is put on hold")
	s.cloud.Update(projectIDs["hq"], "d-2", func(d *fakecloud.Desktop) { d.Users = []fakecloud.User{{Name: "heir"}} })
	s.cloud.Add(projectIDs["branch"], fakecloud.Desktop{ID: "d-4", Users: []fakecloud.User{zoe}})
	require.Equal(t, http.StatusSeeOther, s.postMulti("/new", session, hiddenFields(page.body)...).status)
	s.work()
	got := map[string]tasks.Counts{}
	require.Eventually(t, func() bool {
		ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{}, 0, "")
		require.NoError(t, err)
		for _, op := range ops {
			require.Len(t, op.Plan, 64)
			require.Equal(t, []any{"left", true}, []any{op.Reason, op.Urgent})
			if op.Done() {
				got[op.Project] = op.Counts
			}
		}
		return len(got) == 2
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, map[string]tasks.Counts{"hq": {Detached: 1, Held: 1, Expanded: 1}, "branch": {Detached: 1, Held: 1, Expanded: 1}}, got)
}

// If the cloud does not answer, the plan says so and can still be submitted.
func TestPlanWithoutTheCloud(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403, Code: "IAM.0002", Message: "no <b>access"})
	a := s.postMulti("/new/plan", s.session(access.Producer), "project", "hq", "list", "desktop_id\nd-1\n")
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.body, "You can submit it anyway")
	require.Contains(t, a.body, "IAM.0002: no &lt;b&gt;access")
	require.NotContains(t, a.body, `class="sum"`)
	require.Contains(t, a.body, ">Detach</button>")
}

// A last working day ends access at the end of that day, on the clocks of its zone.
func TestPlanOfALastWorkingDay(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Add(projectIDs["hq"], fakecloud.Desktop{ID: "d-7", Users: []fakecloud.User{{Name: "zoe"}}})
	session := s.session(access.Operator)
	plan := func(fields ...string) answer {
		return s.postMulti("/new/plan", session, append([]string{"project", "hq", "list", "d-7", "last_day", "2199-11-30"}, fields...)...)
	}
	a := plan("last_zone", "Asia/Singapore")
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, "Remove access by: 2199-11-30 16:00:00 &#43;00:00.")
	require.Contains(t, a.body, `name="back_last_day" value="2199-11-30"`)
	for says, fields := range map[string][]string{
		"Mars/Olympus":     {"last_zone", "Mars/Olympus"},
		"due_at":           {"due_at", "2199-12-01"},
		"last_working_day": {"last_day", "someday"},
	} {
		if says == "last_working_day" {
			a = s.postMulti("/new/plan", session, "project", "hq", "list", "d-7", "last_day", "someday")
		} else {
			a = plan(fields...)
		}
		require.Equal(t, http.StatusBadRequest, a.status, says)
		require.Contains(t, a.body, says)
		require.Contains(t, a.body, `name="last_day" type="date"`)
	}
}
