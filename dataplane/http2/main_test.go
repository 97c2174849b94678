package http2

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testPatience is that of a test. Nothing waits for so long unless it is broken.
const testPatience = 20 * time.Second

// A handler answers by what the path says.
type handler struct {
	served  atomic.Int64
	running atomic.Int64
	waiting chan *exchange.Exchange // those of /wait
	release chan struct{}
	errs    chan error // of what /read read, and of what Respond returned to /big
	tunnel  atomic.Pointer[endpoint]
	refused chan exchange.Reason
}

func (h *handler) Serve(x *exchange.Exchange) {
	h.served.Add(1)
	h.running.Add(1)
	defer h.running.Add(-1)
	r := &x.Response
	switch path := string(x.Request.RawPath); path {
	case "/panic":
		panic("on purpose")
	case "/silent":
	case "/tiny":
		r.Status = 200
		x.AnswerBody("text/plain", tinyBody)
		_ = x.Downstream.Respond(x)
	case "/echo":
		all, err := h.read(x)
		if err != nil {
			h.errs <- err
			x.Answer(400, exchange.BadRequest)
			_ = x.Downstream.Respond(x)
			return
		}
		x.Request.Trailer.Add("X-Read", "yes")
		r.Trailer = x.Request.Trailer
		h.answer(x, string(all))
		r.Trailer = exchange.Header{}
	case "/read":
		_, err := h.read(x)
		h.errs <- err
	case "/continue":
		_ = x.Downstream.Interim(x, 103, &x.Request.Trailer)
		_ = x.Downstream.Interim(x, 100, nil)
		x.Request.RawPath = []byte("/echo")
		h.Serve(x)
	case "/wait":
		h.waiting <- x
		<-h.release
		h.answer(x, path)
	case "/linger": // its client has everything, and it has something left to do
		h.answer(x, path)
		<-h.release
	case "/stream":
		r.Status, r.ContentLength = 200, -1
		r.Body = &pieces{list: []string{"ab", "c"}}
		_ = x.Downstream.Respond(x)
	case "/torn":
		r.Status, r.ContentLength = 200, -1
		r.Body = &pieces{list: []string{"ab"}, err: io.ErrUnexpectedEOF}
		_ = x.Downstream.Respond(x)
	case "/late": // its end is not known before it is read
		r.Status, r.ContentLength = 200, -1
		r.Body = &pieces{list: []string{"ab"}, err: io.EOF}
		_ = x.Downstream.Respond(x)
	case "/short":
		r.Status, r.ContentLength = 200, 5
		r.Body = &pieces{list: []string{"ab"}}
		_ = x.Downstream.Respond(x)
	case "/big":
		r.Status, r.ContentLength = 200, bigSize
		body := &exchange.Bytes{}
		body.Reset(bigBody())
		r.Body = body
		h.errs <- x.Downstream.Respond(x)
	case "/head":
		var text strings.Builder
		text.Write(x.Request.MethodName)
		text.WriteString(" " + string(x.Request.Host) + " " + string(x.Request.Query))
		for i := range x.Request.Header.Len() {
			if _, name, value, ok := x.Request.Header.At(i); ok {
				text.WriteString("\n" + string(name) + ": " + string(value))
			}
		}
		h.answer(x, text.String())
	case "/hop":
		r.Header.Add("Connection", "x")
		r.Header.Add("X-Upper-Case", "Kept")
		r.Header.Add("Transfer-Encoding", "chunked")
		h.answer(x, path)
	case "/ws":
		if !x.Request.Upgrade || x.Request.Body != nil || x.Request.ContentLength != 0 || x.Request.Method != exchange.GET {
			x.Answer(400, exchange.BadRequest)
			_ = x.Downstream.Respond(x)
			return
		}
		key, _ := x.Request.Header.Get("Sec-WebSocket-Key")
		r.Status, r.Tunnel = 101, h.tunnel.Load()
		r.Header.Add("Sec-WebSocket-Accept", acceptOf(string(key)))
		r.Header.Add("Sec-WebSocket-Protocol", "chat")
		h.errs <- x.Downstream.Respond(x)
	case "/ws-wrong":
		r.Status, r.Tunnel = 101, h.tunnel.Load()
		r.Header.Add("Sec-WebSocket-Accept", acceptOf("another"))
		_ = x.Downstream.Respond(x)
	default:
		h.answer(x, path)
	}
}

func (h *handler) read(x *exchange.Exchange) ([]byte, error) {
	if x.Request.Body == nil {
		return nil, nil
	}
	return io.ReadAll(x.Request.Body)
}

func (h *handler) answer(x *exchange.Exchange, body string) {
	x.Response.Status = 200
	x.AnswerBody("text/plain", []byte(body))
	if x.Response.Trailer.Len() > 0 {
		x.Response.ContentLength = -1
	}
	_ = x.Downstream.Respond(x)
}

func (h *handler) Refuse(x *exchange.Exchange, status int, reason exchange.Reason) {
	x.Answer(status, reason)
	_ = x.Downstream.Respond(x)
	select {
	case h.refused <- reason:
	default:
	}
}

var tinyBody = []byte("tiny\n")

const bigSize = 3 << 20

var bigBody = sync.OnceValue(func() []byte {
	b := make([]byte, bigSize)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
})

// pieces are a response's body of unknown length.
type pieces struct {
	list []string
	err  error
}

func (s *pieces) Read(p []byte) (int, error) {
	if len(s.list) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		return 0, io.EOF
	}
	n := copy(p, s.list[0])
	s.list = s.list[1:]
	return n, nil
}
func (s *pieces) Buffered() []byte { return nil }
func (s *pieces) Skip(int)         {}
func (s *pieces) Ended() bool      { return len(s.list) == 0 && s.err == nil }

// A rig is a server in the test's hand.
type rig struct {
	t   testing.TB
	h   *handler
	srv *Server

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
	sweeper := sock.NewSweeper()
	ctx, cancel := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		sweeper.Run(ctx)
	}()
	h := &handler{
		waiting: make(chan *exchange.Exchange, 200), release: make(chan struct{}), errs: make(chan error, 200),
		refused: make(chan exchange.Reason, 200),
	}
	r := &rig{t: t, h: h, srv: NewServer(h, sweeper, o, logr.Discard())}
	t.Cleanup(func() {
		r.srv.Close()
		r.serving.Wait()
		cancel()
		<-swept
	})
	return r
}

// dial opens a connection that is served.
func (r *rig) dial(how string) net.Conn {
	r.t.Helper()
	near, far := pair(r.t)
	if how == "tls" {
		far = tls.Server(sock.NewCarrier(far.(*net.TCPConn)), &tls.Config{Certificates: []tls.Certificate{certificate(r.t)}, NextProtos: []string{"h2"}})
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
		r.srv.Serve(far, &exchange.Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1234")}, nil)
	})
	<-started
	if how == "tls" {
		secured := tls.Client(near, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err := secured.Handshake(); err != nil {
			r.t.Fatal(err)
		}
		near = secured
	}
	r.t.Cleanup(func() { _ = near.Close() })
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

// A peer is a client that sends what it likes.
type peer struct {
	t       testing.TB
	nc      net.Conn
	framer  *h2.Framer
	out     bytes.Buffer // frames that were not sent yet
	block   bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
}

// peer dials, and sends the preface and SETTINGS.
func (r *rig) peer(how string, settings ...h2.Setting) *peer {
	r.t.Helper()
	p := &peer{t: r.t, nc: r.dial(how)}
	_ = p.nc.SetDeadline(time.Now().Add(testPatience))
	p.framer = h2.NewFramer(&p.out, p.nc)
	p.framer.AllowIllegalWrites = true
	p.encoder = hpack.NewEncoder(&p.block)
	p.decoder = hpack.NewDecoder(4096, nil)
	p.framer.ReadMetaHeaders = p.decoder
	p.out.WriteString(h2.ClientPreface)
	_ = p.framer.WriteSettings(settings...)
	p.flush()
	return p
}

// flush sends everything in one write.
func (p *peer) flush() {
	_, _ = p.nc.Write(p.out.Bytes())
	p.out.Reset()
}

// fields encodes name, value, name, value …
func (p *peer) fields(list ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(list); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
	}
	return bytes.Clone(p.block.Bytes())
}

// request encodes a request with more fields.
func (p *peer) request(method, path string, more ...string) []byte {
	return p.fields(append([]string{":method", method, ":scheme", "http", ":authority", "a.example", ":path", path}, more...)...)
}

func (p *peer) headers(id uint32, end bool, block []byte) {
	_ = p.framer.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true})
}

// frame reads the next frame that is not SETTINGS, PING or WINDOW_UPDATE; nil is the end of the connection.
func (p *peer) frame() h2.Frame {
	p.t.Helper()
	for {
		f, err := p.framer.ReadFrame()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "reset") {
				return nil
			}
			p.t.Fatalf("reading a frame: %v", err)
		}
		switch f.(type) {
		case *h2.SettingsFrame, *h2.PingFrame, *h2.WindowUpdateFrame:
			continue
		}
		return f
	}
}

// An outcome is what came of a stream.
type outcome struct {
	status  string
	body    string
	trailer string
	reset   h2.ErrCode
	torn    bool // by reset or the connection's end
	goAway  bool
	code    h2.ErrCode // of GOAWAY
	fields  map[string]string
}

// await reads until the stream has ended.
func (p *peer) await(id uint32) outcome {
	p.t.Helper()
	var o outcome
	for {
		switch f := p.frame().(type) {
		case nil:
			o.torn = true
			return o
		case *h2.GoAwayFrame:
			o.goAway, o.code = true, f.ErrCode
		case *h2.RSTStreamFrame:
			if f.StreamID == id {
				o.reset, o.torn = f.ErrCode, true
				return o
			}
		case *h2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			if status := f.PseudoValue("status"); status != "" {
				o.status += status
				o.fields = map[string]string{}
				for _, field := range f.RegularFields() {
					o.fields[field.Name] = field.Value
				}
				if status[0] == '1' {
					o.status += " "
				}
			} else {
				for _, field := range f.RegularFields() {
					o.trailer += field.Name + "=" + field.Value + " "
				}
			}
			if f.StreamEnded() {
				return o
			}
		case *h2.DataFrame:
			if f.StreamID != id {
				continue
			}
			o.body += string(f.Data())
			if f.StreamEnded() {
				return o
			}
		}
	}
}

// goAway reads until GOAWAY, and then to the end of the connection.
func (p *peer) goAway() h2.ErrCode {
	p.t.Helper()
	code := h2.ErrCode(1 << 30)
	for {
		switch f := p.frame().(type) {
		case nil:
			return code
		case *h2.GoAwayFrame:
			code = f.ErrCode
		}
	}
}
