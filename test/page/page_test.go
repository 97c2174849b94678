package page

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// markup is what a user would write who wants to break the page.
const markup = `<img src=x onerror=document.title='broken'>`

// site serves three services in front of some origins: one that works, one that is gone, and one that fails.
func site(t *testing.T) (p *harness.Proxy, config string) {
	t.Helper()
	good := harness.StartOrigin(t, harness.Echo("good"))
	bad := harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	gone := harness.StartOriginProcess(t, "gone")
	gone.Kill(t)
	config = fmt.Sprintf(`
services:
  - name: shop
    bind_address: '127.0.0.1:0'
    hosts: [shop.example.com, '*.shop.example.com']
    upstreams: ['%s', '%s']
    routes:
      - name: api-v2
        matches: [{path: {type: Prefix, value: /api/v2}, methods: [GET, POST]}]
        filters: [{rewrite: {replace_prefix: /}}, {request_headers: {set: {X-Env: prod}}}]
      - name: login
        matches: [{path: {type: Exact, value: /login}}]
      - name: odd
        matches: [{path: {type: Regex, value: '^/%s'}}]
  - name: fails
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
    retry: {attempts: 1}
    health_check: {type: Disabled, passive: {consecutive_errors: 1, ejection_secs: 300, max_ejection_percent: 100}}
  - name: secure
    bind_address: '127.0.0.2:0'
    tls: true
    hosts: [secure.example.com]
    upstreams: ['%s']
`, good.Addr, gone.Addr, strings.ReplaceAll(markup, "'", "''"), bad.Addr, good.Addr)
	return harness.Start(t, config, harness.Options{Env: []string{"STATE_DIRECTORY=" + t.TempDir()}}), config
}

func get(t *testing.T, url, host string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

func TestPage(t *testing.T) {
	b := open(t)
	p, config := site(t)
	for range 20 {
		get(t, p.URL(t, "shop")+"/api/v2/x", "shop.example.com")
	}
	address := "http://" + p.AdminAddr(t) + "/"
	b.screen(1600, "light")
	b.run(chromedp.Navigate(address))
	b.await("#endpoints tbody", "✓ serving")
	b.await("#endpoints tbody", "✗ failed")

	// What serves is there, the routes in the order in which they are tried.
	for selector, parts := range map[string][]string{
		"#state": {"ready"}, "#overview": {p.ConfigHash(t), "Requests now"}, "#listeners tbody": {p.Addr(t, "shop"), "secure", "yes"},
		"#services tbody":  {"shop.example.com, *.shop.example.com", "1 of 2", "/health"},
		"#routes tbody":    {"shop/api-v2", "/api/v2 and below; GET or POST", "rewrite, headers", "/login exactly", markup},
		"#endpoints tbody": {"refused"}, "#certificates tbody": {"self-signed", ", in "},
	} {
		text := b.text(selector)
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s does not hold %q: %s", selector, part, text)
			}
		}
	}
	routes := b.text("#routes tbody")
	if login, api, odd := strings.Index(routes, "shop/login"), strings.Index(routes, "shop/api-v2"), strings.Index(routes, "shop/odd"); login > api || api > odd {
		t.Errorf("the routes are in another order: %s", routes)
	}
	latency := eval[string](b, `[...document.querySelectorAll('#routes tbody tr')].find((r) => r.innerText.includes('shop/api-v2')).lastChild.innerText`)
	if !strings.Contains(latency, " / ") {
		t.Errorf("the latency of a route is %q", latency)
	}

	// It follows what happens.
	if n := p.Metric(t, "upstream_ejections_total", "reason", "consecutive_errors"); n != 0 {
		t.Errorf("%v endpoints are ejected already", n)
	}
	get(t, p.URL(t, "fails")+"/", "x")
	b.await("#endpoints tbody", "✗ ejected, back in ")
	b.await("#alert-list", "No endpoint of fails can serve.")
	b.await("#announce", "problem")
	before := b.text("#endpoints td[data-until]")
	harness.Eventually(t, "the countdown goes on", func() bool { return b.text("#endpoints td[data-until]") != before })
	p.ReloadRefused(t, config+"bad: true\n")
	b.await("#alert-list", "The last reload was refused")
	b.await("#alert-list", "unknown field")
	p.WriteConfig(t, strings.ReplaceAll(config, "/login", "/signin"))
	b.await("#routes tbody", "/signin exactly")

	markupIsText(t, b)
	accessible(t, b)
	for _, width := range []int64{320, 768, 1600} {
		for _, scheme := range []string{"light", "dark"} {
			b.screen(width, scheme)
			fits(t, b, fmt.Sprint(width, " ", scheme))
		}
	}
	keyboard(t, b)
	b.quiet()
	if path := os.Getenv("PAGE_SCREENSHOT"); path != "" {
		screenshot(t, b, path)
	}
}

// markupIsText: nothing of a configuration has become an element, and nothing came from elsewhere.
func markupIsText(t *testing.T, b *tab) {
	t.Helper()
	images := eval[int](b, `document.querySelectorAll('img, iframe, object, embed, link:not([rel=icon]), script[src]').length`)
	title := eval[string](b, `document.title`)
	elsewhere := eval[[]string](b, `performance.getEntriesByType('resource').map((e) => e.name).filter((n) => !n.startsWith(location.origin + '/api/v1/') && n !== 'data:,')`)
	if images != 0 || strings.Contains(title, "broken") || len(elsewhere) > 0 {
		t.Errorf("%d elements, title %q, from elsewhere %q", images, title, elsewhere)
	}
}

// accessible looks at what assistive technology gets.
func accessible(t *testing.T, b *tab) {
	t.Helper()
	faults := eval[[]string](b, `(() => {
		const faults = [];
		for (const table of document.querySelectorAll('table')) {
			if (table.getAttribute('role') !== 'table' || !table.caption || !table.caption.textContent) faults.push('a table without a caption');
			const columns = table.tHead.rows[0].cells.length;
			for (const cell of table.tHead.rows[0].cells) if (cell.scope !== 'col') faults.push('a header without a scope');
			for (const row of table.tBodies[0].rows) {
				if (row.querySelector('.empty')) continue;
				if (row.cells.length !== columns || row.cells[0].scope !== 'row') faults.push('a row of another shape');
			}
		}
		for (const section of document.querySelectorAll('section')) {
			if (!document.getElementById(section.getAttribute('aria-labelledby'))) faults.push('a section without a name');
		}
		return faults;
	})()`)
	if len(faults) > 0 {
		t.Errorf("%q", faults)
	}
}

// fits: nothing is cut off on the side, and every text has the contrast of WCAG 2.2 AA, 4.5 to 1.
func fits(t *testing.T, b *tab, what string) {
	t.Helper()
	wide := eval[[]string](b, `[...document.querySelectorAll('body *')].filter((e) => {
		const r = e.getBoundingClientRect();
		const s = getComputedStyle(e);
		return r.width > 1 && r.right > innerWidth + 1 && s.position !== 'absolute';
	}).map((e) => e.tagName + ' ' + e.textContent.slice(0, 40))`)
	over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`)
	if len(wide) > 0 || over > 0 {
		t.Errorf("%s: wider than the window by %d: %q", what, over, wide)
	}
	pale := eval[[]string](b, `(() => {
		const parse = (c) => c.match(/[\d.]+/g).map(Number);
		const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
			.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
		const back = (e) => {
			for (; e; e = e.parentElement) {
				const c = parse(getComputedStyle(e).backgroundColor);
				if (c.length < 4 || c[3] > 0) return c;
			}
			return [255, 255, 255];
		};
		const pale = [];
		for (const e of document.querySelectorAll('body *')) {
			if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest('script, style, noscript')) continue;
			const a = light(parse(getComputedStyle(e).color)), b = light(back(e));
			const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (ratio < 4.5) pale.push(e.tagName + ' ' + e.textContent.slice(0, 30) + ' ' + ratio.toFixed(2));
		}
		return pale;
	})()`)
	if len(pale) > 0 {
		t.Errorf("%s: too little contrast: %q", what, pale)
	}
}

// keyboard: everything that can be used can be reached, is seen when it has the focus, and works.
func keyboard(t *testing.T, b *tab) {
	t.Helper()
	b.screen(1600, "light")
	eval[int](b, `document.activeElement.blur(), scrollTo(0, 0), 0`)
	var order []string
	for range 9 {
		b.run(chromedp.KeyEvent(kb.Tab))
		at := eval[string](b, `(() => {
			const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
			const seen = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && r.right > 0 && r.left < innerWidth;
			return (e.id || e.textContent.trim()) + (seen ? '' : ' unseen');
		})()`)
		order = append(order, at)
	}
	want := "Skip to the content, pause, Listeners, Services, Routes, Endpoints, Certificates, filter"
	if got := strings.Join(order, ", "); !strings.HasPrefix(got, want) {
		t.Errorf("the keyboard goes %s", got)
	}
	b.run(chromedp.Focus(chromedp.CSS("#pause")), chromedp.KeyEvent(" "))
	pressed := eval[string](b, `document.getElementById('pause').getAttribute('aria-pressed')`)
	if pressed != "true" {
		t.Errorf("the space bar does not press the button: %s", pressed)
	}
	b.run(chromedp.KeyEvent(" "), chromedp.Focus(chromedp.CSS("#filter")), chromedp.KeyEvent("SIGNIN"))
	rows := eval[int](b, `document.querySelectorAll('#routes tbody tr:not([hidden])').length`)
	if rows != 2 { // one a host
		t.Errorf("%d rows hold what is looked for", rows)
	}
	eval[int](b, `document.getElementById('filter').value = '', document.getElementById('filter').dispatchEvent(new Event('input')), 0`)
}

func screenshot(t *testing.T, b *tab, path string) {
	t.Helper()
	b.screen(1280, "light")
	eval[int](b, `document.activeElement.blur(), 0`)
	eval[int](b, `scrollTo(0, 0), 0`)
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Clean(path), png, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A page of somebody else whose name is made to point to this address gets nothing.
func TestRebinding(t *testing.T) {
	b := open(t)
	p := harness.Start(t, "services: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['127.0.0.1:1']}]\n", harness.Options{})
	_, port, _ := strings.Cut(p.AdminAddr(t), ":")
	b.run(chromedp.Navigate("http://evil.example:" + port + "/"))
	if text := b.text("body"); !strings.Contains(text, "the Host must be") || strings.Contains(text, "Listeners") {
		t.Error(text)
	}
}

// Without an answer the page says so, and goes on when there is one.
func TestNoAnswer(t *testing.T) {
	b := open(t)
	p := harness.Start(t, "services: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['127.0.0.1:1']}]\n", harness.Options{Dirty: true})
	b.run(chromedp.Navigate("http://" + p.AdminAddr(t) + "/"))
	b.await("#state", "ready")
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	b.await("#state", "✗ no answer")
	b.await("#announce", "does not answer")
}
