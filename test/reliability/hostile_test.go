package reliability

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A siege is hostile clients beside ordinary ones.
type siege struct {
	*observer
	plain, secure string
	trust         *tls.Config
	ledger        *harness.Ledger
	load          *traffic.Load
	before        float64 // resident bytes, when ordinary clients alone were served
	most          atomic.Int64
	stopped, done chan struct{}
}

// besiege starts a proxy with 50 ordinary clients. limits are fields of the configuration, and service is lines of the
// services that hostile clients ask, whose upstream serve is.
func besiege(t *testing.T, r *run, limits, service string, serve func(*harness.OriginConn)) *siege {
	t.Helper()
	ledger := harness.NewLedger(t)
	_, addrs := processes(t, ledger, 1)
	certificate, trust := secured(t, "load")
	endless := harness.StartRawOrigin(t, serve)
	_, log := logged(t)
	p := harness.Start(t, fmt.Sprintf(`%slimits: {drain_timeout_secs: 2, %s}
services:
  - name: web
    bind_address: '127.0.0.3:0'
    upstreams: ['%s']
    health_check: {type: HTTP, path: /check, timeout_ms: 800, frequency_secs: 5, healthy_threshold: 2, unhealthy_threshold: 3} # config/production.yaml
  - name: plain
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
%s
  - name: secure
    bind_address: '127.0.0.2:0'
    tls: true
    tls_config: %s
    upstreams: ['%s']
%s
`, log, limits, addrs[0], endless.Addr, service, certificate, endless.Addr, service), harness.Options{Measured: true})
	s := &siege{
		observer: observe(t, p), ledger: ledger, plain: p.Addr(t, "plain"), secure: p.Addr(t, "secure"), trust: trust,
		stopped: make(chan struct{}), done: make(chan struct{}),
	}
	s.load = traffic.Start(t, traffic.Options{Addr: p.Addr(t, "web"), Workers: 50, Rate: r.of(200, 1000)})
	s.load.Await(t, 200)
	now, err := held(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	s.before = now.resident
	go func() {
		defer close(s.done)
		for {
			if now, err := held(p.PID()); err == nil && int64(now.resident) > s.most.Load() {
				s.most.Store(int64(now.resident))
			}
			select {
			case <-s.stopped:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return s
}

// answerEndlessly answers GET with a body without end, and takes whatever comes with another method.
func answerEndlessly(c *harness.OriginConn) {
	head, _ := c.Reader.Peek(4)
	if string(head) != "GET " {
		_, _ = io.Copy(io.Discard, c.Conn)
		return
	}
	_, err := io.WriteString(c.Conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
	for chunk := make([]byte, 64<<10); err == nil; {
		_, err = c.Conn.Write(chunk)
	}
}

// grown is by how many bytes the process was larger at most than before.
func (s *siege) grown() float64 { return max(0, float64(s.most.Load())-s.before) }

// reports ends the siege and reports what ordinary clients had of it. bound is how many MiB the process may have grown by.
func (s *siege) reports(t *testing.T, r *run, what, seen string, bound float64) {
	t.Helper()
	s.load.Await(t, 100)
	tally := s.load.Stop()
	close(s.stopped)
	<-s.done
	row := counted(t, s.ledger, tally)
	row.what = what
	row.seen = fmt.Sprintf("%s; resident %.1f MiB before, %.1f MiB more at most", seen, s.before/(1<<20), s.grown()/(1<<20))
	r.report(t, row)
	if grown := s.grown() / (1 << 20); grown > bound {
		t.Errorf("it grew by %.1f MiB, %.0f are the bound", grown, bound)
	}
}

// from returns a dialer with an address of its own for each few thousand connections: each address has its own ports.
func from(i int) *net.Dialer {
	return &net.Dialer{Timeout: harness.Patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/4000))}}
}

// open opens a connection, with TLS where protocol is not "", which is agreed to.
func (s *siege) open(i int, protocol string) (net.Conn, error) {
	if protocol == "" {
		return from(i).Dial("tcp", s.plain) //nolint:noctx // the dialer has a time-out
	}
	raw, err := from(i).Dial("tcp", s.secure) //nolint:noctx // the dialer has a time-out
	if err != nil {
		return nil, err
	}
	config := s.trust.Clone()
	config.NextProtos = []string{protocol}
	conn := tls.Client(raw, config)
	_ = raw.SetDeadline(time.Now().Add(harness.Patience))
	if err := conn.Handshake(); err != nil { //nolint:noctx // it has a deadline
		_ = raw.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	return conn, nil
}
