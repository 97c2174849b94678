package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

func TestOneWriteForANewGenerationThatReplicasServeSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(one(), replicas(1, 1))
		after(200 * time.Millisecond)
		w.Set(one(), replicas(100, 1))
		after(200 * time.Millisecond)
		w.Set(one(), replicas(100, 100))
		after(0)
		s.wantWrites(t, 1)
		if got := condition(s.status(sample().Key), "Programmed"); got != programmed {
			t.Error(got)
		}
		after(time.Hour)
		s.wantWrites(t, 1)
	})
}

func TestALateReplicaIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(one(), replicas(100, 1))
		after(900 * time.Millisecond)
		s.wantWrites(t, 0)
		after(100 * time.Millisecond)
		s.wantWrites(t, 1)
		if got := condition(s.status(sample().Key), "Programmed"); got != "Programmed=False Pending 1 of 2 replicas serve hash 9f3c" {
			t.Error(got)
		}
		// What else there is to tell does not wait for it any more.
		w.Set(one(func(o *Object) { o.Hash = "b" }), replicas(100, 1))
		after(0)
		s.wantWrites(t, 2)
		w.Set(one(), replicas(100, 100))
		after(0)
		s.wantWrites(t, 3)
		if got := condition(s.status(sample().Key), "Programmed"); got != programmed {
			t.Error(got)
		}
	})
}

// However often an object changes, its status is not more than a second behind.
func TestAnObjectThatNeverRestsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, _ := s.running(t)
		w.Lead(true)
		for i := range int64(100) {
			change := func(o *Object) { o.Generation, o.Version = 7+i, uint64(100+i) }
			s.edit(sample().Key, func(p *v1alpha1.ProxyService) { p.Generation = 7 + i })
			w.Set(one(change), replicas(1))
			after(100 * time.Millisecond)
			if got := s.status(sample().Key).ObservedGeneration; i > 10 && got < 7+i-11 {
				t.Fatalf("at generation %d the status tells of %d", 7+i, got)
			}
		}
		if n := s.total(); n > 11 {
			t.Errorf("%d writes in 10 s", n)
		}
	})
}

func TestCountsAreWrittenSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(one(), replicas(100))
		after(10 * time.Second)
		s.wantWrites(t, 1)
		set := func(i int, change ...func(*Object)) {
			change = append(change, func(o *Object) { o.Healthy = i % 5 })
			w.Set(one(change...), replicas(slices.Repeat([]uint64{100}, 1+i%3)...))
			after(100 * time.Millisecond)
		}
		for i := range 101 { // 10.1 s: at the beginning, after 5 s and after 10 s
			set(i)
		}
		s.wantWrites(t, 4)

		bad := problems(translate.Problem{Reason: v1alpha1.ReasonBackendNotFound, Message: "gone"})
		set(3, bad)
		s.wantWrites(t, 5)
		if got := s.status(sample().Key).EndpointsSummary; got != "3/5" {
			t.Errorf("summary %s", got)
		}
		set(4, bad)
		s.wantWrites(t, 5)
		after(5 * time.Second)
		s.wantWrites(t, 6)
		if got := s.status(sample().Key).EndpointsSummary; got != "4/5" {
			t.Errorf("summary %s", got)
		}
		after(time.Hour)
		s.wantWrites(t, 6)
	})
}

func TestOnlyTheLeaderWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, r := s.running(t)
		w.Set(one(), replicas(100))
		w.Event(sample().Key, "u1", "Warning", "EndpointEjected", "too many errors")
		after(time.Hour)
		s.wantWrites(t, 0)

		w.Lead(true)
		w.Lead(true)
		after(0)
		s.wantWrites(t, 1)
		want := []string{"web Normal Accepted: it can be served as it stands"}
		if diff := cmp.Diff(want, r.take()); diff != "" {
			t.Error(diff)
		}

		w.Lead(false)
		w.Set(one(func(o *Object) { o.Hash = "other" }), replicas(100))
		after(time.Hour)
		s.wantWrites(t, 1)
		w.Lead(true)
		after(0)
		s.wantWrites(t, 2)

		// A new leader owes nobody the patience of an old one.
		w.Lead(false)
		right := s.status(sample().Key)
		s.edit(sample().Key, func(p *v1alpha1.ProxyService) { p.Status.Conditions = nil })
		w.Lead(true)
		after(0)
		s.wantWrites(t, 3)
		if got := s.status(sample().Key); compare(&right, &got) != same {
			t.Errorf("%+v", got)
		}
		r.take()

		// Another replica finds what it would have written.
		other, r2 := s.running(t)
		other.Lead(true)
		other.Set(one(func(o *Object) { o.Hash = "other" }), nil)
		after(time.Hour)
		s.wantWrites(t, 3)
		if events := append(r.take(), r2.take()...); len(events) > 0 {
			t.Error(events)
		}
	})
}

func TestAWriteOnItsWayEndsWithTheLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		var ended time.Duration
		s.refuse = func(ctx context.Context, _ types.NamespacedName) error {
			began := time.Now()
			<-ctx.Done()
			ended = time.Since(began)
			return ctx.Err()
		}
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(one(), replicas(100))
		after(3 * time.Second)
		w.Lead(false)
		after(time.Hour)
		if ended != 3*time.Second || s.tries != 1 {
			t.Errorf("ended after %v, %d tries", ended, s.tries)
		}
		s.refuse = nil
		w.Lead(true)
		after(0)
		s.wantWrites(t, 1)
	})
}

func TestAStatusThatSomebodyChangedIsPutRightLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(one(), replicas(100))
		after(time.Minute)
		s.wantWrites(t, 1)
		s.edit(sample().Key, func(p *v1alpha1.ProxyService) { p.Status.Conditions = nil })
		w.Set(one(func(o *Object) { o.Version = 99 }), replicas(100)) // which makes the writer look at it
		after(8 * time.Minute)
		s.wantWrites(t, 1)
		after(time.Minute)
		s.wantWrites(t, 2)
		if got := condition(s.status(sample().Key), "Programmed"); !strings.HasPrefix(got, "Programmed=True") {
			t.Errorf("it is %q", got)
		}
	})
}

func TestTwoVersionsDoNotFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w1, _ := s.running(t)
		w2, _ := s.running(t)
		w1.Lead(true)
		w2.Lead(true)
		told := func(m string) func(*Object) {
			return problems(translate.Problem{Reason: v1alpha1.ReasonInvalid, Message: m})
		}
		for i := range 600 { // an hour
			healthy := func(o *Object) { // changes once; the version makes the writers look at it
				o.Healthy, o.Version = min(i/100, 1), uint64(i%2)
			}
			w1.Set(one(told("in these words"), healthy), replicas(100))
			w2.Set(one(told("in other words"), healthy), replicas(100))
			after(6 * time.Second)
		}
		// Two at first, two with the change, and not more than one each in 10 minutes.
		if n := s.total(); n < 3 || n > 4+12 {
			t.Errorf("%d writes in an hour", n)
		}
	})
}

func TestACacheThatIsBehindMisleadsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(one(), replicas(100))
		after(0)
		s.wantWrites(t, 1)
		s.mu.Lock()
		s.cache = map[types.NamespacedName]*v1alpha1.ProxyService{sample().Key: s.objects[sample().Key]}
		s.mu.Unlock()
		w.Set(one(func(o *Object) { o.Hash = "b" }), replicas(100))
		after(0)
		s.wantWrites(t, 2)
		w.Set(one(), replicas(100)) // as the cache has it, but not the API server
		after(0)
		s.wantWrites(t, 3)
		if got := s.status(sample().Key).ConfigHash; got != sample().Hash {
			t.Errorf("hash %s", got)
		}
		after(time.Minute)
		w.Set(one(func(o *Object) { o.Healthy = 1 }), replicas(100))
		after(0)
		s.wantWrites(t, 4)
	})
}

func TestWhoKnowsLessDoesNotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		s.edit(sample().Key, func(p *v1alpha1.ProxyService) { p.Generation, p.Status.ObservedGeneration = 8, 8 })
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(one(), replicas(100))
		after(time.Minute)
		s.wantWrites(t, 0)
		w.Set(one(func(o *Object) { o.Generation = 8 }), replicas(100))
		after(0)
		s.wantWrites(t, 1)

		// A generation that does not exist is no knowledge.
		s.edit(sample().Key, func(p *v1alpha1.ProxyService) { p.Status.ObservedGeneration = 99 })
		w.Set(one(func(o *Object) { o.Generation, o.Hash = 8, "b" }), replicas(100))
		after(0)
		s.wantWrites(t, 2)
	})
}

func many(n int, change ...func(*Object)) []Object {
	var out []Object
	for i := range n {
		o := sample(change...)
		o.Key.Name, o.UID = fmt.Sprintf("web-%d", i), types.UID(fmt.Sprintf("u-%d", i))
		out = append(out, o)
	}
	return out
}

func TestAnAPIServerThatIsGoneHasPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(many(1000))
		s.refuse = func(context.Context, types.NamespacedName) error { return errors.New("connection refused") }
		w, r := s.running(t)
		w.Lead(true)
		for i := range 60 {
			w.Set(many(1000, func(o *Object) { o.Hash = strconv.Itoa(i) }), replicas(100))
			after(time.Second)
		}
		// 250 ms, 500 ms … 30 s, each at least half as long, and eight writers that try.
		if s.tries > 10*workers {
			t.Errorf("%d tries in a minute", s.tries)
		}
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		after(31 * time.Second)
		s.wantWrites(t, 1000)
		for key := range s.objects {
			if got := s.status(key).ConfigHash; got != "59" {
				t.Fatalf("%s has hash %s", key, got)
			}
		}
		if n := len(r.take()); n != 1000 {
			t.Errorf("%d events", n)
		}
	})
}

func TestWritersThatFailTogetherCountOnce(t *testing.T) {
	g := newGate([2]time.Duration{time.Second, 3 * time.Second})
	now := at(0).Time
	if !g.failed(now, now) || g.failed(now, now.Add(time.Millisecond)) {
		t.Error("the first of them counts, and no other")
	}
	if d := g.wait(now); d < time.Second/2 || d > time.Second {
		t.Errorf("the first wait is %v", d)
	}
	for _, most := range []time.Duration{2 * time.Second, 3 * time.Second, 3 * time.Second} {
		now = now.Add(time.Minute)
		g.failed(now, now)
		if d := g.wait(now); d < most/2 || d > most {
			t.Errorf("wait %v, want at most %v", d, most)
		}
	}
	g.succeeded()
	if d := g.wait(now); d != 0 {
		t.Errorf("wait %v after a success", d)
	}
}

func TestAnObjectThatIsRefusedHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := many(20)
		s := newStore(objects)
		bad := objects[7].Key
		s.refuse = func(_ context.Context, key types.NamespacedName) error {
			if key == bad {
				return apierrors.NewInvalid(schema.GroupKind{}, key.Name, nil)
			}
			return nil
		}
		delete(s.objects, objects[9].Key) // deleted, and Set does not know yet
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(objects, replicas(100))
		after(0)
		s.wantWrites(t, 18)
		after(time.Hour)
		s.wantWrites(t, 18)
		if tries := s.tries - 18; tries < 10 || tries > 30 { // in the end every 5 minutes
			t.Errorf("%d tries for the object that is refused", tries)
		}
		reads := s.reads
		w.Set(objects[:7], replicas(100))
		after(9 * time.Minute) // each other object is looked at every 10
		if s.reads-reads > 2+7 {
			t.Errorf("%d reads, of objects that are not there any more", s.reads-reads)
		}
	})
}

// EndpointSlices change all the time; an object that they are not about costs nothing.
func TestFactsThatStayTheSameCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(many(100))
		w, _ := s.running(t)
		w.Lead(true)
		w.Set(many(100), replicas(100))
		after(time.Second)
		reads := s.reads
		for i := range 50 {
			objects := many(100)
			objects[3].Healthy = i % 2
			w.Set(objects, replicas(uint64(100+i)))
			synctest.Wait()
		}
		if got := s.reads - reads; got != 50 {
			t.Errorf("%d reads for 50 changes of one object", got)
		}
	})
}

func TestEventsTellTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(one())
		w, r := s.running(t)
		w.Lead(true)
		set := func(change ...func(*Object)) []string {
			w.Set(one(change...), replicas(100))
			after(time.Second)
			return r.take()
		}
		want := func(got []string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		accepted := "web Normal Accepted: it can be served as it stands"
		listener := translate.Problem{Field: "bindAddress", Reason: v1alpha1.ReasonListenerConflict, Message: "held by `a/b`"}
		backend := translate.Problem{Field: "backends[0]", Reason: v1alpha1.ReasonBackendNotFound, Message: "no Service"}
		shadow := translate.Problem{Field: "routes[0]", Reason: v1alpha1.ReasonRouteShadowed, Message: "as `a/b`"}

		want(set(), accepted)
		want(set(func(o *Object) { o.Generation = 8 }))
		want(set(problems(listener)), "web Warning ListenerConflict: bindAddress: held by `a/b`")
		want(set(problems(listener, backend)), "web Warning BackendNotFound: backends[0]: no Service")
		want(set(problems(shadow)), "web Warning RouteShadowed: routes[0]: as `a/b`") // Accepted was told a moment ago
		want(set(holds(Hold{Other: "c/d"})))
		after(sayAgain)
		want(set(problems(listener)), "web Warning ListenerConflict: bindAddress: held by `a/b`")
		want(set(), accepted)
	})
}

func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(many(2))
		w, r := s.running(t)
		w.Set(many(2), replicas(100))
		w.Lead(true)
		after(time.Hour)
		r.take()
		eject := func(i int, text string) {
			w.Event(many(2)[i].Key, many(2)[i].UID, "Warning", "EndpointEjected", text)
		}
		for range 100 {
			eject(0, "10.0.0.1")
		}
		if n := len(r.take()); n != 1 {
			t.Errorf("the same: %d events", n)
		}
		for i := range 100 {
			eject(0, strconv.Itoa(i))
			eject(1, strconv.Itoa(i))
		}
		if n := len(r.take()); n != burst-1+burst {
			t.Errorf("different: %d events", n)
		}
		after(sayAgain)
		for range 3 {
			eject(0, "10.0.0.1")
		}
		w.Event(many(1)[0].Key, "another object", "Warning", "EndpointEjected", "x")
		w.Event(sample().Key, sample().UID, "Warning", "EndpointEjected", "x")
		if n := len(r.take()); n != 1 {
			t.Errorf("later: %d events", n)
		}
		eject(1, strings.Repeat("100 % ö ", 300))
		if list := r.take(); len(list) != 1 || len(list[0]) > 1024+40 {
			t.Errorf("long: %d events", len(list))
		}
	})
}
