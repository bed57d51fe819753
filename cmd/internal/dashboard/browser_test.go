package dashboard_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/redistest"
)

// chromium starts the browser that all tests share and TestMain ends. Each test has its
// own context in it, with its own cookies.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path, err := exec.LookPath("chromium-headless-shell") // chromium itself draws the frame of each window, too, for twice the CPU
	if err != nil {
		return nil, fmt.Errorf("chromium-headless-shell is not installed (on Debian: apt-get install it, or `make test` as root): %w", err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path),
		chromedp.NoSandbox, // root cannot have one, and it visits only this test's server
		chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		// A host that is not this machine is not asked for.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"), chromedp.WSURLReadTimeout(time.Minute))
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	endChromium = func() {
		_ = chromedp.Cancel(ctx) // asks it to end: on Debian the process that end kills is a script, and Chromium would outlive it
		cancel()
		end()
	}
	return ctx, chromedp.Run(ctx)
})

var endChromium = func() {}

// windows limits how many tests have a window at a time. On a small machine more
// windows draw their pages too slowly for the time limits.
var windows = make(chan struct{}, 2)

// browser is one window.
type browser struct {
	t   *testing.T
	ctx context.Context
	jar cdp.BrowserContextID // its cookies
	url string

	mu     sync.Mutex
	faults []string // complaints of the console and the network
	allow  []string // of those: parts of what is expected
}

// patience is how long a test waits for a page to show something. On a busy machine the test of the
// API's page took four minutes.
const patience = 5 * time.Minute

// newBrowser opens a window. The test fails if the console reports anything. It needs
// chromium; see redistest.Missing.
func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	windows <- struct{}{}
	t.Cleanup(func() { <-windows })
	return openWindow(t, url)
}

// another opens the window of a second visitor; it shares the slot of this one.
func (b *browser) another() *browser {
	b.t.Helper()
	return openWindow(b.t, b.url)
}

// hurry makes pages refresh every second: the script learns the interval from the page, or from its fresh copy.
var hurry = chromedp.ActionFunc(func(ctx context.Context) error {
	_, err := page.AddScriptToEvaluateOnNewDocument(`(() => {
		const hurry = (page) => { if (Number(page.body?.dataset.refresh) > 1) page.body.dataset.refresh = "1"; };
		new MutationObserver(() => hurry(document)).observe(document, { childList: true, subtree: true });
		const parse = DOMParser.prototype.parseFromString;
		DOMParser.prototype.parseFromString = function (...text) {
			const page = parse.apply(this, text);
			hurry(page);
			return page;
		};
	})()`).Do(ctx)
	return err
})

func openWindow(t *testing.T, url string) *browser {
	t.Helper()
	root, err := chromium()
	if errors.Is(err, exec.ErrNotFound) {
		redistest.Missing(t, err.Error())
	}
	require.NoError(t, err, "chromium-headless-shell does not start")
	// A tab with its own cookies needs its own window, which chromedp.WithNewBrowserContext
	// does not create.
	executor := cdp.WithExecutor(root, chromedp.FromContext(root).Browser)
	jar, err := target.CreateBrowserContext().Do(executor)
	require.NoError(t, err)
	tab, err := target.CreateTarget("about:blank").WithBrowserContextID(jar).WithNewWindow(true).Do(executor)
	require.NoError(t, err)
	ctx, cancel := chromedp.NewContext(root, chromedp.WithTargetID(tab))
	t.Cleanup(func() {
		cancel()
		require.NoError(t, target.DisposeBrowserContext(jar).Do(executor))
	})
	b := &browser{t: t, ctx: ctx, jar: jar, url: url}
	b.expect("Autofocus processing was blocked because a document already has a focused element") // the test was quicker
	chromedp.ListenTarget(ctx, b.hear)
	require.NoError(t, chromedp.Run(ctx, network.Enable(), log.Enable(), runtime.Enable(), chromedp.EmulateViewport(1280, 900), hurry,
		emulation.SetFocusEmulationEnabled(true))) // each window is the one that somebody looks at
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Empty(t, b.faults, "the console is silent")
	})
	return b
}

// hear collects complaints of the console, the page's policy and the network.
func (b *browser) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.fault("exception: " + e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		b.fault(fmt.Sprintf("console: %s, %d arguments", e.Type, len(e.Args)))
	case *log.EventEntryAdded:
		b.fault(fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.url) && !strings.HasPrefix(e.Request.URL, "data:") && e.Request.URL != "about:blank" {
			b.fault("the page asks for " + e.Request.URL)
		}
	case *page.EventJavascriptDialogOpening:
		b.fault("a dialog: " + e.Message)
	}
}

func (b *browser) fault(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.allow, func(part string) bool { return strings.Contains(text, part) }) {
		b.faults = append(b.faults, text)
	}
}

// expect allows complaints that contain a text.
func (b *browser) expect(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allow = append(b.allow, part)
}

// run runs actions in the window within the time limit.
func (b *browser) run(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		require.NoError(b.t, err, "the page shows:\n%s", b.text())
	}
}

// text returns the text of the page.
func (b *browser) text() (out string) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`location.pathname + "\n" + document.body.innerText`, &out))
	return out
}

// open goes to a page.
func (b *browser) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.url + path))
}

// sees waits until the page shows a text.
func (b *browser) sees(text string) {
	b.t.Helper()
	b.until(`document.body.innerText.includes(` + quote(text) + `)`)
}

// at waits until the window is at a page.
func (b *browser) at(path string) {
	b.t.Helper()
	b.until(`location.pathname + location.search === ` + quote(path))
}

// until waits until an expression is true of a page that has come as a whole, across page loads.
func (b *browser) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	expression = `document.readyState === "complete" && (` + expression + `)`
	for {
		err := chromedp.Run(ctx, chromedp.Poll(expression, nil, chromedp.WithPollingInterval(50*time.Millisecond),
			chromedp.WithPollingTimeout(patience)))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "navigated") && !strings.Contains(err.Error(), "context") {
			require.NoError(b.t, err, "waiting for %s, the page shows:\n%s", expression, b.text())
		}
	}
}

// press clicks the button, link or summary that contains a text.
func (b *browser) press(text string) {
	b.t.Helper()
	b.click(fmt.Sprintf(`//*[self::button or self::a or self::summary][contains(normalize-space(.), %s)]`, quote(text)), chromedp.BySearch)
}

// click clicks what a selector finds. It tries again if a refresh replaced the element
// before.
func (b *browser) click(selector string, by ...chromedp.QueryOption) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		err := chromedp.Run(ctx, chromedp.Click(selector, append(by, chromedp.NodeVisible)...))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			require.NoError(b.t, err, "to click %s, the page shows:\n%s", selector, b.text())
		}
	}
}

// focusOn focuses the element that a selector finds, in one step: a refresh may replace what was found before.
func (b *browser) focusOn(selector string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`(() => {
		const e = document.querySelector(%s);
		if (!e?.checkVisibility({ visibilityProperty: true })) return false;
		e.focus();
		return document.activeElement === e;
	})()`, quote(selector)))
}

// fill replaces the content of the field that a selector finds by typing.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	b.focusOn(selector)
	b.run(chromedp.Evaluate(`document.activeElement.select()`, nil), chromedp.KeyEvent(text))
}

// choose selects a file with a content in a file field.
func (b *browser) choose(selector, name, content string) {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	require.NoError(b.t, os.WriteFile(path, []byte(content), 0o600))
	b.run(chromedp.SetUploadFiles(selector, []string{path}, chromedp.ByQuery))
}

// value evaluates an expression in the page.
func value[T any](b *browser, expression string) (out T) {
	b.t.Helper()
	b.run(chromedp.Evaluate(expression, &out))
	return out
}

// signIn signs in with a key.
func (b *browser) signIn(key string) {
	b.t.Helper()
	b.open("/signin")
	b.run(chromedp.SendKeys("#key", key+"\r", chromedp.ByQuery))
	b.at("/")
	b.sees("Sign out")
}

// cookieOf sets a cookie as the server at url would.
func cookieOf(url, name, value string) chromedp.Action {
	return network.SetCookie(name, value).WithURL(url).WithPath("/").WithSecure(true).WithHTTPOnly(true)
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// shoot takes pictures of the whole page, wide and narrow, light and dark, and writes
// them to DETACHD_ARTIFACTS, which `make check` sets. The window becomes as high
// as the page: otherwise elements that stick to its edge would be in the middle of the
// picture.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("DETACHD_ARTIFACTS")
	if dir == "" {
		return
	}
	require.NoError(b.t, os.MkdirAll(dir, 0o755))
	const highest = 6000
	for _, width := range []int64{1280, 400} {
		b.run(chromedp.EmulateViewport(width, 900))
		high := value[int64](b, `document.documentElement.scrollHeight`)
		b.run(chromedp.EmulateViewport(width, min(max(high, 900), highest)))
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			var picture []byte
			b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
				picture, err = page.CaptureScreenshot().WithOptimizeForSpeed(true).Do(ctx)
				return err
			}))
			require.NoError(b.t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), picture, 0o644))
		}
	}
	b.run(chromedp.EmulateViewport(1280, 900))
}

// screen takes pictures of what a visitor sees at first, as large as screens are.
func (b *browser) screen(name string) {
	b.t.Helper()
	dir := os.Getenv("DETACHD_ARTIFACTS")
	if dir == "" {
		return
	}
	require.NoError(b.t, os.MkdirAll(dir, 0o755))
	for _, size := range [][2]int64{{1440, 900}, {390, 844}} {
		b.run(chromedp.EmulateViewport(size[0], size[1]))
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			var picture []byte
			b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
				picture, err = page.CaptureScreenshot().WithOptimizeForSpeed(true).Do(ctx)
				return err
			}))
			require.NoError(b.t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, size[0], scheme)), picture, 0o644))
		}
	}
	b.scheme("light")
	b.run(chromedp.EmulateViewport(1440, 900))
}
