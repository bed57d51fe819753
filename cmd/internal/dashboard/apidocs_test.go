package dashboard_test

import "testing"

// The documentation of the API, which the server makes, is checked as the pages are.
func TestDocsOfTheAPIAreAccessible(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := newBrowser(t, s.url)
	b.open("/docs")
	b.accessible("/docs")
	b.narrow("/docs")
}
