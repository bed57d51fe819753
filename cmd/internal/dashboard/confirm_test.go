package dashboard_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// refused makes operations of hq fail.
func (s *stage) refused(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		s.cloud.Fail(fakecloud.Refused(id, "WKS.0407", "disks are being added"))
		s.ended(s.submit(api.OperationRequest{Project: "hq", Desktops: []string{id}}).ID)
	}
}

// A bulk retry does not begin for more desktops than were confirmed; a link leads back to their number now.
func TestRetryOfMoreDesktopsThanConfirmed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.refused("d-1", "d-2")
	b := newBrowser(t, s.url)
	b.expect("409")
	b.signIn(s.key(access.Operator))
	b.open("/failures")
	b.press("Retry all 2 matching")
	b.sees("Retry 2 desktops?")
	b.sees("its users lose access")
	b.fill("input[name=reason]", "fixed")
	s.refused("d-3")
	b.press("Retry 2 desktops")
	b.sees("nothing was retried: 3 desktops match now, and you saw 2.")
	list, _, err := s.api().Redrives(t.Context(), 10, "")
	require.NoError(t, err)
	require.Empty(t, list)
	b.accessible("a confirmation of other desktops")
	b.press("Back to the page before")
	b.sees("Retry 3 desktops?")
	b.fill("input[name=reason]", "fixed")
	b.press("Retry 3 desktops")
	b.sees("Bulk retry started.")
}

// Times of a filter mean the same after the zone was changed in another tab.
func TestZoneOfAConfirmation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.work()
	s.refused("d-1")
	b := newBrowser(t, s.url)
	b.signIn(s.key(access.Operator))
	b.open("/failures?from=2026-01-02T03:04:00Z")
	b.press("Retry the one matching")
	b.sees("Retry 1 desktop?")
	b.fill("input[name=reason]", "fixed")
	b.run(cookieOf(s.url, "__Host-detachd-zone", "Asia/Tokyo"))
	b.press("Retry 1 desktop")
	b.sees("Bulk retry started.")
	list, _, err := s.api().Redrives(t.Context(), 10, "")
	require.NoError(t, err)
	require.Equal(t, "2026-01-02T03:04:00Z", list[0].Filter.From.UTC().Format("2006-01-02T15:04:05Z07:00"))
}

// A run that nobody saw is not skipped: the one that the page showed may have begun meanwhile.
func TestSkipOfAnotherRun(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	_, err := s.api().AddSchedule(t.Context(), yearly)
	require.NoError(t, err)
	b := newBrowser(t, s.url)
	b.expect("409")
	b.signIn(s.key(access.Operator))
	b.open("/schedules/yearly")
	b.press("Skip the next…")
	b.sees("02:30 in Asia/Singapore does not happen; the ones after it do.")
	b.fill("details[open] input[name=reason]", "a holiday")
	b.run(chromedp.SetValue("details[open] input[name=tick]", "the one before", chromedp.ByQuery))
	b.press("Skip this run")
	b.sees("nothing is skipped: the next run is another one than you saw.")
	require.Nil(t, s.schedules()[0].Skip)
	b.press("Back to the page before")
	b.at("/schedules/yearly")
	b.confirm("Skip the next…", "a holiday", "Skip this run")
	b.sees("02:30 in Asia/Singapore will not happen.")
	b.sees("02:30 in Asia/Singapore, by operator")
}
