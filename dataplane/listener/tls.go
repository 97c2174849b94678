package listener

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Terminator ends TLS on the connections of one listener. It lives as long as the listener, and so do the keys of its
// session tickets, which crypto/tls makes and replaces by itself.
type Terminator struct {
	base    *tls.Config
	turns   *Handshakes
	raw     bool // what is spoken inside is not ours to agree to
	current atomic.Pointer[termination]
	running context.Context
	stop    context.CancelFunc
}

// Raw says that no HTTP is spoken inside TLS: no protocol is agreed to (ALPN). It is called before Use.
func (t *Terminator) Raw() { t.raw = true }

// A termination is what a Terminator goes by now.
type termination struct {
	timeout time.Duration
	find    func(serverName string) (*Policy, *tls.Config)
}

// policyKey is under which a handshake's context holds where the policy is written that it went by.
type policyKey struct{}

// NewTerminator returns a Terminator that serves nobody until Use.
func NewTerminator(turns *Handshakes) *Terminator {
	t := &Terminator{turns: turns}
	t.base = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			p, config := t.current.Load().find(hello.ServerName)
			if found, ok := hello.Context().Value(policyKey{}).(**Policy); ok {
				*found = p
			}
			return config, nil
		},
	}
	t.running, t.stop = context.WithCancel(context.Background())
	t.Use(0, nil, func(string) *Policy { return nil })
	return t
}

// Use makes handshakes that begin from now on take no longer than timeout, and follow the policy that find returns for the
// name that a client asks for, which is empty where it asks for none. policies are all that find returns but nil, which
// refuses. Connections that are open stay.
func (t *Terminator) Use(timeout time.Duration, policies []*Policy, find func(serverName string) *Policy) {
	configs := make(map[*Policy]*tls.Config, len(policies))
	for _, p := range policies {
		configs[p] = t.config(p)
	}
	unknown := t.config(nil)
	t.current.Store(&termination{timeout: timeout, find: func(serverName string) (*Policy, *tls.Config) {
		p := find(serverName)
		if c := configs[p]; c != nil {
			return p, c
		}
		return nil, unknown
	}})
}

// config makes what crypto/tls goes by for the clients of one policy. Without one there is no certificate, which it tells
// the client with the alert unrecognized_name.
func (t *Terminator) config(p *Policy) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if t.raw {
		c.NextProtos = nil
	}
	if p == nil {
		c.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
		return c
	}
	c.MinVersion = p.minVersion
	if err := p.clients.invalid; err != nil { // nobody comes in, also not with a session
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, err }
		c.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
		return c
	}
	c.GetCertificate = p.certificate
	if p.clients.mode != tls.NoClientCert {
		c.ClientAuth, c.ClientCAs = p.clients.mode, p.clients.cas
		c.VerifyConnection = p.clients.verify
	}
	// A ticket is good for the name and the policy that it was given under alone: a session that was taken up again shows
	// no certificate, and must not pass for one that would.
	c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, p.ticket(&state))
		return t.base.EncryptTicket(state, session)
	}
	c.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := t.base.DecryptTicket(ticket, state)
		if err != nil || session == nil || len(session.Extra) != 1 || !bytes.Equal(session.Extra[0], p.ticket(&state)) {
			return nil, err
		}
		return session, nil
	}
	return c
}

// ticket is what a session's ticket is bound to.
func (p *Policy) ticket(state *tls.ConnectionState) []byte {
	sum := sha256.Sum256(append(p.digest[:], strings.ToLower(state.ServerName)...))
	return sum[:]
}

// Handshake makes a TLS connection of one that was accepted, and tells the policy that it went by; carrier is what TLS is to
// run over, and tcp what that is made of. Where there is an error the connection is closed.
func (t *Terminator) Handshake(tcp *net.TCPConn, carrier net.Conn) (*tls.Conn, *Policy, error) {
	running, cancel := context.WithTimeout(t.running, t.current.Load().timeout)
	defer cancel()
	turn := t.turns.begin(running)
	if turn == nil {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
		return nil, nil, ErrHandshakes
	}
	defer turn.end()
	ctx := turn.ctx
	uncut := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	var conn *tls.Conn
	var p *Policy
	var err error
	done := make(chan struct{})
	go func() { // with a stack of its own, which is large: measured, 2 to 3 KiB of 23 for each connection that is idle then
		defer close(done)
		conn, p, err = t.handshake(turn, tcp, carrier)
	}()
	<-done
	if !uncut() {
		return nil, nil, fmt.Errorf("the handshake was not over in time: %w", context.Cause(ctx))
	}
	if err == nil {
		return conn, p, nil
	}
	var strange tls.RecordHeaderError
	if errors.As(err, &strange) && isHTTP(strange.RecordHeader) {
		err = errors.New("the client speaks HTTP without TLS")
		farewell(tcp, plainHTTP)
	}
	_ = tcp.Close()
	return nil, nil, err
}

func (t *Terminator) handshake(turn *turn, tcp *net.TCPConn, carrier net.Conn) (*tls.Conn, *Policy, error) {
	if err := awaitFirstByte(tcp); err != nil {
		return nil, nil, err
	}
	if err := turn.take(); err != nil {
		return nil, nil, err
	}
	defer turn.stop()
	if c, ok := carrier.(interface {
		Around(before func(), after func() error)
	}); ok {
		c.Around(turn.leave, turn.take)
		defer c.Around(nil, nil)
	}
	conn := tls.Server(carrier, t.base)
	var p *Policy // ctx ends the handshake by closing the connection: crypto/tls would need a goroutine for that
	err := conn.HandshakeContext(context.WithValue(context.Background(), policyKey{}, &p))
	return conn, p, err
}

// Close ends the handshakes that run.
func (t *Terminator) Close() { t.stop() }

// awaitFirstByte returns when the client has sent something. One that closes instead is io.EOF.
func awaitFirstByte(tcp *net.TCPConn) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, peekErr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(peekErr, unix.EAGAIN) && !errors.Is(peekErr, unix.EINTR)
	})
	if err = errors.Join(err, peekErr); err == nil && n == 0 {
		err = io.EOF
	}
	return err
}

// isHTTP reports whether these are the first bytes of a request.
func isHTTP(b [5]byte) bool {
	for _, method := range [...]string{"GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO", "CONNE", "TRACE"} {
		if string(b[:]) == method {
			return true
		}
	}
	return false
}

const plainHTTP = "HTTP/1.1 400 Bad Request\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Content-Length: 43\r\n" +
	"Cache-Control: no-store\r\n" +
	"Connection: close\r\n\r\n" +
	"This port speaks TLS: use https, not http.\n"
