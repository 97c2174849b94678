package admin

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/admin/page"
)

func TestDashboard(t *testing.T) {
	r := newRig(t)
	address := serve(t, NewAdmin(r.options))
	if status, _, _ := ask(t, address, "GET", "/", ""); status != 404 {
		t.Errorf("it is off: %d", status)
	}
	r.page.Store(true) // a reload
	status, header, body := ask(t, address, "GET", "/", "")
	want := page.New()
	if status != 200 || body != string(want.HTML) || header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %v", status, header)
	}
	for name, value := range map[string]string{
		"Content-Security-Policy": want.Policy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Referrer-Policy": "no-referrer",
	} {
		if header.Get(name) != value {
			t.Errorf("%s: %q", name, header.Get(name))
		}
	}
	if status, _, body := ask(t, address, "HEAD", "/", ""); status != 200 || body != "" {
		t.Errorf("HEAD: %d", status)
	}
	for path, want := range map[string]int{"/index.html": 404, "//": 404, "/api/v1/status": 200} {
		if status, _, _ := ask(t, address, "GET", path, ""); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if status, _, _ := ask(t, address, method, "/", ""); status != 405 {
			t.Errorf("%s: %d", method, status)
		}
	}
	for _, path := range []string{"/", "/api/v1/status", "/api/v1/snapshot", "/api/v1/explain?url=http://a/"} { // a rebound name
		if status, _, body := ask(t, address, "GET", path, "", "Host", "evil.example"); status != 403 || strings.Contains(body, "<") {
			t.Errorf("%s of another host: %d %s", path, status, body)
		}
	}
	if status, _, _ := ask(t, serve(t, NewMetrics(r.options)), "GET", "/", ""); status != 404 {
		t.Errorf("the metrics server has it, too: %d", status)
	}
	if status, header, body := ask(t, address, "GET", "/api/v1/explain", ""); status != 422 || header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a bad question: %d %s", status, body)
	}
}
