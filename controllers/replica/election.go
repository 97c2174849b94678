package replica

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// timing is how long each step of an election takes, as in client-go's LeaderElectionConfig.
type timing struct{ lease, renew, retry time.Duration }

// An Election chooses one leader among the replicas of a class.
//
// Leadership ends when another replica has it, when it could not be renewed for 10 s, which is before others may take it,
// and at once when Run ends. client-go's own callback comes later: it waits for an attempt to give the Lease back.
type Election struct {
	elector  *leaderelection.LeaderElector
	log      logr.Logger
	clientgo logr.Logger
	identity string
	deadline time.Duration
	changed  func(leading bool)

	leading atomic.Bool
	mu      sync.Mutex // held while leading changes and changed runs
	over    bool       // Run is ending
	until   time.Time  // leadership ends by itself
	expiry  *time.Timer
}

// NewElection makes an Election. It calls changed, which may be nil, after each change of Leading, one call at a time; changed
// must return soon.
func NewElection(c Config, changed func(leading bool)) (*Election, error) {
	return newElection(c, timing{lease: leaseDuration, renew: 10 * time.Second, retry: 2 * time.Second}, changed)
}

func newElection(c Config, t timing, changed func(leading bool)) (*Election, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if changed == nil {
		changed = func(bool) {}
	}
	e := &Election{
		log: c.Log, clientgo: calm(c.Log), identity: c.identity(rand.Text), deadline: t.renew, changed: changed,
	}
	e.expiry = time.AfterFunc(time.Hour, e.expire)
	e.expiry.Stop()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &lock{election: e, timeout: t.renew / 2, Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.Namespace, Name: ElectionName(c.Class)},
			Client:     c.Client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.identity},
		}},
		LeaseDuration: t.lease, RenewDeadline: t.renew, RetryPeriod: t.retry,
		ReleaseOnCancel: true,
		Name:            ElectionName(c.Class),
		Callbacks: leaderelection.LeaderCallbacks{ // the lock knows earlier
			OnStartedLeading: func(context.Context) {},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("election of class %q: %w", c.Class, err)
	}
	e.elector = elector
	return e, nil
}

// Leading reports whether this replica is the leader now.
func (e *Election) Leading() bool { return e.leading.Load() }

// Run stands for election until ctx ends, whatever happens to the Lease or the API server. Then it gives the Lease back, so that
// another replica leads at once; without an answer that takes up to 10 s.
func (e *Election) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, e.end)
	defer stop()
	for ctx.Err() == nil {
		e.elector.Run(logr.NewContext(ctx, e.clientgo))
	}
	e.end()
}

func (e *Election) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	e.set(false)
}

// expire ends a leadership that was not renewed.
func (e *Election) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !time.Now().Before(e.until) { // else it was renewed while the timer ran out
		e.set(false)
	}
}

// lost ends the leadership.
func (e *Election) lost() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.set(false)
}

// held says that this replica wrote the Lease as its own, at a moment after since.
func (e *Election) held(since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until = since.Add(e.deadline)
	e.expiry.Reset(time.Until(e.until))
	e.set(!e.over)
}

func (e *Election) set(leading bool) {
	if !leading {
		e.expiry.Stop()
	}
	if e.leading.Swap(leading) == leading {
		return
	}
	if leading {
		e.log.Info("This replica leads: it writes status", "identity", e.identity)
	} else {
		e.log.Info("This replica does not lead any more; it serves as before", "identity", e.identity)
	}
	e.changed(leading)
}

// lock is the Lease, and tells the Election what it sees of it.
type lock struct {
	resourcelock.Interface
	election *Election
	timeout  time.Duration // of one request, below the deadline, so that a hung one does not cost the leadership
}

func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	record, raw, err := l.Interface.Get(ctx)
	if err == nil && record.HolderIdentity != l.Identity() {
		l.election.lost()
	}
	return record, raw, err
}

func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Create)
}

func (l *lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Update)
}

func (l *lock) write(ctx context.Context, record resourcelock.LeaderElectionRecord,
	do func(context.Context, resourcelock.LeaderElectionRecord) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	began := time.Now()
	ours := record.HolderIdentity == l.Identity()
	if !ours {
		l.election.lost()
	}
	err := do(ctx, record)
	if err == nil && ours {
		l.election.held(began)
	}
	return err
}
