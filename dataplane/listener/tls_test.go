package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func issue(t testing.TB, name string) snapshot.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Certificate{
		Name:  name,
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// terminate starts a Terminator for one policy. What becomes of each connection is sent to results.
func terminate(t *testing.T, turns *Handshakes, timeout time.Duration) (dial func() net.Conn, results chan error) {
	t.Helper()
	terminator := NewTerminator(turns)
	p := NewPolicy(&snapshot.TLS{MinVersion: tls.VersionTLS12, Certificates: []snapshot.Certificate{issue(t, "a.example")}}, &Certificates{})
	terminator.Use(timeout, []*Policy{p}, func(string) *Policy { return p })
	l := open(t)
	results = make(chan error, 8)
	go l.Serve(func(nc *net.TCPConn, _ door.Ends) {
		conn, _, err := terminator.Handshake(nc, nc)
		if err == nil {
			_ = conn.Close()
		}
		results <- err
	}, func() { t.Error("turned away") }, func() { t.Error("not accepted") })
	t.Cleanup(func() {
		terminator.Close()
		l.Close()
	})
	return func() net.Conn {
		nc, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = nc.Close() })
		return nc
	}, results
}

func shake(nc net.Conn) error {
	return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).Handshake()
}

// TestHandshakesTakeTurns, for which who is silent does not count.
func TestHandshakesTakeTurns(t *testing.T) {
	turns := NewHandshakes(1)
	dial, results := terminate(t, turns, patience)
	for range 3 {
		dial()
	}
	if err := shake(dial()); err != nil {
		t.Fatal(err)
	}
	if err := <-results; err != nil {
		t.Fatal(err)
	}
	turns.turns <- struct{}{}
	waits := make(chan error, 1)
	late := dial()
	go func() { waits <- shake(late) }()
	select {
	case err := <-waits:
		t.Errorf("the handshake did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	<-turns.turns
	if err := <-waits; err != nil {
		t.Errorf("when its turn came: %v", err)
	}
}

func TestHandshakeThatGetsNoTurn(t *testing.T) {
	turns := NewHandshakes(1)
	turns.turns <- struct{}{}
	dial, results := terminate(t, turns, 50*time.Millisecond)
	if err := shake(dial()); err == nil {
		t.Error("there was no turn for it")
	}
	if err := <-results; err == nil {
		t.Error("no error")
	}
}

// TestPendingHandshakesAreBounded: the one that waited longest for its client makes room, and no other one.
func TestPendingHandshakesAreBounded(t *testing.T) {
	turns := &Handshakes{turns: make(chan struct{}, 1), limit: 3}
	dial, results := terminate(t, turns, patience)
	pending := func() int {
		turns.mu.Lock()
		defer turns.mu.Unlock()
		return turns.pending.Len()
	}
	begin := func() net.Conn {
		before := pending()
		nc := dial()
		for pending() == before && before < turns.limit {
			time.Sleep(time.Millisecond)
		}
		return nc
	}
	first, second, _ := begin(), begin(), begin()
	fourth := begin()
	if err := <-results; !errors.Is(err, ErrHandshakes) {
		t.Errorf("the first ended with %v", err)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first is open: %v", err)
	}
	for _, nc := range []net.Conn{second, fourth} {
		if err := shake(nc); err != nil {
			t.Error(err)
		}
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := pending(); n > 1 { // the third; the end of the fourth may not be seen yet
		t.Errorf("%d are pending", n)
	}
}

// TestNoHandshakeThatRunsIsCutOff: where all of them wait for their turn, who comes last is turned away.
func TestNoHandshakeThatRunsIsCutOff(t *testing.T) {
	turns := &Handshakes{turns: make(chan struct{}, 1), limit: 2}
	var places []*turn
	for range 2 {
		one := turns.begin(t.Context())
		one.await(false)
		places = append(places, one)
	}
	if turns.begin(t.Context()) != nil {
		t.Error("there was a place")
	}
	places[1].await(true)
	third := turns.begin(t.Context())
	if third == nil || places[1].ctx.Err() == nil || places[0].ctx.Err() != nil {
		t.Error("the one that waits for its client did not make room")
	}
	for _, one := range append(places, third) {
		one.end()
	}
	if turns.pending.Len() != 0 {
		t.Error("places are lost")
	}
	turns.SetConnections(1000)
	if turns.limit != 500 {
		t.Errorf("the limit is %d", turns.limit)
	}
	turns.SetConnections(0)
	if turns.limit != maxPending {
		t.Errorf("the limit is %d", turns.limit)
	}
}

// TestCertificatesAreParsedOnce, and forgotten when no configuration names them.
func TestCertificatesAreParsedOnce(t *testing.T) {
	var cs Certificates
	a, b := issue(t, "a.example"), issue(t, "b.example")
	first := cs.Get(a)
	if cs.Get(b) == first {
		t.Error("two are one")
	}
	cs.Settle()
	copied := snapshot.Certificate{Name: a.Name, Chain: append([]byte(nil), a.Chain...), Key: append(snapshot.Secret(nil), a.Key...)}
	if cs.Get(copied) != first {
		t.Error("the same content was parsed again")
	}
	cs.Settle()
	if cs.Get(a) != first {
		t.Error("what is named was forgotten")
	}
	if len(cs.used) != 1 {
		t.Errorf("%d are kept, want 1", len(cs.used))
	}
	swapped := a
	swapped.Key = b.Key
	if c := cs.Get(swapped); c.err == nil {
		t.Error("a key of another certificate was taken")
	}
}
