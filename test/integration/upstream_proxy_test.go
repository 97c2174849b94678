package integration_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// headed is a listener that takes the PROXY header off each connection and keeps it.
type headed struct {
	net.Listener
	mu    sync.Mutex
	heads []*proxyproto.Header
}

type behindHeader struct {
	net.Conn
	r *bufio.Reader
}

func (b behindHeader) Read(p []byte) (int, error) { return b.r.Read(p) }

func (h *headed) Accept() (net.Conn, error) {
	for {
		nc, err := h.Listener.Accept()
		if err != nil {
			return nil, err
		}
		r := bufio.NewReader(nc)
		header, err := proxyproto.Read(r)
		if err != nil {
			_ = nc.Close()
			continue
		}
		h.mu.Lock()
		h.heads = append(h.heads, header)
		h.mu.Unlock()
		return behindHeader{nc, r}, nil
	}
}

// TestProxyHeaderForEndpoints: each request's connection says whose it is, and none serves two.
func TestProxyHeaderForEndpoints(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2"} {
		for _, protocol := range []string{"HTTP", "H2C"} {
			t.Run(version+" "+protocol, func(t *testing.T) {
				t.Parallel()
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				h := &headed{Listener: l}
				srv := &http.Server{Handler: harness.Echo("a"), ReadHeaderTimeout: harness.Patience, Protocols: &http.Protocols{}}
				srv.Protocols.SetHTTP1(true)
				srv.Protocols.SetUnencryptedHTTP2(true)
				done := make(chan struct{})
				go func() {
					defer close(done)
					_ = srv.Serve(h)
				}()
				t.Cleanup(func() {
					_ = srv.Close()
					<-done
				})
				p := harness.Start(t, fmt.Sprintf(
					"services:\n  - {name: web, bind_address: '127.0.0.1:0', backends: [{address: '%s', protocol: %s}], upstream_proxy_protocol: %s, health_check: {type: HTTP, path: /, frequency_secs: 1}}\n",
					l.Addr(), protocol, version), harness.Options{})
				front := netip.MustParseAddrPort(p.Addr(t, "web"))
				seen := map[string]bool{}
				for range 3 {
					c := harness.Dial(t, p.Addr(t, "web"))
					e := harness.ParseEchoed(t, c.Do(t, request("PUT", "/x", "Content-Length: 2")+"ab").Text)
					if seen[e.Connection] || e.Bytes != 2 {
						t.Errorf("%+v", e)
					}
					seen[e.Connection] = true
					want := c.Conn.LocalAddr().String() + " " + front.String()
					h.mu.Lock()
					found := 0
					for _, header := range h.heads {
						if header.Command != proxyproto.LOCAL && header.SourceAddr.String()+" "+header.DestinationAddr.String() == want {
							found++
						}
					}
					h.mu.Unlock()
					if found != 1 {
						t.Errorf("%d headers say %s", found, want)
					}
				}
				harness.Eventually(t, "a health check has come", func() bool {
					h.mu.Lock()
					defer h.mu.Unlock()
					for _, header := range h.heads {
						if header.Command == proxyproto.LOCAL {
							return true
						}
					}
					return false
				})
				if e := p.Endpoints(t, "web")[0]; !e.Healthy || strings.Contains(e.LastError, "PROXY") {
					t.Errorf("%+v", e)
				}
			})
		}
	}
}
