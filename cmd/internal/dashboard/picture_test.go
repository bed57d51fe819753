package dashboard_test

import (
	"bytes"
	"context"
	"image/png"
	"os"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/cmd/internal/access"
)

// The picture in README and docs is the overview of a demonstration: docs/recipes.md shows
// how to renew it. Without DETACHD_PICTURE the test takes a picture of its own server, and
// does not keep it.
func TestPictureOfTheOverview(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	file := os.Getenv("DETACHD_PICTURE")
	url, key := s.url, s.key(access.Viewer)
	if file != "" {
		url, key = os.Getenv("DETACHD_SERVER"), os.Getenv("DETACHD_API_KEY")
		require.NotEmpty(t, url, "set DETACHD_SERVER and DETACHD_API_KEY as detachd demo prints them")
	}
	b := newBrowser(t, url)
	b.run(chromedp.EmulateViewport(1280, 860))
	b.signIn(key)
	b.sees("Needs attention")
	var picture []byte
	b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		picture, err = page.CaptureScreenshot().Do(ctx)
		return err
	}))
	require.Less(t, len(picture), 200_000, "it is in every clone")
	img, err := png.Decode(bytes.NewReader(picture))
	require.NoError(t, err)
	require.Equal(t, [2]int{1280, 860}, [2]int{img.Bounds().Dx(), img.Bounds().Dy()})
	colors := map[any]bool{}
	for y := range 860 {
		colors[img.At(60, y)] = true
	}
	require.Greater(t, len(colors), 3, "it is not blank")
	if file != "" {
		require.NoError(t, os.WriteFile(file, picture, 0o644))
	}
}
