package replica

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// silence is how long no Lease at all must have changed to say that this process saw nothing: its own changes every 5 s.
const silence = 10 * time.Second

// A Member is what a replica tells of itself.
type Member struct {
	Name            string
	ResourceVersion uint64 // 0: unknown
	Ready           bool
	Unbound         string // addresses that it could not bind, with commas between them
}

// Members knows the replicas of a class that are alive: those whose Lease changed within its own duration. That is judged by
// when this process saw a change, never by comparing the clocks of two machines.
//
// After a time without any news, as when the API server was away, the Leases that were known count as seen anew: a replica is gone when it
// is silent while others speak. A list without this replica itself therefore means that nothing is known.
type Members struct {
	config  Config
	log     logr.Logger
	changed chan struct{}

	mu     sync.Mutex // of what follows
	leases map[string]*sighting
	last   time.Time // when any Lease changed
	shown  []Member
	expiry *time.Timer
}

type sighting struct {
	Member
	version string // of the Lease itself
	seen    time.Time
	lasts   time.Duration
}

// NewMembers makes Members that know nobody before Run.
func NewMembers(c Config) (*Members, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &Members{config: c, log: calm(c.Log), changed: make(chan struct{}, 1), leases: map[string]*sighting{}}
	m.expiry = time.AfterFunc(time.Hour, m.expire)
	m.expiry.Stop()
	return m, nil
}

// List returns the replicas that are alive, ordered by name.
func (m *Members) List() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	members, _ := m.alive(time.Now())
	return members
}

// Changed tells one reader that List may give something else than before. Renewals alone tell nothing.
func (m *Members) Changed() <-chan struct{} { return m.changed }

// Run watches the Leases until ctx ends.
func (m *Members) Run(ctx context.Context) {
	leases := m.config.Client.Leases(m.config.Namespace)
	selector := ClassLabel + "=" + m.config.Class
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return leases.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return leases.Watch(ctx, o)
		},
	}
	// The reflector alone, without the rest of an informer: its back-off can be told to stay below a renewal's time, and
	// here is all the store that a few Leases need.
	r := cache.NewReflectorWithOptions(lw, &coordinationv1.Lease{}, store{m}, cache.ReflectorOptions{
		Logger:  &m.log,
		Name:    "replicas",
		Backoff: &wait.Backoff{Duration: firstRetry, Cap: renewEvery, Factor: 2, Jitter: 0.5, Steps: 6},
	})
	r.RunWithContext(logr.NewContext(ctx, m.log))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expiry.Stop()
}

// see takes the Leases as they are now; all says that there are no others.
func (m *Members) see(all bool, leases ...*coordinationv1.Lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(m.last) > silence {
		for _, s := range m.leases {
			s.seen = now
		}
	}
	m.last = now
	if all {
		named := make(map[string]*sighting, len(leases))
		for _, l := range leases {
			if s := m.leases[l.Name]; s != nil {
				named[l.Name] = s
			}
		}
		m.leases = named
	}
	for _, l := range leases {
		if s := m.leases[l.Name]; s == nil || s.version != l.ResourceVersion {
			m.leases[l.Name] = sight(l, now)
		}
	}
	m.tell(now)
}

func (m *Members) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.leases, name)
	m.tell(time.Now())
}

func (m *Members) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(time.Now())
}

// tell wakes the reader if the list is another, and itself when the next Lease expires.
func (m *Members) tell(now time.Time) {
	members, next := m.alive(now)
	if next > 0 {
		m.expiry.Reset(next)
	} else {
		m.expiry.Stop()
	}
	if slices.Equal(members, m.shown) {
		return
	}
	m.shown = members
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// alive returns who is alive, and in how much time the first of them is not unless it renews; 0 where nobody is.
func (m *Members) alive(now time.Time) (members []Member, next time.Duration) {
	for _, s := range m.leases {
		left := s.lasts - now.Sub(s.seen)
		if left <= 0 {
			continue
		}
		members = append(members, s.Member)
		if next == 0 || left < next {
			next = left
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return members, next
}

func sight(l *coordinationv1.Lease, now time.Time) *sighting {
	s := &sighting{
		Member:  Member{Name: l.Name, Ready: l.Annotations[ReadyAnnotation] == "true", Unbound: l.Annotations[UnboundAnnotation]},
		version: l.ResourceVersion,
		seen:    now,
		lasts:   leaseDuration,
	}
	// What is no number is unknown, and served by nobody.
	s.ResourceVersion, _ = strconv.ParseUint(l.Annotations[VersionAnnotation], 10, 64)
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d > 0 {
		s.lasts = time.Duration(*d) * time.Second
	}
	return s
}

// store is Members as a Reflector writes to it.
type store struct{ m *Members }

func (s store) Add(obj any) error { return s.Update(obj) }

func (s store) Update(obj any) error {
	if l, ok := obj.(*coordinationv1.Lease); ok {
		s.m.see(false, l)
	}
	return nil
}

func (s store) Delete(obj any) error {
	if l, ok := obj.(*coordinationv1.Lease); ok {
		s.m.forget(l.Name)
	}
	return nil
}

func (s store) Replace(objs []any, _ string) error {
	leases := make([]*coordinationv1.Lease, 0, len(objs))
	for _, obj := range objs {
		if l, ok := obj.(*coordinationv1.Lease); ok {
			leases = append(leases, l)
		}
	}
	s.m.see(true, leases...)
	return nil
}

func (store) Resync() error { return nil }
