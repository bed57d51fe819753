package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/ledongthuc/pdf"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// In print every page has its number, and the first one the result and the seal.
func TestPagesInPrint(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium-headless-shell")
	if err != nil {
		redistest.Missing(t, "chromium-headless-shell is not installed (on Debian: apt-get install it, or `make test` as root): "+err.Error())
	}
	b := newBook(t)
	ids := []string{}
	for i := range 60 {
		ids = append(ids, "d-"+strings.Repeat("x", i))
	}
	op := b.small(plainTexts)
	op = b.finish(op)
	// Its id and the name have what fonts join to one letter. Whoever copies that from the PDF has others.
	// At the foot of a page only spaced letters are kept apart.
	request := tasks.Request{Desktops: ids, RequestedBy: "jeff.fields"}
	for n := 0; !strings.Contains(record.OperationID(request.RequestedBy, request.IdempotencyKey), "ff"); n++ {
		request.IdempotencyKey = fmt.Sprint("key-", n)
	}
	many := b.enqueue(request)

	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), chromedp.WSURLReadTimeout(time.Minute))
	allocator, end := chromedp.NewExecAllocator(t.Context(), options...)
	defer end()
	ctx, cancel := chromedp.NewContext(allocator)
	defer func() {
		_ = chromedp.Cancel(ctx) // asks it to end: on Debian the process that end kills is a script, and Chromium would outlive it
		cancel()
	}()
	printed := func(text []byte) []string {
		file := filepath.Join(t.TempDir(), "report.html")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		var out []byte
		require.NoError(t, chromedp.Run(ctx, chromedp.Navigate("file://"+file), chromedp.ActionFunc(func(ctx context.Context) (err error) {
			out, _, err = page.PrintToPDF().WithPreferCSSPageSize(true).Do(ctx)
			return err
		})))
		return pages(t, out)
	}
	first := printed(b.write(op, HTML))[0]
	require.Contains(t, first, "2 desktops are confirmed detached, the slowest 20 min after it was due")
	require.Contains(t, first, "Audit seal: "+op.Seal)
	require.Contains(t, first, "detachd verify --record FILE")

	all := printed(b.write(many, HTML))
	require.Greater(t, len(all), 2)
	for i, text := range all {
		require.Regexp(t, regexp.MustCompile(`Page\s*`+string(rune('1'+i))+`\s*of\s*`+string(rune('0'+len(all)))), text)
		require.Contains(t, text, many.ID)
	}
	require.Contains(t, all[0], "jeff.fields")
}

// pages returns the text of each page of a PDF.
func pages(t *testing.T, text []byte) (out []string) {
	t.Helper()
	doc, err := pdf.NewReader(bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	for i := range doc.NumPage() {
		said, err := doc.Page(i + 1).GetPlainText(nil)
		require.NoError(t, err)
		out = append(out, strings.ReplaceAll(strings.Join(strings.Fields(said), " "), "ﬁ", "fi"))
	}
	return out
}
