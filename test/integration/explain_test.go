package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// shopConfig is a configuration to ask about. extra is what the routes have besides.
func shopConfig(upstream, login string) string {
	return fmt.Sprintf(`
services:
  - name: shop
    bind_address: '127.0.0.1:0'
    hosts: [shop.example.com]
    upstreams: ['%s']
    health_check: {type: Disabled}
    routes:
      - name: api
        matches: [{path: {type: Prefix, value: /api}, methods: [GET]}]
        filters: [{rewrite: {replace_prefix: /}}, {request_headers: {set: {Authorization: 'Bearer letmein'}}}]
      - name: login
        matches: [{path: {type: Exact, value: %s}, headers: [{name: X-Key, type: Exact, value: letmein}]}]
      - name: plain
        matches: [{path: {type: Prefix, value: /}}]
`, upstream, login)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("a"))
	config := shopConfig(origin.Addr, "/login")
	p := harness.Start(t, config, harness.Options{})
	file := configFile(t, strings.Replace(config, "127.0.0.1:0", "127.0.0.1:8080", 1))
	admin := "http://" + p.AdminAddr(t)
	live := strings.TrimPrefix(p.Addr(t, "shop"), "127.0.0.1")
	for _, c := range []struct {
		arguments []string
		code      int
		stdout    []string // parts of it
		stderr    string
	}{
		{[]string{"-c", file, "GET", "http://shop.example.com:8080/api/x"}, 0, []string{
			"route      shop/api\n", "filters    1. rewrite\n           2. headers\n", origin.Addr + ", weight 1\n",
			"shop/login: the path is not /login\n", "shop/plain: takes the request too, but shop/api comes first: its path /api is longer than /\n",
		}, ""},
		{[]string{"-c", file, "POST", "http://shop.example.com:8080/api/x"}, 0, []string{"route      shop/plain\n", "shop/api: the method is not GET\n"}, ""},
		{[]string{"-c", file, "http://shop.example.com/login", "-H", "x-key: letmein"}, 0, []string{"route      shop/login\n", "note       no listener has port 80"}, ""},
		{[]string{"-c", file, "http://shop.example.com:8080/login", "-H", "X-Key: other"}, 0, []string{"shop/login: the header X-Key has another value\n"}, ""},
		{[]string{"-c", file, "http://shop.example.com:8080/health"}, 0, []string{"answer     the health of the service shop"}, ""},
		{[]string{"-c", file, "--listener", "8080", "https://shop.example.com/"}, 0, []string{"note       the listener speaks plain HTTP, and the URL says https\n"}, ""},
		{[]string{"-c", file, "http://nobody:8080/"}, 1, []string{"answer     404", "shop/api: the host is not shop.example.com\n"}, ""},
		{[]string{"-c", file, "http://shop.example.com:8080/%00"}, 1, []string{"answer     refused", "refused with 400"}, ""},
		{[]string{"-c", file, "http://shop.example.com:1/"}, 2, nil, "no listener has port 1"},
		{[]string{"-c", file, "nowhere"}, 2, nil, "must be a URL"},
		{[]string{"-c", file}, 2, nil, "Run 'pingora-proxy explain --help'"},
		{[]string{"-c", file, "--output", "xml", "http://a/"}, 2, nil, "--output xml: must be text or json"},
		{[]string{"-c", file, "--admin", admin, "http://a/"}, 2, nil, "none of the others can be"},
		{[]string{"-c", configFile(t, "services: [{name: x}]\n"), "http://a/"}, 2, nil, "services[0].bind_address"},
		{[]string{"-c", file + ".none", "http://a/"}, 2, nil, "there is no such file"},

		{[]string{"--admin", admin, "http://shop.example.com" + live + "/api"}, 0, []string{"route      shop/api\n", origin.Addr + ", weight 1, serving\n"}, ""},
		{[]string{"--admin", strings.TrimPrefix(admin, "http://"), "http://shop.example.com" + live + "/login", "-H", "X-Key: letmein"}, 0, []string{"route      shop/login\n"}, ""},
		{[]string{"--admin", admin, "http://nobody" + live + "/"}, 1, []string{"answer     404"}, ""},
		{[]string{"--admin", admin, "http://shop.example.com:1/"}, 2, nil, "no listener has port 1"},
		{[]string{"--admin", "http://127.0.0.1:1", "http://a/"}, 2, nil, "--admin http://127.0.0.1:1: dial tcp"},
		{[]string{"--admin", "http://" + p.MetricsAddr(t), "http://a/"}, 2, nil, "there is no /api/v1/explain"},
		{[]string{"--admin", "ftp://a", "http://a/"}, 2, nil, "--admin ftp://a: must be a URL"},
	} {
		t.Run(strings.Join(c.arguments, " "), func(t *testing.T) {
			r := harness.Run(t, nil, append([]string{"explain"}, c.arguments...)...)
			if r.Code != c.code || !strings.Contains(r.Stderr, c.stderr) {
				t.Errorf("%+v, want %d and %q", r, c.code, c.stderr)
			}
			for _, part := range c.stdout {
				if !strings.Contains(r.Stdout, part) {
					t.Errorf("%s\nwant %q", r.Stdout, part)
				}
			}
			if strings.Contains(r.Stdout, "letmein") || strings.Contains(r.Stderr, "letmein") {
				t.Errorf("a secret is printed: %+v", r)
			}
		})
	}
	// What is said is what happens.
	var e struct {
		Outcome string
		Route   struct{ Name string }
	}
	for _, path := range []string{"/api/x", "/login", "/other"} {
		r := harness.Run(t, nil, "explain", "--admin", admin, "-o", "json", "http://shop.example.com"+live+path)
		if err := json.Unmarshal([]byte(r.Stdout), &e); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
		c := harness.Dial(t, p.Addr(t, "shop"))
		c.Do(t, "GET "+path+" HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
		if line := p.AccessOf(t, path); line.Text("route") != e.Route.Name || e.Outcome != "route" {
			t.Errorf("%s: %+v, and the request went to %s", path, e, line.Text("route"))
		}
	}
}
