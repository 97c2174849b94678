package load

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClientsHoldTheirConnections(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "over TLS": true} {
		t.Run(name, func(t *testing.T) { holdConnections(t, secure) })
	}
}

func holdConnections(t *testing.T, secure bool) {
	open := map[net.Conn]http.ConnState{}
	states := make(chan func(), 64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusBadGateway)
		}
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		_, _ = fmt.Fprint(w, "ok")
	}))
	s.Config.ConnState = func(c net.Conn, st http.ConnState) { states <- func() { open[c] = st } }
	var over *tls.Config
	if secure {
		s.StartTLS()
		over = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}
		over.RootCAs.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range states {
			f()
		}
	}()
	addr := s.Listener.Addr().String()
	conns, err := OpenClients(t.Context(), addr, "/", 40, over)
	if err != nil {
		t.Fatal(err)
	}
	if err := conns.Ask("/"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/bad", "/close"} {
		if err := conns[:1].Ask(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	conns.Close()
	if _, err := OpenClients(t.Context(), addr, "/bad", 3, over); err == nil {
		t.Error("opening with a failing request is no error")
	}
	s.Close()
	close(states)
	<-done
	if len(open) != 43 {
		t.Errorf("%d connections were made for 40 clients that ask twice and 3 that fail", len(open))
	}
}
