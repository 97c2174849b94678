package replica

import (
	"testing"
	"testing/synctest"
	"time"
)

// elections runs one election a name, and returns which one leads; more than one is an error.
func elections(t *testing.T, s *server, names ...string) (leader func() string, stops map[string]func()) {
	t.Helper()
	all := map[string]*Election{}
	stops = map[string]func(){}
	for _, name := range names {
		c := configOn(s)
		c.Name = name
		e, err := NewElection(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		all[name], stops[name] = e, running(t, e.Run)
		pass(5 * time.Second)
	}
	return func() string {
		t.Helper()
		synctest.Wait()
		found := ""
		for name, e := range all {
			if e.Leading() && found != "" {
				t.Errorf("%s and %s lead", name, found)
			}
			if e.Leading() {
				found = name
			}
		}
		return found
	}, stops
}

func TestLeadershipEndsBeforeOthersMayTakeIt(t *testing.T) {
	for name, m := range map[string]mode{"refuses": refuses, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				leader, _ := elections(t, s, "a")
				pass(time.Minute)
				if got := leader(); got != "a" {
					t.Fatalf("%q leads", got)
				}
				s.set(m)
				began := time.Now()
				for leader() != "" && time.Since(began) < time.Minute {
					pass(100 * time.Millisecond)
				}
				if took := time.Since(began); took < 7*time.Second || took > 10*time.Second+100*time.Millisecond {
					t.Errorf("leadership ended %v after the server, want some 10 s after the last renewal", took)
				}
				pass(time.Hour)
				if got := leader(); got != "" {
					t.Errorf("%q leads without a server", got)
				}
				s.set(answers)
				pass(20 * time.Second)
				if got := leader(); got != "a" {
					t.Errorf("%q leads when the server is back", got)
				}
			})
		})
	}
}

func TestOneLeadsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		leader, stops := elections(t, s, "a", "b", "c")
		if got := leader(); got != "a" {
			t.Fatalf("%q leads, want the first", got)
		}
		stops["a"]()
		pass(4500 * time.Millisecond) // the others try every 2 s, and by chance up to 1.2 times as much later
		second := leader()
		if second == "" || second == "a" {
			t.Fatalf("%q leads 4.5 s after the first gave it back", second)
		}
		for range 20 {
			s.set(refuses)
			for range 200 {
				pass(100 * time.Millisecond)
				leader()
			}
			s.set(answers)
			for range 200 {
				pass(100 * time.Millisecond)
				leader()
			}
			if leader() == "" {
				t.Error("nobody leads 20 s after the server came back")
			}
		}
		stops[leader()]()
	})
}

func TestElectionEndsLeadershipFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		leader, stops := elections(t, s, "a")
		s.set(hangs)
		began := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			stops["a"]()
		}()
		if got := leader(); got != "" || time.Since(began) > 0 {
			t.Errorf("%q leads %v after the end", got, time.Since(began))
		}
		<-ended
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}
