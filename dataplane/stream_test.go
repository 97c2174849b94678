package dataplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/access"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// streaming is a configuration of one listener of TCP services, each with one cluster of the endpoints.
func streaming(streams ...*snapshot.Stream) *snapshot.Snapshot {
	s := configuration("127.0.0.1:0", "127.0.0.1:1")
	l := s.Listeners[0]
	l.Services, l.Routes, l.Streams = nil, nil, streams
	s.Clusters = nil
	for _, one := range streams {
		l.TLS = one.TLS != nil
		one.Timeouts = snapshot.Timeouts{Connect: 5 * time.Second, Idle: time.Minute}
		one.Clusters = []snapshot.WeightedCluster{{Cluster: one.Name, Weight: 1}}
	}
	return s
}

// cluster adds the cluster of a stream.
func cluster(s *snapshot.Snapshot, id string, endpoints ...string) *snapshot.Cluster {
	c := &snapshot.Cluster{ID: id, Service: id, Health: snapshot.HealthCheck{Type: snapshot.CheckDisabled}}
	for _, e := range endpoints {
		c.Endpoints = append(c.Endpoints, snapshot.Endpoint{Addr: netip.MustParseAddrPort(e), Weight: 1})
	}
	s.Clusters = append(s.Clusters, c)
	return c
}

// answering is an endpoint that gives each connection to handle and then closes it.
func answering(t testing.TB, handle func(nc *net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
			go func() {
				defer nc.Close()
				handle(nc.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().String()
}

// echo gives back what comes, behind a name.
func echo(t testing.TB, name string) string {
	return answering(t, func(nc *net.TCPConn) {
		_, _ = io.WriteString(nc, name)
		_, _ = io.Copy(nc, nc)
		_ = nc.CloseWrite()
	})
}

func dial(t testing.TB, d *DataPlane) *net.TCPConn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", d.Bound("127.0.0.1:0"), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = nc.Close() })
	return nc.(*net.TCPConn)
}

// expect reads a text.
func expect(t testing.TB, nc io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(nc, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v; want %q", got[:n], err, want)
	}
}

// until waits for something to become so.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for at := time.Now(); !so(); time.Sleep(time.Millisecond) {
		if time.Since(at) > 20*time.Second {
			t.Fatal("not so: " + what)
		}
	}
}

// TestStreamBothWays: small and large, in both directions at once, with a half that ends before the other.
func TestStreamBothWays(t *testing.T) {
	for _, size := range []int{0, 1, 100, 16 << 10, 5<<20 + 17} {
		data := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
		d := newPlane(t)
		s := streaming(&snapshot.Stream{Name: "a"})
		cluster(s, "a", echo(t, "hello"))
		apply(t, d, s)
		nc := dial(t, d)
		expect(t, nc, "hello")
		go func() {
			for at := 0; at < len(data); {
				n := min(1+at%70001*3, len(data)-at)
				if _, err := nc.Write(data[at : at+n]); err != nil {
					t.Error(err)
					return
				}
				at += n
			}
			_ = nc.CloseWrite()
		}()
		got, err := io.ReadAll(nc)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
		until(t, "all connections are over", func() bool { return d.metrics.Stream("", "a").Open.Value() == 0 })
		m := d.metrics.Stream("", "a")
		if in, out := m.BytesIn.Load(), m.BytesOut.Load(); in != uint64(size) || out != uint64(size+5) {
			t.Errorf("%d bytes: %d in and %d out are counted", size, in, out)
		}
	}
}

// TestStreamLog: a connection has a line, at its end.
func TestStreamLog(t *testing.T) {
	d := newPlane(t)
	s := streaming(&snapshot.Stream{Namespace: "n", Name: "a", TLS: &snapshot.TLS{MinVersion: tls.VersionTLS12, Certificates: []snapshot.Certificate{issue(t, 1, "a.example")}}})
	endpoint := echo(t, "hello")
	cluster(s, "a", endpoint)
	s.AccessLog.Path, s.AccessLog.SamplePercent = filepath.Join(t.TempDir(), "log"), 100
	apply(t, d, s)
	conn, _, err := handshake(t, d, nil, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, conn, "hello")
	if _, err := io.WriteString(conn, "abc"); err != nil {
		t.Fatal(err)
	}
	expect(t, conn, "abc")
	_ = conn.CloseWrite()
	if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
		t.Fatalf("%q %v", rest, err)
	}
	var line string
	until(t, "there is a line", func() bool {
		text, _ := os.ReadFile(s.AccessLog.Path)
		line = string(text)
		return strings.HasSuffix(line, "\n")
	})
	for _, want := range []string{
		`"protocol":"TCP"`, `"bytes_in":3`, `"bytes_out":8`, `"namespace":"n"`, `"service":"a"`, `"upstream_addr":"` + endpoint + `"`,
		`"attempts":1`, `"sni":"a.example"`, `"tls_version":"1.3"`, `"client_ip":"127.0.0.1"`, `"config_hash":"test"`,
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	if strings.Contains(line, "reason") {
		t.Error(line)
	}
}

// TestStreamTLS: which service a name belongs to, where TLS ends here and where it goes on.
func TestStreamTLS(t *testing.T) {
	through := func(name string) string { // an endpoint of its own for each, which ends TLS
		cert := issue(t, 1, name)
		pair, err := tls.X509KeyPair(cert.Chain, cert.Key)
		if err != nil {
			t.Fatal(err)
		}
		return answering(t, func(nc *net.TCPConn) {
			conn := tls.Server(nc, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
			_, _ = io.WriteString(conn, name)
			_ = conn.CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	for _, passthrough := range []bool{true, false} {
		d := newPlane(t)
		streams := []*snapshot.Stream{
			{Name: "exact", Hosts: []string{"a.example"}},
			{Name: "wild", Hosts: []string{"*.example"}},
			{Name: "longer", Hosts: []string{"*.b.example"}},
		}
		for i, one := range streams {
			if one.Passthrough = passthrough; !passthrough {
				one.TLS = &snapshot.TLS{MinVersion: tls.VersionTLS12, Certificates: []snapshot.Certificate{issue(t, int64(i), "x.example")}}
			}
		}
		s := streaming(streams...)
		for _, one := range streams {
			if passthrough {
				cluster(s, one.Name, through(one.Name))
			} else {
				cluster(s, one.Name, answering(t, func(nc *net.TCPConn) {
					_, _ = io.WriteString(nc, one.Name)
					_ = nc.CloseWrite()
					_, _ = io.Copy(io.Discard, nc)
				}))
			}
		}
		apply(t, d, s)
		for _, tt := range []struct{ name, service string }{
			{"a.example", "exact"},
			{"A.EXAMPLE", "exact"},
			{"c.example", "wild"},
			{"c.B.example", "longer"},
			{"b.example", "wild"},
			{"nobody.test", ""},
			{"", map[bool]string{true: "", false: "exact"}[passthrough]},
		} {
			for _, cut := range []bool{false, true} {
				var nc net.Conn = dial(t, d)
				if cut {
					nc = &fragmented{Conn: nc}
				}
				conn := tls.Client(nc, &tls.Config{ServerName: tt.name, InsecureSkipVerify: true, NextProtos: []string{"other"}})
				text, err := io.ReadAll(conn)
				if string(text) != tt.service || (err == nil) != (tt.service != "") {
					t.Errorf("passed through %t, %q: %q %v; want %q", passthrough, tt.name, text, err, tt.service)
				}
				if err != nil && !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("passed through %t, %q: the client is told %v", passthrough, tt.name, err)
				}
				_ = conn.Close()
			}
		}
	}
}

// TestStreamClientAuth: a TCP service asks for certificates as one of HTTP does.
func TestStreamClientAuth(t *testing.T) {
	d := newPlane(t)
	ours := newAuthority(t)
	s := streaming(&snapshot.Stream{Name: "a", TLS: &snapshot.TLS{
		MinVersion: tls.VersionTLS12, Certificates: []snapshot.Certificate{issue(t, 1, "a.example")},
		ClientAuth: &snapshot.ClientAuth{Required: true, CA: ours.pem},
	}})
	cluster(s, "a", echo(t, "hello"))
	apply(t, d, s)
	for _, cert := range []tls.Certificate{{}, ours.client(t, "ann")} {
		conn := tls.Client(dial(t, d), &tls.Config{InsecureSkipVerify: true, GetClientCertificate: showing(cert)})
		got := make([]byte, 5)
		if _, err := io.ReadFull(conn, got); (err == nil) != (len(cert.Certificate) > 0) {
			t.Errorf("%d certificates: %q %v", len(cert.Certificate), got, err)
		}
	}
}

// TestStreamTriesOthers: an endpoint that takes no connection costs the client nothing; where none does it is closed.
func TestStreamTriesOthers(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	d := newPlane(t)
	s := streaming(&snapshot.Stream{Name: "a"}, &snapshot.Stream{Name: "none"})
	s.Listeners[0].Streams = s.Listeners[0].Streams[:1]
	cluster(s, "a", dead.Addr().String(), echo(t, "hello"))
	apply(t, d, s)
	for range 6 {
		expect(t, dial(t, d), "hello")
	}
	s.Clusters = nil
	cluster(s, "a", dead.Addr().String())
	apply(t, d, s)
	if n, err := dial(t, d).Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("without an endpoint: %d %v", n, err)
	}
}

// TestStreamByClient: with a hash each client has one endpoint.
func TestStreamByClient(t *testing.T) {
	d := newPlane(t)
	s := streaming(&snapshot.Stream{Name: "a", Balance: snapshot.Balance{HashOn: snapshot.HashClientIP}})
	cluster(s, "a", echo(t, "1"), echo(t, "2"), echo(t, "3"), echo(t, "4")).Algorithm = snapshot.ConsistentHash
	apply(t, d, s)
	seen := map[string]bool{}
	for range 8 {
		nc := dial(t, d)
		got := make([]byte, 1)
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatal(err)
		}
		seen[string(got)] = true
		_ = nc.Close()
		until(t, "it is over", func() bool { return d.metrics.Stream("", "a").Open.Value() == 0 })
	}
	if len(seen) != 1 {
		t.Errorf("one client had %d endpoints", len(seen))
	}
}

func TestStreamLimits(t *testing.T) {
	d := newPlane(t)
	s := streaming(&snapshot.Stream{Name: "a", MaxConnections: 2})
	cluster(s, "a", echo(t, "hello"))
	apply(t, d, s)
	first, second := dial(t, d), dial(t, d)
	expect(t, first, "hello")
	expect(t, second, "hello")
	apply(t, d, s) // what is open still counts
	if n, err := dial(t, d).Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("above the limit: %d %v", n, err)
	}
	_ = first.Close()
	until(t, "one has left", func() bool { return d.metrics.Stream("", "a").Open.Value() == 1 })
	expect(t, dial(t, d), "hello")

	s.Limits.MaxConnections = 1 // of the process
	apply(t, d, s)
	nc, err := net.DialTimeout("tcp", d.Bound("127.0.0.1:0"), 20*time.Second)
	if err != nil {
		return // it was reset already
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	if text, err := io.ReadAll(nc); len(text) > 0 || isTimeout(err) {
		t.Errorf("above the process's limit: %q %v", text, err)
	}
}

func TestStreamAccess(t *testing.T) {
	d := newPlane(t)
	for _, tt := range []struct {
		config access.Config
		ok     bool
	}{
		{access.Config{Allow: []string{"127.0.0.0/8"}}, true},
		{access.Config{Allow: []string{"10.0.0.0/8"}}, false},
		{access.Config{Deny: []string{"127.0.0.1"}}, false},
	} {
		s := streaming(&snapshot.Stream{Name: "a", Access: tt.config})
		cluster(s, "a", echo(t, "x"))
		apply(t, d, s)
		n, err := dial(t, d).Read(make([]byte, 1))
		if isTimeout(err) || (n == 1) != tt.ok {
			t.Errorf("%+v: %d %v", tt.config, n, err)
		}
	}
}

// TestStreamIdle: a silent connection ends, and one that says something now and then does not.
func TestStreamIdle(t *testing.T) {
	d := newPlane(t)
	s := streaming(&snapshot.Stream{Name: "a"})
	s.Listeners[0].Streams[0].Timeouts.Idle = 200 * time.Millisecond
	cluster(s, "a", echo(t, "hello"))
	apply(t, d, s)
	nc := dial(t, d)
	expect(t, nc, "hello")
	for range 6 {
		time.Sleep(70 * time.Millisecond) // longer together than the limit
		if _, err := io.WriteString(nc, "x"); err != nil {
			t.Fatal(err)
		}
		expect(t, nc, "x")
	}
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("in silence: %d %v", n, err)
	}
}

// TestStreamReset: who breaks off is not taken for who has ended.
func TestStreamReset(t *testing.T) {
	d := newPlane(t)
	broke := make(chan error, 1)
	s := streaming(&snapshot.Stream{Name: "a"})
	cluster(s, "a", answering(t, func(nc *net.TCPConn) {
		_, _ = io.WriteString(nc, "hello")
		_, err := io.Copy(io.Discard, nc)
		broke <- err
	}))
	apply(t, d, s)
	nc := dial(t, d)
	expect(t, nc, "hello")
	_ = nc.SetLinger(0)
	_ = nc.Close()
	if err := <-broke; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the endpoint sees %v", err)
	}
	s.Clusters = nil
	cluster(s, "a", answering(t, func(nc *net.TCPConn) {
		expect(t, nc, "x")
		_ = nc.SetLinger(0)
	}))
	apply(t, d, s)
	nc = dial(t, d)
	if _, err := io.WriteString(nc, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
}

// TestStreamSurvivesReload, also one that changes where the next connection goes; a listener that goes leaves its
// connections the time to drain.
func TestStreamSurvivesReload(t *testing.T) {
	d := newPlane(t)
	s := streaming(&snapshot.Stream{Name: "a"})
	cluster(s, "a", echo(t, "1"))
	apply(t, d, s)
	old := dial(t, d)
	expect(t, old, "1")
	s.Clusters = nil
	cluster(s, "a", echo(t, "2"))
	apply(t, d, s)
	expect(t, dial(t, d), "2")
	if _, err := io.WriteString(old, "still here"); err != nil {
		t.Fatal(err)
	}
	expect(t, old, "still here")

	elsewhere := configuration("127.0.0.2:0", "127.0.0.1:1")
	apply(t, d, elsewhere)
	if _, err := io.WriteString(old, "x"); err != nil {
		t.Fatal(err)
	}
	expect(t, old, "x")
}

// TestStreamDrain: connections have the time to drain, and no more.
func TestStreamDrain(t *testing.T) {
	d := newPlane(t)
	s := streaming(&snapshot.Stream{Name: "a"})
	s.Limits.DrainTimeout = 200 * time.Millisecond
	cluster(s, "a", echo(t, "hello"))
	apply(t, d, s)
	nc := dial(t, d)
	expect(t, nc, "hello")
	done := make(chan error, 1)
	go func() { done <- d.Drain(context.Background()) }()
	until(t, "it drains", func() bool { return !d.Ready() })
	if _, err := io.WriteString(nc, "x"); err != nil {
		t.Fatal(err)
	}
	expect(t, nc, "x")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "1 connection") {
		t.Errorf("Drain: %v", err)
	}
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("when the time is over: %d %v", n, err)
	}
}
