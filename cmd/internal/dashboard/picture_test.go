package dashboard_test

import (
	"context"
	"os"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// The picture in README is the overview of a demonstration: start detachd demo --serve,
// set what it prints, and run this with the path of the picture in DETACHD_PICTURE.
func TestPictureOfTheOverview(t *testing.T) {
	t.Parallel()
	file, url := os.Getenv("DETACHD_PICTURE"), os.Getenv("DETACHD_SERVER")
	if file == "" || url == "" {
		t.Skip("for who renews the picture: see docs/recipes.md")
	}
	b := newBrowser(t, url)
	b.run(chromedp.EmulateViewport(1280, 860))
	b.signIn(os.Getenv("DETACHD_API_KEY"))
	var picture []byte
	b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		picture, err = page.CaptureScreenshot().Do(ctx)
		return err
	}))
	require.Less(t, len(picture), 200_000, "it is in every clone")
	require.NoError(t, os.WriteFile(file, picture, 0o644))
}
