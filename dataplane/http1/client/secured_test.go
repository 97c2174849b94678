package client

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// secure returns a Conn over TLS, whose far end speaks TLS of that version at most. The handshake is over on both sides.
func secure(t testing.TB, version uint16) *endpoint {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	near, far := pair(t)
	server := tls.Server(far, &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: version, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	client := tls.Client(wire.NewCarrier(near), &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "a.test"})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return wrap(t, client, server)
}

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func TestSecuredConnectionsAreUsedAgain(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			e := secure(t, version)
			const rounds = 5
			e.script(func() {
				for range rounds {
					if e.head() == "" {
						return
					}
					e.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
				}
			})
			for i := range rounds {
				if e.conn.Stale() { // session tickets lie unread in front of the first response
					t.Fatalf("round %d: the connection is stale", i)
				}
				x, _ := request(exchange.GET)
				if err := e.conn.RoundTrip(x, in(patience)); err != nil {
					t.Fatal(err)
				}
				if body, err := read(x); body != "hello" || err != nil {
					t.Fatalf("%q, %v", body, err)
				}
				x.ResetResponse()
				if !e.over() {
					t.Fatalf("round %d: the connection cannot be used again", i)
				}
			}
		})
	}
}

// What an endpoint said unasked must not become the next response, wherever it lies: in the socket, or read already
// because it came together with the response before.
func TestSecuredConnectionsThatSpokeUnaskedAreStale(t *testing.T) {
	for _, c := range []struct {
		name   string
		unread bool // of the records that end the response, one is not asked for
		do     func(*endpoint)
	}{
		{"another record", false, func(e *endpoint) { e.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") }},
		{"end of stream", false, func(e *endpoint) { _ = e.far.(*tls.Conn).Close() }},
		{"cut off", false, func(e *endpoint) { _ = e.far.(*tls.Conn).NetConn().Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := secure(t, tls.VersionTLS13)
			next := make(chan struct{})
			e.script(func() {
				e.head()
				e.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
				<-next
				c.do(e)
			})
			x, _ := request(exchange.GET)
			if err := e.conn.RoundTrip(x, in(patience)); err != nil {
				t.Fatal(err)
			}
			_, _ = read(x)
			x.ResetResponse()
			if !e.over() {
				t.Fatal("the connection cannot be used again")
			}
			close(next)
			for end := time.Now().Add(patience); !e.conn.Stale(); {
				if time.Now().After(end) {
					t.Fatal("the connection does not become stale")
				}
			}
		})
	}
}

func TestSecuredResponseInOneWriteWithAnother(t *testing.T) {
	e := secure(t, tls.VersionTLS13)
	e.script(func() {
		e.head()
		e.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
	})
	x, _ := request(exchange.GET)
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if body, err := read(x); body != "hello" || err != nil {
		t.Fatalf("%q, %v", body, err)
	}
	x.ResetResponse()
	if e.over() {
		t.Error("a connection with a rest on it is used again")
	}
}

// A body that ends with its connection is whole only where the endpoint said so: anybody on the way can send a FIN.
func TestSecuredBodyUntilClose(t *testing.T) {
	for _, told := range []bool{true, false} {
		e := secure(t, tls.VersionTLS13)
		e.script(func() {
			e.head()
			e.write("HTTP/1.1 200 OK\r\n\r\nhello")
			if told {
				_ = e.far.(*tls.Conn).Close()
			} else {
				_ = e.far.(*tls.Conn).NetConn().Close()
			}
		})
		x, _ := request(exchange.GET)
		if err := e.conn.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		body, err := read(x)
		if body != "hello" || (err == nil) != told {
			t.Errorf("told %t: %q, %v", told, body, err)
		}
		x.ResetResponse()
		if e.over() {
			t.Error("it is used again")
		}
	}
}

// A wake-up in the middle of a write that was meant for nobody must not end a TLS connection.
func TestSecuredUploadSurvivesWakeUps(t *testing.T) {
	e := secure(t, tls.VersionTLS13)
	const size = 8 << 20
	waits := make(chan struct{})
	e.script(func() {
		e.head()
		<-waits
		if _, err := io.CopyN(io.Discard, e.far, size); err != nil {
			t.Error(err)
		}
		e.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	x, _ := request(exchange.PUT)
	newSource(x, size, strings.Repeat("x", size))
	go func() {
		defer close(waits)
		for range 20 {
			e.conn.Wake()
			time.Sleep(time.Millisecond) // only so that some of them meet the write
		}
	}()
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if body, err := read(x); body != "ok" || err != nil {
		t.Fatalf("%q, %v", body, err)
	}
	x.ResetResponse()
	if !e.over() {
		t.Error("the connection cannot be used again")
	}
}

func TestSecuredDeadline(t *testing.T) {
	e := secure(t, tls.VersionTLS13)
	e.script(func() { e.head() })
	x, _ := request(exchange.GET)
	err := e.conn.RoundTrip(x, in(100*time.Millisecond))
	if f := failure(t, err, exchange.UpstreamTimeout); !f.Sent {
		t.Error("it says that nothing was sent")
	}
	if e.over() {
		t.Error("it is used again")
	}
}

func TestSecuredStaleIsNotSent(t *testing.T) {
	e := secure(t, tls.VersionTLS13)
	got := make(chan []byte, 1)
	gone := make(chan struct{})
	e.script(func() {
		e.head()
		e.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_ = e.far.(*tls.Conn).CloseWrite()
		close(gone)
		rest, _ := io.ReadAll(e.far)
		got <- rest
	})
	x, _ := request(exchange.GET)
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	x.ResetResponse()
	e.over()
	<-gone
	for end := time.Now().Add(patience); !e.conn.Stale() && time.Now().Before(end); {
	}
	x, _ = request(exchange.POST)
	if err := e.conn.RoundTrip(x, in(patience)); err != ErrStale { //nolint:errorlint // it is that one, as it is
		t.Errorf("the error is %v", err)
	}
	e.over()
	e.conn.Close()
	e.conn = New(e.near, Options{Sweeper: e.conn.options.Sweeper}) // for the clean-up
	if rest := <-got; bytes.Contains(rest, []byte("POST")) {
		t.Errorf("%q was sent", rest)
	}
}
