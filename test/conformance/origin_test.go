package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take before a test fails.
const patience = 10 * time.Second

// victimPath begins the paths of requests that are no part of a row: they are answered with their own target.
const victimPath = "/victim/"

// An origin is an endpoint that takes nothing but canonical HTTP/1.1, and writes down every byte that is not.
type origin struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	conns   []*originConn
	replies []reply
	random  *rand.Rand // where replies are cut into pieces; nil: nowhere
	seen    []*message // of the row that runs
	faults  []string   // what no proxy may send
	scheme  string     // with which the row's requests come
	victims int        // served
	reused  int        // of them, on a connection that had served before
}

type connState uint8

const (
	idle connState = iota // between requests
	busy
	gone
)

// An originConn is one connection from the proxy.
type originConn struct {
	o       *origin
	nc      net.Conn
	in      *bufio.Reader
	raw     []byte // of the request that is being read
	state   connState
	served  int    // requests
	inRow   bool   // carried a request of the row that runs
	partial bool   // ended within a request
	tunnel  []byte // what came behind a 101
}

// A message is a request as it arrived.
type message struct {
	method, target string
	fields         [][2]string
	body           []byte
	trailer        [][2]string
	raw            []byte
	conn           *originConn
}

func (m *message) get(name string) (values []string) {
	for _, f := range m.fields {
		if strings.EqualFold(f[0], name) {
			values = append(values, f[1])
		}
	}
	return values
}

func startOrigin(t testing.TB) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{listener: l}
	o.changed = sync.NewCond(&o.mu)
	o.running.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := &originConn{o: o, nc: nc}
			c.in = bufio.NewReader(nc)
			o.mu.Lock()
			o.conns = append(o.conns, c)
			o.changed.Broadcast()
			o.mu.Unlock()
			o.running.Go(c.serve)
		}
	})
	return o
}

func (o *origin) close() {
	_ = o.listener.Close()
	o.mu.Lock()
	for _, c := range o.conns {
		_ = c.nc.Close()
	}
	o.mu.Unlock()
	o.running.Wait()
}

// begin makes the origin ready for a row.
func (o *origin) begin(replies []reply, random *rand.Rand, way transport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replies, o.random, o.seen, o.faults, o.scheme = replies, random, nil, nil, way.scheme()
	live := o.conns[:0]
	for _, c := range o.conns {
		if c.state != gone {
			c.inRow = false
			live = append(live, c)
		}
	}
	clear(o.conns[len(live):])
	o.conns = live
}

// fault notes what must never arrive.
func (o *origin) fault(format string, arguments ...any) {
	o.mu.Lock()
	o.faults = append(o.faults, fmt.Sprintf(format, arguments...))
	o.mu.Unlock()
}

func (c *originConn) become(s connState) {
	c.o.mu.Lock()
	c.state = s
	c.o.changed.Broadcast()
	c.o.mu.Unlock()
}

// await waits until the condition, which is asked with o.mu held, is true.
func (o *origin) await(condition func() bool) bool {
	deadline := time.Now().Add(patience)
	timer := time.AfterFunc(patience, func() {
		o.mu.Lock()
		o.changed.Broadcast()
		o.mu.Unlock()
	})
	defer timer.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		o.changed.Wait()
	}
	return true
}

// flush returns when every connection that has been opened is accepted: they come in their order.
func (o *origin) flush() error {
	last, err := net.DialTimeout("tcp", o.listener.Addr().String(), patience)
	if err != nil {
		return err
	}
	defer last.Close()
	name := last.LocalAddr().String()
	accepted := func() bool {
		return slices.ContainsFunc(o.conns, func(c *originConn) bool { return c.nc.RemoteAddr().String() == name })
	}
	if !o.await(accepted) {
		return errors.New("it accepts no connection")
	}
	return nil
}

// pending reports whether something has arrived on an idle connection that its goroutine has not seen yet.
func (c *originConn) pending() bool {
	if c.state != idle {
		return false
	}
	arrived := false
	raw, err := c.nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	var b [1]byte
	_ = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		arrived = err != syscall.EAGAIN
	})
	return arrived
}

// sendLate sends bytes on the idle connections of the row.
func (o *origin) sendLate(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.conns {
		if c.inRow && c.state == idle {
			_, _ = io.WriteString(c.nc, text)
		}
	}
}

func (c *originConn) serve() {
	defer c.become(gone)
	defer c.nc.Close()
	for {
		c.become(idle)
		if _, err := c.in.Peek(1); err != nil {
			return
		}
		c.become(busy)
		c.raw = nil
		if err := c.serveOne(); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				c.o.mu.Lock()
				c.partial = true
				c.o.mu.Unlock()
			}
			return
		}
	}
}

var errOver = errors.New("the connection is over")

// serveOne reads a request and answers it.
func (c *originConn) serveOne() error {
	m, err := c.readHead()
	if err != nil {
		return err
	}
	m.conn = c
	if strings.HasPrefix(m.target, victimPath) {
		if err := c.readBody(m); err != nil {
			return err
		}
		m.raw = c.raw
		c.o.mu.Lock()
		c.o.victims++
		if c.served > 0 {
			c.o.reused++
		}
		c.o.mu.Unlock()
		c.served++
		return c.echo(m)
	}

	o := c.o
	o.mu.Lock()
	c.inRow = true
	var r reply
	if len(o.replies) > 0 {
		r, o.replies = o.replies[0], o.replies[1:]
	}
	random := o.random
	o.mu.Unlock()
	if r.first != "" {
		if _, err := io.WriteString(c.nc, r.first); err != nil {
			return err
		}
	}
	if r.early {
		if err := c.answer(m, r, random); err != nil {
			return err
		}
	}
	if err := c.readBody(m); err != nil {
		return err
	}
	m.raw = c.raw
	c.served++
	o.mu.Lock()
	o.seen = append(o.seen, m)
	o.changed.Broadcast()
	o.mu.Unlock()
	if !r.early {
		if err := c.answer(m, r, random); err != nil {
			return err
		}
	}
	if r.switches {
		c.echoRaw()
		return errOver
	}
	return nil
}

// echo answers with the method and target, so that a client sees whose answer it got.
func (c *originConn) echo(m *message) error {
	text := m.method + " " + m.target
	out := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(text))
	if m.method != "HEAD" {
		out += text
	}
	_, err := io.WriteString(c.nc, out)
	return err
}

func (c *originConn) answer(m *message, r reply, random *rand.Rand) error {
	if r.raw == "" && !r.close && !r.reset {
		return c.echo(m)
	}
	rest := r.raw
	for len(rest) > 0 {
		n := len(rest)
		if random != nil && !r.whole {
			c.o.mu.Lock() // the generator is shared by the connections
			n = 1 + random.IntN(min(n, 40))
			c.o.mu.Unlock()
		}
		if _, err := io.WriteString(c.nc, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if r.reset {
		_ = c.nc.(*net.TCPConn).SetLinger(0)
	}
	if r.close || r.reset {
		return errOver
	}
	return nil
}

func (c *originConn) echoRaw() {
	var buf [4096]byte
	for {
		n, err := c.in.Read(buf[:])
		c.o.mu.Lock()
		c.tunnel = append(c.tunnel, buf[:n]...)
		c.o.mu.Unlock()
		if err != nil {
			return
		}
		_, _ = c.nc.Write(buf[:n])
	}
}

// line reads a line that ends in CR LF and holds no other control character.
func (c *originConn) line() (string, error) {
	text, err := c.in.ReadString('\n')
	c.raw = append(c.raw, text...)
	if err != nil {
		if err == io.EOF && len(text) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	inner, ok := strings.CutSuffix(text, "\r\n")
	if !ok || strings.ContainsFunc(inner, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "", c.bad("the line %q is not canonical", text)
	}
	return inner, nil
}

func (c *originConn) bad(format string, arguments ...any) error {
	c.o.fault("%s\n  behind %q", fmt.Sprintf(format, arguments...), c.raw)
	return errOver
}

const tokenBytes = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isToken(s string) bool { return s != "" && strings.Trim(s, tokenBytes) == "" }

func (c *originConn) readHead() (*message, error) {
	first, err := c.line()
	if err != nil {
		return nil, err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[2] != "HTTP/1.1" ||
		!strings.HasPrefix(parts[1], "/") && (parts[1] != "*" || parts[0] != "OPTIONS") {
		return nil, c.bad("the request line %q is not canonical", first)
	}
	m := &message{method: parts[0], target: parts[1]}
	if m.fields, err = c.readFields(); err != nil {
		return nil, err
	}
	if len(m.fields) == 0 || m.fields[0][0] != "Host" || len(m.get("Host")) != 1 {
		return nil, c.bad("Host is not the first field, once")
	}
	return m, c.judge(m)
}

func (c *originConn) readFields() (fields [][2]string, err error) {
	for {
		text, err := c.line()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if text == "" {
			return fields, nil
		}
		name, value, ok := strings.Cut(text, ": ")
		if !ok || !isToken(name) || strings.Contains(name, "_") || strings.Trim(value, " \t") != value {
			return nil, c.bad("the field line %q is not canonical", text)
		}
		fields = append(fields, [2]string{name, value})
	}
}

// never are the fields that must not reach an endpoint, whoever sent them.
var never = []string{
	"Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "HTTP2-Settings", "Transfer_Encoding",
}

// notFromStrangers are those that must not be passed on from a client that is not trusted.
var notFromStrangers = []string{
	"X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Real-IP", "X-Original-URL",
	"X-Rewrite-URL",
}

// judge checks what holds for every request that reaches an endpoint.
func (c *originConn) judge(m *message) error {
	for _, name := range never {
		if len(m.get(name)) > 0 {
			return c.bad("%s must not be forwarded", name)
		}
	}
	// Every request bears the proxy's own fields: one that does not has been smuggled past it.
	if len(m.get("X-Request-Id")) != 1 || len(m.get("X-Forwarded-For")) != 1 || len(m.get("X-Forwarded-Proto")) != 1 {
		return c.bad("a request without the proxy's own fields")
	}
	if !strings.HasSuffix(m.get("X-Forwarded-For")[0], trustedClient) {
		for _, name := range notFromStrangers {
			if len(m.get(name)) > 0 {
				return c.bad("%s must not be forwarded from a stranger", name)
			}
		}
		if f := m.get("X-Forwarded-For")[0]; f != "127.0.0.1" {
			return c.bad("X-Forwarded-For is %q", f)
		}
		if f := m.get("X-Forwarded-Proto")[0]; f != c.schemeOf(m) {
			return c.bad("X-Forwarded-Proto is %q", f)
		}
		if host, said := m.get("Host")[0], m.get("X-Forwarded-Host"); host != "" && (len(said) != 1 || said[0] != host) {
			return c.bad("X-Forwarded-Host is %q", said)
		}
	}
	connection, upgrade := m.get("Connection"), m.get("Upgrade")
	if len(connection) > 1 || len(connection) == 1 && connection[0] != "Upgrade" ||
		(len(connection) == 0) != (len(upgrade) == 0) {
		return c.bad("Connection is %q with Upgrade %q", connection, upgrade)
	}
	return nil
}

// schemeOf says with which scheme the client of a request came; others than the row's name theirs.
func (c *originConn) schemeOf(m *message) string {
	if rest, ok := strings.CutPrefix(m.target, victimPath); ok {
		scheme, _, _ := strings.Cut(rest, "/")
		return scheme
	}
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	return c.o.scheme
}

// readBody reads a body in the one of two framings that the proxy writes.
func (c *originConn) readBody(m *message) error {
	lengths, codings := m.get("Content-Length"), m.get("Transfer-Encoding")
	switch {
	case len(lengths) == 0 && len(codings) == 0:
		return nil
	case len(lengths)+len(codings) != 1:
		return c.bad("Content-Length %q with Transfer-Encoding %q", lengths, codings)
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 62)
		if err != nil || strconv.FormatUint(n, 10) != lengths[0] {
			return c.bad("Content-Length %q is not canonical", lengths[0])
		}
		return c.readData(m, int(n))
	case codings[0] != "chunked":
		return c.bad("Transfer-Encoding %q is not canonical", codings[0])
	}
	for {
		size, err := c.line()
		if err != nil {
			return unexpected(err)
		}
		n, err := strconv.ParseUint(size, 16, 62)
		if err != nil || strconv.FormatUint(n, 16) != size {
			return c.bad("the chunk size line %q is not canonical", size)
		}
		if n == 0 {
			m.trailer, err = c.readFields()
			return unexpected(err)
		}
		if err := c.readData(m, int(n)); err != nil {
			return err
		}
		if end, err := c.line(); err != nil {
			return unexpected(err)
		} else if end != "" {
			return c.bad("%q behind the data of a chunk", end)
		}
	}
}

func (c *originConn) readData(m *message, n int) error {
	var data bytes.Buffer
	_, err := io.CopyN(&data, c.in, int64(n))
	c.raw = append(c.raw, data.Bytes()...)
	m.body = append(m.body, data.Bytes()...)
	return unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
