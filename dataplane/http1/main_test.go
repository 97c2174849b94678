package http1

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience of a test. Nothing waits for so long unless it is broken.
const testPatience = 20 * time.Second

// A handler answers by what the path says.
type handler struct {
	served  atomic.Int64
	waiting chan *exchange.Exchange // those of /wait
	release chan struct{}
	errs    chan error // of the bodies of /hints
}

func (h *handler) Serve(x *exchange.Exchange) {
	h.served.Add(1)
	switch path := string(x.Request.RawPath); path {
	case "/panic":
		panic("on purpose")
	case "/silent":
		return
	case "/echo":
		var all []byte
		var buf [512]byte
		for x.Request.Body != nil {
			n, err := x.Request.Body.Read(buf[:])
			all = append(all, buf[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				x.Answer(400, exchange.BadRequest)
				x.Response.Close = true
				_ = x.Downstream.Respond(x)
				return
			}
		}
		h.answer(x, string(all))
	case "/continue":
		_ = x.Downstream.Interim(x, 100, nil)
		x.Request.RawPath = []byte("/echo")
		h.Serve(x)
	case "/hints": // until the body has ended, or its time is over
		read := make(chan error, 1)
		go func() {
			var buf [512]byte
			for {
				if _, err := x.Request.Body.Read(buf[:]); err != nil {
					read <- err
					return
				}
			}
		}()
		for {
			select {
			case err := <-read:
				h.errs <- err
				return
			default:
				_ = x.Downstream.Interim(x, 103, nil)
			}
		}
	case "/wait":
		h.waiting <- x
		<-h.release
		h.answer(x, path)
	case "/stream":
		x.Response.Status, x.Response.ContentLength = 200, -1
		x.Response.Body = &stream{pieces: []string{"ab", "c"}}
		_ = x.Downstream.Respond(x)
	case "/torn":
		x.Response.Status, x.Response.ContentLength = 200, -1
		x.Response.Body = &stream{pieces: []string{"ab"}, err: io.ErrUnexpectedEOF}
		_ = x.Downstream.Respond(x)
	default:
		h.answer(x, path)
	}
}

func (h *handler) answer(x *exchange.Exchange, body string) {
	x.Response.Status = 200
	x.AnswerBody("text/plain", []byte(body))
	_ = x.Downstream.Respond(x)
}

func (h *handler) Refuse(x *exchange.Exchange, status int, reason exchange.Reason) {
	x.Answer(status, reason)
	_ = x.Downstream.Respond(x)
}

// A stream is a response's body of unknown length.
type stream struct {
	pieces []string
	err    error
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces = s.pieces[1:]
	return n, nil
}
func (s *stream) Buffered() []byte { return nil }
func (s *stream) Skip(int)         {}
func (s *stream) Ended() bool      { return len(s.pieces) == 0 && s.err == nil }

// A rig is a server in the test's hand.
type rig struct {
	t   testing.TB
	h   *handler
	srv *Server

	loops   *loop.Group
	serving sync.WaitGroup
}

func newRig(t testing.TB, o ServerOptions) *rig {
	t.Helper()
	if o.HeaderTimeout == 0 {
		o.HeaderTimeout = testPatience
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = testPatience
	}
	sweeper := wire.NewSweeper()
	ctx, cancel := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		sweeper.Run(ctx)
	}()
	h := &handler{waiting: make(chan *exchange.Exchange, 8), release: make(chan struct{}), errs: make(chan error, 1)}
	r := &rig{t: t, h: h, srv: NewServer(h, sweeper, o, logr.Discard())}
	var err error
	if r.loops, err = loop.NewGroup(1); err != nil {
		t.Fatal(err)
	}
	looped := make(chan struct{})
	go func() {
		defer close(looped)
		r.loops.Run(ctx)
	}()
	t.Cleanup(func() {
		r.srv.Close()
		r.serving.Wait()
		cancel()
		<-swept
		<-looped
	})
	return r
}

// dial opens a connection that is served: by a goroutine, with TLS or without, or by a Loop.
func (r *rig) dial(how string) net.Conn {
	r.t.Helper()
	near, far := pair(r.t)
	if how == "loop" {
		sock, err := r.loops.Next().Adopt(far.(*net.TCPConn))
		if err != nil {
			r.t.Fatal(err)
		}
		r.serving.Add(1)
		r.srv.Start(sock, exchange.Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1234")}, r.serving.Done)
		r.t.Cleanup(func() { _ = near.Close() })
		if err := near.SetDeadline(time.Now().Add(testPatience)); err != nil {
			r.t.Fatal(err)
		}
		return near
	}
	if how == "tls" {
		far = tls.Server(wire.NewCarrier(far.(*net.TCPConn)), &tls.Config{Certificates: []tls.Certificate{certificate(r.t)}})
	}
	started := make(chan struct{})
	r.serving.Go(func() {
		close(started)
		if secured, ok := far.(*tls.Conn); ok {
			if err := secured.Handshake(); err != nil {
				_ = far.Close()
				return
			}
		}
		r.srv.Serve(far, &exchange.Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1234")})
	})
	<-started
	if how == "tls" {
		secured := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
		if err := secured.Handshake(); err != nil {
			r.t.Fatal(err)
		}
		near = secured
	}
	r.t.Cleanup(func() { _ = near.Close() })
	if err := near.SetDeadline(time.Now().Add(testPatience)); err != nil {
		r.t.Fatal(err)
	}
	return near
}

// certificate makes one for nobody in particular.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// An answer is a response as a client sees it.
type answer struct {
	status int
	body   string
	close  bool
	err    error
}

// next reads one response.
func next(t testing.TB, r *bufio.Reader, method string) answer {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Close, err}
}

// ended fails the test unless nothing comes any more.
func ended(t testing.TB, r *bufio.Reader) {
	t.Helper()
	if b, err := r.ReadByte(); err != io.EOF {
		t.Errorf("read %q, %v; want the end", b, err)
	}
}
