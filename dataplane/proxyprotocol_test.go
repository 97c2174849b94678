package dataplane

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestProxyProtocol: a header in front of everything tells who the client is, to the endpoint too, and comes from nobody
// else.
func TestProxyProtocol(t *testing.T) {
	told := make(chan string, 8)
	endpoint := answering(t, func(nc *net.TCPConn) {
		r := bufio.NewReader(nc)
		h, err := proxyproto.Read(r)
		if err != nil {
			told <- err.Error()
			return
		}
		told <- h.SourceAddr.String() + " " + h.DestinationAddr.String()
		_, _ = io.Copy(nc, r)
	})
	d := newPlane(t)
	for _, tt := range []struct {
		name    string
		trusted []netip.Prefix
		header  string
		told    string // "self": the connection's own ends; empty: it is closed
	}{
		{"trusted", []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, "PROXY TCP4 192.0.2.1 192.0.2.9 1234 80\r\n", "192.0.2.1:1234 192.0.2.9:80"},
		{"unknown", []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, "PROXY UNKNOWN\r\n", "self"},
		{"not trusted", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "PROXY TCP4 192.0.2.1 192.0.2.9 1234 80\r\n", ""},
		{"nobody is", []netip.Prefix{}, "PROXY TCP4 192.0.2.1 192.0.2.9 1234 80\r\n", ""},
		{"no header", []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, "what comes is not a header\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := streaming(&snapshot.Stream{Name: "a"})
			cluster(s, "a", endpoint).ProxyProtocol = 2
			s.Listeners[0].ProxyProtocol = tt.trusted
			apply(t, d, s)
			nc := dial(t, d)
			if _, err := io.WriteString(nc, tt.header+"ping"); err != nil {
				t.Fatal(err)
			}
			if tt.told == "" {
				if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
					t.Errorf("%d %v", n, err)
				}
				return
			}
			expect(t, nc, "ping")
			want := tt.told
			if want == "self" {
				want = nc.LocalAddr().String() + " " + nc.RemoteAddr().String()
			}
			if got := <-told; got != want {
				t.Errorf("the endpoint is told %s, want %s", got, want)
			}
		})
	}
}

// TestProxyProtocolOverHTTP: in front of HTTP and of TLS.
func TestProxyProtocolOverHTTP(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.1 192.0.2.9 1234 80\r\n"
	d := newPlane(t)
	origin := answering(t, func(nc *net.TCPConn) {
		buf := make([]byte, 4096)
		n, _ := nc.Read(buf)
		text := "none"
		for line := range strings.Lines(string(buf[:n])) {
			if value, ok := strings.CutPrefix(strings.ToLower(line), "x-forwarded-for: "); ok {
				text = strings.TrimSpace(value)
			}
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+text)
	})
	for _, secure := range []bool{false, true} {
		s := configuration("127.0.0.1:0", origin)
		if secure {
			s = secured(origin, site{"a", nil, single(issue(t, 1, "a.example"))})
		}
		s.Listeners[0].ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		apply(t, d, s)
		var nc net.Conn = dial(t, d)
		if _, err := io.WriteString(nc, header); err != nil {
			t.Fatal(err)
		}
		if secure {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, ServerName: "a.example"})
		}
		if status, body := ask(t, nc, "a.example"); status != 200 || body != "192.0.2.1" {
			t.Errorf("TLS %t: %d %q", secure, status, body)
		}
	}
}

// TestDrainEndsFirstBytes: who is silent where a header or a name is expected holds nobody up.
func TestDrainEndsFirstBytes(t *testing.T) {
	for _, through := range []bool{true, false} {
		d := newPlane(t)
		s := streaming(&snapshot.Stream{Name: "a", Hosts: []string{"a.example"}, Passthrough: through})
		if !through {
			s.Listeners[0].ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}
		cluster(s, "a", "127.0.0.1:1")
		s.Limits.DrainTimeout, s.Limits.HeaderTimeout = 100*time.Millisecond, time.Hour
		apply(t, d, s)
		nc := dial(t, d)
		until(t, "it is there", func() bool { return d.metrics.OpenConnections.Value() == 1 })
		_ = d.Drain(context.Background())
		if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
			t.Errorf("%d %v", n, err)
		}
	}
}
