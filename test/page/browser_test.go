package page

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// chromium is the path of a browser: CHROMIUM, or the first that is found.
func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("PAGE") != "" {
		t.Fatal("there is no Chromium: install Debian's package chromium, or say in CHROMIUM where one is")
	}
	t.Skip("there is no Chromium: install Debian's package chromium, or say in CHROMIUM where one is")
	return ""
}

// A tab is a page in a browser of its own, with everything that it complained of.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

func open(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)),
		chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))
	if os.Getuid() == 0 { // Chromium's sandbox does not work for root
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	// The first call starts the browser, which lives for as long as that call's context.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.complaints = append(b.complaints, m.String())
			b.mu.Unlock()
		}
	}()
	return b
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, harness.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns the value of an expression on the page.
func eval[T any](b *tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, harness.Patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return value
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, "[...document.querySelectorAll(`"+selector+"`)].map((e) => e.innerText).join('\\n')")
}

// await waits until an element's text holds something.
func (b *tab) await(selector, part string) {
	b.t.Helper()
	last := ""
	harness.Eventually(b.t, selector+" holds "+part, func() bool {
		last = b.text(selector)
		return strings.Contains(last, part)
	})
}

// screen sets the size of the window and the colour scheme.
func (b *tab) screen(width int64, scheme string) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(width, 900))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// quiet fails the test where the browser has complained: of an exception, a policy, a request that failed.
func (b *tab) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) > 0 {
		b.t.Errorf("the browser complains: %q", b.complaints)
	}
}
