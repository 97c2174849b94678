package replica

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeaseIsWrittenAtOnceAndOnlyForNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		l := newLease(t, configOn(s))
		running(t, l.Run)
		synctest.Wait()
		want := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if _, got := s.took(); !slices.Equal(got, want) {
				t.Errorf("wrote %q, want %q", got, want)
			}
		}
		want("0 false")
		pass(time.Second)
		l.Serve(1, true)
		want("1 true")
		pass(time.Second)
		for range 100 {
			l.Serve(1, true)
		}
		pass(3 * time.Second)
		want()
		pass(time.Second)
		want("1 true") // renewed 5 s after the last write
		pass(10 * time.Second)
		want("1 true", "1 true")
		pass(time.Second)
		l.Serve(1, false)
		want("1 false")
	})
}

func TestLeaseTakesNewsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.slow(time.Second)
		l := newLease(t, configOn(s))
		running(t, l.Run)
		for n := range uint64(1000) {
			l.Serve(n+1, true)
			time.Sleep(time.Millisecond)
		}
		pass(4 * time.Second)
		_, got := s.took()
		if len(got) > 4 || got[len(got)-1] != "1000 true" {
			t.Errorf("wrote %q; want few, and the newest at the end", got)
		}
		if got := s.atOnce(); got != 1 {
			t.Errorf("%d requests at a time", got)
		}

		// However fast the server is, a configuration that never rests is not a storm.
		s.slow(0)
		pass(time.Minute)
		s.took()
		for n := range uint64(10_000) {
			l.Serve(n, true)
			time.Sleep(time.Millisecond)
		}
		pass(time.Second)
		if _, got := s.took(); len(got) > 105 || got[len(got)-1] != "9999 true" {
			t.Errorf("%d writes in 10 s, the last %q", len(got), got[len(got)-1])
		}
	})
}

func TestLeaseOutlivesTheServer(t *testing.T) {
	for name, m := range map[string]mode{"refuses": refuses, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				book := &logbook{}
				c := configOn(s)
				c.Log = book.log(0)
				l := newLease(t, c)
				stop := running(t, l.Run)
				pass(time.Second)
				s.set(m)
				s.took()
				for n := range uint64(12_000) { // two minutes
					began := time.Now()
					l.Serve(n, true)
					if waited := time.Since(began); waited > 0 {
						t.Fatalf("Serve took %v", waited)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if tries, _ := s.took(); tries < 12 || tries > 60 {
					t.Errorf("%d tries in two minutes", tries)
				}
				if lines := book.took(); len(lines) < 1 || len(lines) > 3 {
					t.Errorf("%d lines about it in two minutes:\n%s", len(lines), strings.Join(lines, "\n"))
				}
				s.set(answers)
				pass(15 * time.Second)
				if _, got := s.took(); len(got) == 0 || got[0] != "11999 true" {
					t.Errorf("wrote %q, want the newest", got)
				}
				s.set(hangs)
				began := time.Now()
				stop()
				if took := time.Since(began); took > writeTimeout+removeTimeout {
					t.Errorf("the end took %v", took)
				}
			})
		})
	}
}
