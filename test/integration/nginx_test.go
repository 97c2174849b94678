package integration_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// documented returns the code block of a language behind a heading of a page under docs/.
func documented(t *testing.T, page, heading, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	_, block, opened := strings.Cut(section, "\n```"+language+"\n")
	block, _, closed := strings.Cut(block, "\n```")
	if !found || !opened || !closed {
		t.Fatalf("docs/%s has no block of %s under %q", page, language, heading)
	}
	return block
}

// substitute replaces what stands in the documentation by what a test needs; each must be there.
func substitute(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// TestNginxInFront runs the setup of docs/operations.md as it stands there, but for the addresses, and without TLS.
func TestNginxInFront(t *testing.T) {
	t.Parallel()
	echo := harness.StartOrigin(t, harness.Echo("web"))
	tunnels := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		c.Head()
		c.Send(switching)
		_, _ = io.Copy(c.Conn, c.Reader)
	})
	p := harness.Start(t, substitute(t, documented(t, "operations.md", "Behind nginx", "yaml"),
		"'127.0.0.1:6188'", "'127.0.0.1:0'", "'127.0.0.1:3002'", "'"+echo.Addr+"'")+
		fmt.Sprintf("\n    routes: [{name: ws, matches: [{path: {value: /ws}}], backends: [{address: '%s'}]}]\n", tunnels.Addr), harness.Options{})
	addr := p.Addr(t, "admin-portal")
	nginx, err := peers.StartNginx(t.Context(), peers.Config{CPU: peers.AnyCPU, Text: func(listen, _ string) string {
		// Everybody is on the loopback: a field says where a client shall come from.
		return substitute(t, documented(t, "operations.md", "Behind nginx", "nginx"),
			"127.0.0.1:6188", addr, "listen 443 ssl;", "listen "+listen+"; set_real_ip_from 127.0.0.1; real_ip_header X-Test-Client;")
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nginx.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := harness.Dial(t, nginx.Addr)
	for name, asked := range map[string]struct{ before, chain string }{
		"straight":       {"", "203.0.113.7, 127.0.0.1"},
		"forged":         {"6.6.6.6", "6.6.6.6, 203.0.113.7, 127.0.0.1"},
		"forged, longer": {"127.0.0.1, 10.0.0.1", "127.0.0.1, 10.0.0.1, 203.0.113.7, 127.0.0.1"},
	} {
		fields := []string{"X-Test-Client: 203.0.113.7", "X-Forwarded-Proto: evil", "Authorization: Basic eDp5", "Cookie: a=1"}
		if asked.before != "" {
			fields = append(fields, "X-Forwarded-For: "+asked.before)
		}
		e, r := ask(t, c, fields...)
		seen(t, e, map[string]string{
			"X-Forwarded-For": asked.chain, "X-Forwarded-Proto": "http", "X-Forwarded-Host": "site.example",
			"Authorization": "Basic eDp5", "Cookie": "a=1",
		})
		id := r.Header.Get("X-Request-Id")
		if e.Host != "site.example" || !madeID.MatchString(id) || e.Header.Get("X-Request-Id") != id {
			t.Errorf("%s: host %q, request id %q and %q", name, e.Host, id, e.Header.Get("X-Request-Id"))
		}
		line := p.AwaitAccess(t, name, func(l harness.Line) bool { return l.Text("request_id") == id })
		if line.Text("client_ip") != "203.0.113.7" { // whatever the client wrote itself
			t.Errorf("%s: client_ip %q", name, line.Text("client_ip"))
		}
	}

	text := harness.Pattern(900 << 10) // nginx takes a megabyte unless told otherwise
	r := c.Do(t, request("POST", "/?bytes=3000000", fmt.Sprintf("Content-Length: %d", len(text)))+text)
	expect(t, r, 200, harness.Pattern(3_000_000))

	ws := harness.Dial(t, nginx.Addr)
	ws.Send(t, fmt.Sprintf(upgrade, "/ws"))
	if head := readHead(t, ws); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("%q", head)
	}
	ws.Send(t, "through both")
	if got := ws.Read(t, len("through both")); got != "through both" {
		t.Errorf("%q", got)
	}
}
