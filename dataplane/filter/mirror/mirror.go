package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner   string `outline:"-"`    // service and route
	Cluster string `outline:"show"` // that gets the copies
	Percent int    // of requests that are copied
	MaxBody int    // bytes of a body; a request with a longer one is not copied
	Timeout time.Duration
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("mirror %q to %q percent %d body %d timeout %d", c.Owner, c.Cluster, c.Percent, c.MaxBody, c.Timeout)
}

// Validate says what keeps New from working.
func (c Config) Validate() error {
	switch {
	case c.Cluster == "":
		return errors.New("backend: must be set")
	case c.Percent < 0 || c.Percent > 100:
		return fmt.Errorf("percent: %d: must be between 0 and 100", c.Percent)
	case c.MaxBody < 0:
		return fmt.Errorf("max_body_bytes: %d: must be 0 or more", c.MaxBody)
	case c.Timeout <= 0:
		return fmt.Errorf("timeout: %v: must be positive", c.Timeout)
	}
	return nil
}

// New implements filter.Config.
func (c Config) New(env filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &mirror{Config: c, env: env}, nil
}

// maxCopies is how many copies are made or under way at the same time; it bounds their memory, bodies included.
const maxCopies = 128

type mirror struct {
	filter.Nop
	Config
	env  filter.Env
	busy atomic.Int32
	away sync.WaitGroup // copies
	free sync.Pool      // of duplicates: their fields would be allocated anew for each
}

// The results that are counted.
const (
	sent    = "sent"
	dropped = "dropped" // for want of memory, or because the body is too long or never came whole
	failed  = "failed"  // no answer
)

// Attempt implements filter.Filter: what is read of a body from now on is written down.
func (f *mirror) Attempt(x *exchange.Exchange) {
	r := &x.Request
	if x.Record.Attempts > 1 || r.Body == nil || r.Upgrade || !f.chosen() {
		return
	}
	if _, whole := r.Body.(*exchange.Bytes); whole {
		return // nothing of it gets lost
	}
	if r.ContentLength > int64(f.MaxBody) || !f.reserve() {
		f.env.Metrics.Mirrored(dropped)
		return
	}
	r.Body = &record{Wrapper: exchange.Wrapper{Body: r.Body}, owner: f}
}

// Response implements filter.Filter: the endpoint has answered what is asked of it without a body that is still under way.
func (f *mirror) Response(x *exchange.Exchange) {
	r := &x.Request
	if x.Record.Attempts == 0 || r.Upgrade {
		return
	}
	var body []byte
	if r.Body != nil {
		whole, ok := r.Body.(*exchange.Bytes)
		if !ok {
			return // see Done
		}
		body = whole.Whole()
	}
	if !f.chosen() {
		return
	}
	if len(body) > f.MaxBody || !f.reserve() {
		f.env.Metrics.Mirrored(dropped)
		return
	}
	f.send(x, bytes.Clone(body)) // it may lie in memory of the exchange
}

// Done implements filter.Filter: the upload is over.
func (f *mirror) Done(x *exchange.Exchange) {
	for body := x.Request.Body; ; {
		b, ok := body.(*record)
		if !ok {
			return
		}
		if b.owner != f { // another mirror of the route
			body = b.Body
			continue
		}
		b.owner = nil
		if !b.whole || b.over {
			f.busy.Add(-1)
			f.env.Metrics.Mirrored(dropped)
			return
		}
		f.send(x, b.bytes)
		return
	}
}

func (f *mirror) chosen() bool { return f.Percent == 100 || rand.IntN(100) < f.Percent }

func (f *mirror) reserve() bool {
	if f.busy.Add(1) > maxCopies {
		f.busy.Add(-1)
		return false
	}
	return true
}

// Close implements filter.Filter. Nobody waits for it but who ends the process, and then Send ends at once.
func (f *mirror) Close() { f.away.Wait() }

// send sends a copy of the request.
func (f *mirror) send(x *exchange.Exchange, body []byte) {
	d, ok := f.free.Get().(*duplicate)
	if !ok {
		d = &duplicate{}
	}
	d.of(x, body)
	f.away.Go(func() { f.run(d) })
}

func (f *mirror) run(d *duplicate) {
	result := failed
	defer func() {
		if p := recover(); p != nil { // a copy must not end the process
			f.env.Log.Error(fmt.Errorf("panic: %v", p), "sending a copy of a request failed", "cluster", f.Cluster)
			d = nil
		}
		if d != nil {
			d.x.Request.Body = nil
			f.free.Put(d)
		}
		f.busy.Add(-1)
		f.env.Metrics.Mirrored(result)
	}()
	if err := f.env.Send(f.Cluster, &d.x, f.Timeout); err != nil {
		f.env.Log.V(1).Info("a copy of a request got no answer", "cluster", f.Cluster, "error", err)
		return
	}
	result = sent
	// What is at hand is read, so that the connection of a short answer can be used again.
	if body := d.x.Response.Body; body != nil {
		for at := body.Buffered(); len(at) > 0; at = body.Buffered() {
			body.Skip(len(at))
		}
	}
	d.x.ResetResponse()
}

// A duplicate is a copy of a request, with the memory that it lies in.
type duplicate struct {
	x     exchange.Exchange
	conn  exchange.Conn
	texts []byte
	body  exchange.Bytes
}

// of makes d a copy of x's request with that body, which belongs to d from now on.
func (d *duplicate) of(x *exchange.Exchange, body []byte) {
	d.x.Reset()
	d.conn = *x.Conn
	d.x.Conn, d.x.ClientIP, d.x.ClientTrusted = &d.conn, x.ClientIP, x.ClientTrusted
	from, to := &x.Request, &d.x.Request
	d.texts = d.texts[:0]
	size := len(from.MethodName) + len(from.Host) + len(from.RawPath) + len(from.Path) + len(from.Query) + len(x.RequestID)
	if cap(d.texts) < size {
		d.texts = make([]byte, 0, size)
	}
	to.Method, to.Protocol, to.HasQuery = from.Method, from.Protocol, from.HasQuery
	to.MethodName, to.Host = d.text(from.MethodName), d.text(from.Host)
	to.RawPath, to.Path, to.Query = d.text(from.RawPath), d.text(from.Path), d.text(from.Query)
	d.x.RequestID = d.text(x.RequestID)
	for i := range from.Header.Len() {
		id, name, value, ok := from.Header.At(i)
		if ok && id != exchange.Expect && id != exchange.Trailer { // the body lies here already
			to.Header.AddBytes(name, value)
		}
	}
	if to.ContentLength = int64(len(body)); len(body) > 0 {
		d.body.Reset(body)
		to.Body = &d.body
	}
}

func (d *duplicate) text(b []byte) []byte {
	if b == nil {
		return nil
	}
	at := len(d.texts)
	d.texts = append(d.texts, b...)
	return d.texts[at:len(d.texts):len(d.texts)]
}

// A record is a body that is written down while it is passed on.
type record struct {
	exchange.Wrapper
	owner *mirror
	bytes []byte
	whole bool // all of it was read
	over  bool // it is too long
}

// Skip implements exchange.Body.
func (b *record) Skip(n int) {
	b.note(b.Buffered()[:n])
	b.Body.Skip(n)
	b.whole = b.Ended()
}

// Read implements exchange.Body.
func (b *record) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	b.note(p[:n])
	b.whole = err == io.EOF || b.Ended()
	return n, err
}

func (b *record) note(p []byte) {
	if b.over = b.over || len(b.bytes)+len(p) > b.owner.MaxBody; b.over {
		b.bytes = nil
		return
	}
	b.bytes = append(b.bytes, p...)
}
