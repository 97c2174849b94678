package pool

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a connection that does what a test says.
type fake struct {
	mu      sync.Mutex
	room    int
	load    int
	trips   int
	once    bool
	retired bool
	ended   bool
	answer  func(*fake) error
}

func (f *fake) Reserve() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.once || f.load >= f.room {
		return false
	}
	f.load++
	return true
}

func (f *fake) Load() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load
}

func (f *fake) RoundTrip(*exchange.Exchange, Try) error {
	f.mu.Lock()
	f.trips++
	f.mu.Unlock()
	if f.answer != nil {
		return f.answer(f)
	}
	return nil
}
func (f *fake) Once()                        { f.once = true }
func (f *fake) Retire()                      { f.once, f.retired = true, true }
func (f *fake) Leaving() bool                { return f.once }
func (f *fake) Ended() bool                  { return f.ended }
func (f *fake) Sweep(exchange.Nanos, uint32) {}

// fakes returns a pool that makes these, one after the other.
func fakes(all ...*fake) *Pool {
	p := &Pool{}
	n := 0
	p.Init(func(*exchange.Exchange, Try) (net.Conn, error) { return nil, nil }, func(net.Conn, func(Conn)) Conn {
		n++
		return all[n-1]
	})
	return p
}

func exchangeOf(m exchange.Method) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method = m
	return x
}

func trip(t *testing.T, p *Pool, m exchange.Method) error {
	t.Helper()
	return p.RoundTrip(exchangeOf(m), Try{})
}

func TestTheLeastBusyOneIsTaken(t *testing.T) {
	a, b := &fake{room: 1}, &fake{room: 10}
	p := fakes(a, b)
	for range 2 { // the first is full then
		if err := trip(t, p, exchange.GET); err != nil {
			t.Fatal(err)
		}
	}
	a.room, a.load, b.load = 10, 3, 1
	for range 4 {
		if err := trip(t, p, exchange.GET); err != nil {
			t.Fatal(err)
		}
	}
	if a.load+b.load != 8 || a.load-b.load > 1 || b.load-a.load > 1 || p.Size() != 2 {
		t.Errorf("%d and %d, of %d connections", a.load, b.load, p.Size())
	}
	a.once = true
	p.drop(a)
	if err := trip(t, p, exchange.GET); err != nil || p.Size() != 1 || b.trips != 5 {
		t.Errorf("%v, %d connections, %d on the other", err, p.Size(), b.trips)
	}
}

func TestWhatIsOfferedAnew(t *testing.T) {
	reset := func(sent, read bool) func(*fake) error {
		return func(*fake) error {
			return &exchange.Failure{Reason: exchange.UpstreamReset, Sent: sent, BodyRead: read, Err: net.ErrClosed}
		}
	}
	ended := func(f *fake) error {
		f.ended = true
		return reset(true, false)(f)
	}
	for _, c := range []struct {
		name   string
		method exchange.Method
		used   bool // the connection carried a request before
		answer func(*fake) error
		trips  int
	}{
		{"refused", exchange.POST, false, reset(false, false), maxRefused + 1},
		{"refused, the body gone", exchange.POST, false, reset(false, true), 1},
		{"reset", exchange.GET, true, reset(true, false), 1},
		{"ended", exchange.GET, true, ended, 2},
		{"ended, not idempotent", exchange.POST, true, ended, 1},
		{"ended, fresh", exchange.GET, false, ended, 1},
		{"left", exchange.POST, true, func(*fake) error { return ErrLeft }, maxRefused + 1},
		{"another reason", exchange.GET, true, func(*fake) error {
			return &exchange.Failure{Reason: exchange.UpstreamTimeout, Err: net.ErrClosed}
		}, 1},
	} {
		f := &fake{room: 100}
		p := fakes(f)
		if c.used {
			if err := trip(t, p, exchange.GET); err != nil {
				t.Fatal(err)
			}
			f.trips = 0
		}
		f.answer = c.answer
		err := trip(t, p, c.method)
		var failure *exchange.Failure
		if !errors.As(err, &failure) || f.trips != c.trips {
			t.Errorf("%s: %d tries, %v", c.name, f.trips, err)
		}
	}
}

// Many who come at once wait for one connection, and share it; where it cannot be had all of them are told why.
func TestOneConnectionIsOpenedForMany(t *testing.T) {
	for _, fails := range []bool{false, true} {
		p := &Pool{}
		begun, end := make(chan struct{}), make(chan struct{})
		opened := 0
		p.Init(func(*exchange.Exchange, Try) (net.Conn, error) {
			opened++
			close(begun) // a second one would panic
			<-end
			if fails {
				return nil, &exchange.Failure{Reason: exchange.ConnectFailed, Err: net.ErrClosed}
			}
			return nil, nil
		}, func(net.Conn, func(Conn)) Conn { return &fake{room: 1000} })
		errs := make(chan error, 20)
		go func() { errs <- p.RoundTrip(exchangeOf(exchange.GET), Try{}) }()
		<-begun
		clients := make([]*client, 19)
		for i := range clients {
			clients[i] = &client{attached: make(chan struct{}, 2)}
			x := exchangeOf(exchange.GET)
			x.Downstream = clients[i]
			go func() { errs <- p.RoundTrip(x, Try{}) }()
		}
		for _, c := range clients {
			<-c.attached // it waits
		}
		close(end)
		for range 20 {
			err := <-errs
			var failure *exchange.Failure
			if fails != (errors.As(err, &failure) && failure.Reason == exchange.ConnectFailed) {
				t.Errorf("fails %t: %v", fails, err)
			}
		}
		if opened != 1 {
			t.Errorf("%d connections were opened", opened)
		}
	}
}

// A client is one that may go away while it waits.
type client struct {
	attached chan struct{}
	mu       sync.Mutex
	timer    *wire.Timer
	gone     bool
}

func (c *client) Interim(*exchange.Exchange, int, *exchange.Header) error { return nil }
func (c *client) Respond(*exchange.Exchange) error                        { return nil }
func (c *client) Attach(t *wire.Timer) {
	c.mu.Lock()
	c.timer = t
	c.mu.Unlock()
	c.attached <- struct{}{}
}

func (c *client) Aborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

func TestWaitingEnds(t *testing.T) {
	p := &Pool{}
	begun, end := make(chan struct{}), make(chan struct{})
	p.Init(func(*exchange.Exchange, Try) (net.Conn, error) {
		close(begun)
		<-end
		return nil, nil
	}, func(net.Conn, func(Conn)) Conn { return &fake{room: 1000} })
	first := make(chan error, 1)
	go func() { first <- p.RoundTrip(exchangeOf(exchange.GET), Try{}) }()
	<-begun
	want := func(err error, reason exchange.Reason) {
		t.Helper()
		var failure *exchange.Failure
		if !errors.As(err, &failure) || failure.Reason != reason || failure.Sent {
			t.Errorf("%v, want %s", err, reason)
		}
	}
	want(p.RoundTrip(exchangeOf(exchange.GET), Try{Deadline: exchange.Now() + exchange.Nanos(20*time.Millisecond)}), exchange.UpstreamTimeout)
	x, c := exchangeOf(exchange.GET), &client{attached: make(chan struct{}, 2)}
	x.Downstream = c
	go func() {
		<-c.attached
		c.mu.Lock()
		c.gone = true
		timer := c.timer
		c.mu.Unlock()
		timer.Owner.Wake()
	}()
	want(p.RoundTrip(x, Try{}), exchange.ClientReset)
	close(end)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
