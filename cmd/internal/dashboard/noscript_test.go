package dashboard_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks"
)

// Everything works without scripts: signing in, a plan and its confirmation, and a bulk
// retry of selected failures.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	list := s.leavers()
	s.refuse("WKS.00010110", "no address", 5, 7)
	s.work()
	b := newBrowser(t, s.url)
	b.run(emulation.SetScriptExecutionDisabled(true))
	// Polling inside the page would wait for ever, because scripts are off.
	shows := func(text string) {
		t.Helper()
		b.run(chromedp.WaitReady(fmt.Sprintf(`//main//*[contains(normalize-space(.), %s)]`, quote(text)), chromedp.BySearch))
	}
	b.open("/signin?to=%2Fnew")
	b.run(chromedp.SendKeys("#key", s.key(access.Operator)+"\r", chromedp.ByQuery))
	shows("New detach")
	b.run(chromedp.SendKeys("#list", list, chromedp.ByQuery), chromedp.SendKeys("select[name=project]", "hq", chromedp.ByQuery))
	b.press("Show the plan")
	shows("28 will be detached from 28 people and 2 will be put on hold")
	b.run(chromedp.SendKeys("input[name=count]", "30", chromedp.ByQuery))
	b.press("Detach")
	shows("Accepted. This page shows the progress.")
	ops, _, err := s.api().Operations(t.Context(), tasks.OperationFilter{}, 0, "")
	require.NoError(t, err)
	require.Len(t, ops, 1)
	require.Equal(t, tasks.Counts{Detached: 26, Failed: 2, Held: 2}, s.ended(ops[0].ID).Counts)

	b.open("/failures?class=permanent")
	b.run(chromedp.WaitReady("#pick-page[hidden]", chromedp.ByQuery)) // the script would show it
	b.run(chromedp.Click(`input[value$="/d-0005"]`, chromedp.ByQuery))
	s.cloud.ClearFaults()
	b.press("Retry selected")
	shows("Retry 1 desktop?")
	b.run(chromedp.SendKeys("input[name=reason]", "fixed", chromedp.ByQuery))
	b.press("Retry 1 desktop")
	shows("Bulk retry started.")
	require.Eventually(t, func() bool {
		op, err := s.api().OperationState(t.Context(), ops[0].ID)
		return err == nil && op.Counts.Detached == 27 && op.Counts.Failed == 1
	}, patience, 10*time.Millisecond)
}

// A button refreshes a plan that takes longer.
func TestLargePlanWithoutScripts(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	s := newStageBehind(t, behind(t, gate))
	list := s.thousand()
	b := newBrowser(t, s.url)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.open("/signin?to=%2Fnew")
	b.run(chromedp.SendKeys("#key", s.key(access.Operator)+"\r", chromedp.ByQuery), chromedp.WaitReady("#list", chromedp.ByQuery))
	b.choose("input[name=file]", "leavers.csv", list)
	b.run(chromedp.SendKeys("select[name=project]", "hq", chromedp.ByQuery))
	b.press("Show the plan")
	b.run(chromedp.WaitReady(`//main//p[contains(., "Reading from the cloud: 0 of 1,150 rows.")]`, chromedp.BySearch))
	var id string
	b.run(chromedp.Value("input[name=id]", &id, chromedp.ByQuery))
	close(gate)
	require.Eventually(t, func() bool { // in the background
		p, err := s.store.Record.Plan(t.Context(), id)
		return err == nil && p.State == tasks.PlanDone
	}, patience, 10*time.Millisecond)
	b.press("Refresh")
	const summary = "Of 1,150 desktops, 1,030 will be detached from 1,030 people and 120 will be put on hold (OTHER_USER 120)."
	b.run(chromedp.WaitReady(`//p[@class="sum"][contains(., "`+summary+`")]`, chromedp.BySearch))
	b.run(chromedp.WaitReady(`//p[contains(., "Ignored columns: department")]`, chromedp.BySearch))
	b.run(chromedp.SendKeys("input[name=count]", "1150", chromedp.ByQuery))
	b.press("Detach")
	b.run(chromedp.WaitReady(`//main//*[contains(., "Accepted. This page shows the progress.")]`, chromedp.BySearch))
}
