package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// world is a resolver whose answers a test sets, in the time of a synctest bubble.
type world struct {
	*Resolver
	mu    sync.Mutex
	res   result
	err   error
	asked []time.Duration // when, since the start
	logs  []string
}

func newWorld(t *testing.T) *world {
	w := &world{err: ErrServerFailure}
	start := time.Now()
	log := funcr.New(func(_, args string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.logs = append(w.logs, args)
	}, funcr.Options{})
	w.Resolver = New(Options{Log: log})
	w.find = func(context.Context, string) (result, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, time.Since(start))
		return w.res, w.err
	}
	t.Cleanup(w.Close)
	return w
}

func (w *world) answer(ttl time.Duration, texts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.res, w.err = local(ttl, addrs(texts...)...), nil
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.res, w.err = result{}, err
}

// failFamily answers for one family and fails for the other.
func (w *world) failFamily(family int, ttl time.Duration, texts ...string) {
	w.answer(ttl, texts...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.res.failed[family] = ErrTimeout
}

// queries and logged return what happened since they were called last.
func (w *world) queries() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

func (w *world) logged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.logs)
	w.logs = nil
	return n
}

// diary is a watcher that notes what it is told.
type diary struct {
	mu    sync.Mutex
	notes []string
}

func (d *diary) onChange(addrs []netip.Addr, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	note := fmt.Sprint(addrs)
	if err != nil {
		note = fmt.Sprintf("error: %v", err)
	}
	d.notes = append(d.notes, note)
	for i := range addrs {
		addrs[i] = netip.Addr{} // the slice is ours
	}
}

// expect compares what was noted since the last time.
func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(want, d.notes); diff != "" {
		t.Error(diff)
	}
	d.notes = nil
}

func TestWatchSeesChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &diary{}
		w.answer(20*time.Second, "10.0.0.2", "10.0.0.1")
		defer w.Watch("a.test", d.onChange)()
		synctest.Wait()
		d.expect(t, "[10.0.0.1 10.0.0.2]")

		w.answer(10*time.Second, "10.0.0.1", "10.0.0.2") // only the order
		time.Sleep(20 * time.Second)
		synctest.Wait()
		d.expect(t)

		w.answer(time.Hour, "10.0.0.1", "10.0.0.3")
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		d.expect(t)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		d.expect(t, "[10.0.0.1 10.0.0.3]")
		if diff := cmp.Diff([]time.Duration{0, 20 * time.Second, 30 * time.Second}, w.queries()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWatchKeepsTheLastGoodAnswer(t *testing.T) {
	for _, failure := range []error{ErrServerFailure, ErrTimeout, ErrNotFound, ErrNoAddress} {
		t.Run(failure.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := newWorld(t), &diary{}
				w.answer(time.Minute, "10.0.0.1")
				defer w.Watch("a.test", d.onChange)()
				synctest.Wait()
				d.expect(t, "[10.0.0.1]")

				w.fail(failure)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				d.expect(t)
				if n := w.logged(); n != 1 {
					t.Errorf("the failure was logged %d times, want once", n)
				}
				late := &diary{}
				defer w.Watch("a.test", late.onChange)()
				synctest.Wait()
				late.expect(t, "[10.0.0.1]")

				w.answer(time.Minute, "10.0.0.2")
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				d.expect(t, "[10.0.0.2]")
				late.expect(t, "[10.0.0.2]")
				if n := w.logged(); n != 1 {
					t.Errorf("the recovery was logged %d times, want once", n)
				}
			})
		})
	}
}

func TestWatchTellsTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &diary{}
		w.fail(errors.New("first"))
		defer w.Watch("a.test", d.onChange)()
		synctest.Wait()
		d.expect(t, "error: first")
		w.fail(errors.New("second"))
		time.Sleep(time.Minute)
		synctest.Wait()
		d.expect(t)
		w.answer(time.Minute, "10.0.0.1")
		time.Sleep(maxRetry)
		synctest.Wait()
		d.expect(t, "[10.0.0.1]")
	})
}

func TestWatchBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Watch("a.test", (&diary{}).onChange)()
		time.Sleep(10 * time.Minute)
		asked := w.queries()
		if len(asked) < 20 {
			t.Fatalf("asked %d times in 10 minutes", len(asked))
		}
		for i := range len(asked) - 1 {
			most := min(time.Second<<min(i, 10), 10*time.Second)
			if pause := asked[i+1] - asked[i]; pause < most/2 || pause > most {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, most/2, most)
			}
		}
		// Success starts the row anew.
		w.answer(time.Hour, "10.0.0.1")
		time.Sleep(maxRetry)
		synctest.Wait()
		w.fail(ErrTimeout)
		w.queries()
		for len(w.queries()) == 0 {
			time.Sleep(time.Second / 4)
			synctest.Wait()
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if n := len(w.queries()); n < 2 {
			t.Errorf("asked again %d times in the 4 s after the first failure, want at least 2", n)
		}
	})
}

// A server that says that there is no such name is well: it is not asked so often as one that may be well again.
func TestWatchAsksLessForWhatIsAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fail(ErrNotFound)
		defer w.Watch("a.test", (&diary{}).onChange)()
		time.Sleep(10 * time.Minute)
		asked := w.queries()
		for i := 6; i < len(asked)-1; i++ {
			if pause := asked[i+1] - asked[i]; pause < 15*time.Second || pause > 30*time.Second {
				t.Errorf("pause %d is %v", i, pause)
			}
		}
		if len(asked) < 20 {
			t.Errorf("asked %d times in 10 minutes", len(asked))
		}
	})
}

func TestWatchKeepsTheFamilyThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &diary{}
		w.answer(time.Minute, "10.0.0.1", "2001:db8::1")
		defer w.Watch("a.test", d.onChange)()
		synctest.Wait()
		d.expect(t, "[10.0.0.1 2001:db8::1]")

		w.failFamily(familyAAAA, time.Minute, "10.0.0.2")
		time.Sleep(time.Minute)
		synctest.Wait()
		d.expect(t, "[10.0.0.2 2001:db8::1]")
		w.queries()
		time.Sleep(time.Second) // well before the TTL ends
		synctest.Wait()
		if len(w.queries()) == 0 {
			t.Error("the family that failed was not asked for again")
		}

		w.answer(time.Minute, "10.0.0.2") // now AAAA is answered: there are none
		time.Sleep(maxRetry)
		synctest.Wait()
		d.expect(t, "[10.0.0.2]")
		if n := w.logged(); n != 2 {
			t.Errorf("%d lines logged, want the failure and the recovery", n)
		}
	})
}

func TestWatchersShareOneWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer(time.Minute, "10.0.0.1")
		diaries := make([]diary, 50)
		stops := make([]func(), len(diaries))
		var starting sync.WaitGroup
		for i := range diaries {
			name := []string{"a.test", "A.Test"}[i%2]
			starting.Go(func() { stops[i] = w.Watch(name, diaries[i].onChange) })
		}
		starting.Wait()
		synctest.Wait()
		if n := len(w.queries()); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
		for i := range diaries {
			diaries[i].expect(t, "[10.0.0.1]")
		}

		for _, stop := range stops[1:] {
			stop()
			stop() // twice does no harm
		}
		w.answer(time.Minute, "10.0.0.2")
		time.Sleep(time.Minute)
		synctest.Wait()
		diaries[0].expect(t, "[10.0.0.2]")
		for i := range diaries[1:] {
			diaries[i+1].expect(t)
		}

		stops[0]()
		w.queries()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(w.queries()); n != 0 {
			t.Errorf("asked %d times after the last watcher had left", n)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.watches) != 0 {
			t.Errorf("%d watches left", len(w.watches))
		}
	})
}

func TestWatcherMayStopItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &diary{}
		w.answer(time.Second, "10.0.0.1")
		var stop func()
		ready := make(chan struct{})
		stop = w.Watch("a.test", func(addrs []netip.Addr, err error) {
			<-ready
			stop()
			d.onChange(addrs, err)
		})
		close(ready)
		synctest.Wait()
		w.answer(time.Second, "10.0.0.2")
		time.Sleep(time.Minute)
		synctest.Wait()
		d.expect(t, "[10.0.0.1]")
	})
}

func TestStopOfOneWatcherByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &diary{}
		w.answer(time.Second, "10.0.0.1")
		var mu sync.Mutex
		stop := func() {}
		defer w.Watch("a.test", func([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			stop()
		})()
		second := w.Watch("a.test", d.onChange)
		synctest.Wait()
		d.expect(t, "[10.0.0.1]")
		mu.Lock()
		stop = second
		mu.Unlock()
		w.answer(time.Second, "10.0.0.2")
		time.Sleep(time.Minute)
		synctest.Wait()
		d.expect(t) // stopped when its turn came
	})
}

func TestWatchOfAnInvalidName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := New(Options{}), &diary{}
		defer r.Close()
		defer r.Watch("a..b", d.onChange)()
		time.Sleep(time.Hour)
		synctest.Wait()
		d.expect(t, `error: invalid DNS name "a..b": a label is empty`)
		late := &diary{}
		defer r.Watch("a..b", late.onChange)()
		synctest.Wait()
		late.expect(t, `error: invalid DNS name "a..b": a label is empty`)
	})
}

func TestCloseEndsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &diary{}
		w.answer(time.Second, "10.0.0.1")
		stop := w.Watch("a.test", d.onChange)
		w.Watch("b.test", func([]netip.Addr, error) {})
		synctest.Wait()
		d.expect(t, "[10.0.0.1]")
		w.Close()
		w.queries()
		w.answer(time.Second, "10.0.0.2")
		time.Sleep(time.Minute)
		w.Watch("c.test", d.onChange)()
		stop()
		synctest.Wait()
		d.expect(t)
		if n := len(w.queries()); n != 0 {
			t.Errorf("asked %d times after Close", n)
		}
	})
}

// Close while a query waits for its answer; goleak sees what stays behind.
func TestCloseWhileAsking(t *testing.T) {
	s := newServer(t)
	asked := make(chan struct{}, 1)
	s.intercept(silent(asked))
	r := newResolver(t, Options{Timeout: time.Hour}, s)
	r.Watch("a.test", func(addrs []netip.Addr, err error) { t.Errorf("told %v, %v", addrs, err) })
	<-asked
	r.Close()
}

// The whole way with a real server: addresses come and go, then the server fails and recovers.
func TestWatchFollowsAServer(t *testing.T) {
	s := newServer(t)
	s.set("a.test.", record("a.test.", "10.0.0.1", 1))
	failed := make(chan struct{}, 1)
	log := funcr.New(func(_, args string) {
		if strings.Contains(args, "cannot resolve") {
			failed <- struct{}{}
		}
	}, funcr.Options{})
	r := newResolver(t, Options{Attempts: 1, Log: log}, s)
	told := make(chan string, 10)
	defer r.Watch("a.test", func(addrs []netip.Addr, err error) { told <- fmt.Sprint(addrs, err) })()
	expect := func(want string) {
		t.Helper()
		if got := <-told; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	expect("[10.0.0.1] <nil>")
	s.set("a.test.", record("a.test.", "10.0.0.1", 1), record("a.test.", "2001:db8::1", 1))
	expect("[10.0.0.1 2001:db8::1] <nil>")
	s.refuse(dnsmessage.RCodeServerFailure)
	<-failed
	s.set("a.test.", record("a.test.", "10.0.0.2", 1), record("a.test.", "2001:db8::1", 1))
	s.intercept(nil)
	expect("[10.0.0.2 2001:db8::1] <nil>")
}
