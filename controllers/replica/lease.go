package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1ac "k8s.io/client-go/applyconfigurations/coordination/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

const (
	leaseDuration = 15 * time.Second
	renewEvery    = 5 * time.Second
	// spacing bounds the writes of a replica whose configuration never rests.
	spacing = 100 * time.Millisecond
	// firstRetry doubles up to renewEvery while writes fail.
	firstRetry   = 250 * time.Millisecond
	writeTimeout = 5 * time.Second
	// removeTimeout is short, because it delays the end of the process; Kubernetes and time remove what is left.
	removeTimeout = 2 * time.Second

	fieldManager = "pingora-proxy-replica"
)

// A Lease tells the other replicas which configuration this one serves.
type Lease struct {
	config  Config
	log     logr.Logger
	renew   time.Duration
	changed chan struct{}

	mu     sync.Mutex
	served served

	uid types.UID // of the Lease as it was written last; Run's
}

type served struct {
	version uint64
	ready   bool
	unbound string
}

// NewLease makes the Lease of the replica that the Config names; nothing is written before Run.
func NewLease(c Config) (*Lease, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Lease{config: c, log: calm(c.Log), renew: renewEvery, changed: make(chan struct{}, 1)}, nil
}

// Serve publishes the resourceVersion that this replica serves from now on, and whether it takes traffic. It never
// waits: the newest of several values is written as soon as the one before it is.
func (l *Lease) Serve(resourceVersion uint64, ready bool) {
	l.mu.Lock()
	l.served.version, l.served.ready = resourceVersion, ready
	l.mu.Unlock()
	l.wake()
}

// maxUnbound is how many addresses a Lease names: an annotation is no place for thousands.
const maxUnbound = 128

// Unbound publishes with the next Serve which addresses this replica could not bind.
func (l *Lease) Unbound(addresses []string) {
	addresses = slices.Sorted(slices.Values(addresses))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served.unbound = strings.Join(addresses[:min(len(addresses), maxUnbound)], ",")
}

func (l *Lease) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *Lease) current() served {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.served
}

// Run writes the Lease, at first as not ready, because one may be left of a process that had the same name and was killed; then
// whenever Serve brings news, and every 5 s. It returns when ctx ends, after an attempt of at most 2 s to remove the Lease.
func (l *Lease) Run(ctx context.Context) {
	defer l.remove(ctx)
	var (
		written served
		at      time.Time // of the last write
		failing time.Duration
	)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.changed:
			if failing > 0 || l.current() == written {
				continue // a server in trouble is asked when the timer says so
			}
			if early := spacing - time.Since(at); early > 0 {
				timer.Reset(early)
				continue
			}
		}
		now := l.current()
		err := l.write(ctx, now)
		at = time.Now()
		if err != nil {
			failing = min(max(2*failing, firstRetry), l.renew)
			l.log.Error(err, "This replica's Lease could not be written; it is tried again", "retry_in", failing.String())
			timer.Reset(failing/2 + rand.N(failing/2+1))
			continue
		}
		if failing > 0 {
			l.log.Info("This replica's Lease is written again")
		}
		written, failing = now, 0
		if l.current() != written {
			timer.Reset(spacing)
			continue
		}
		timer.Reset(l.renew)
	}
}

// write applies the whole Lease, which makes one that is gone and mends one that somebody changed. It outlives ctx by its own
// time limit: a write that was cut off might arrive after the removal.
func (l *Lease) write(ctx context.Context, s served) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	c := l.config
	lease := coordinationv1ac.Lease(c.Name, c.Namespace).
		WithLabels(map[string]string{ClassLabel: c.Class}).
		WithAnnotations(map[string]string{
			VersionAnnotation: strconv.FormatUint(s.version, 10),
			ReadyAnnotation:   strconv.FormatBool(s.ready),
			UnboundAnnotation: s.unbound,
		}).
		WithSpec(coordinationv1ac.LeaseSpec().
			WithHolderIdentity(c.Name).
			WithLeaseDurationSeconds(int32(leaseDuration / time.Second)).
			WithRenewTime(metav1.NowMicro()))
	if c.PodName != "" && c.PodUID != "" {
		// Without blockOwnerDeletion, which would need a right over Pods.
		lease.WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion("v1").WithKind("Pod").WithName(c.PodName).WithUID(types.UID(c.PodUID)))
	}
	applied, err := c.Client.Leases(c.Namespace).Apply(ctx, lease, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("writing Lease %s/%s: %w", c.Namespace, c.Name, err)
	}
	l.uid = applied.UID
	return nil
}

// remove deletes the Lease that this process wrote, if it is there.
func (l *Lease) remove(ctx context.Context) {
	if l.uid == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	c := l.config
	err := c.Client.Leases(c.Namespace).Delete(ctx, c.Name, *metav1.NewPreconditionDeleteOptions(string(l.uid)))
	if err != nil {
		l.log.V(1).Info("This replica's Lease was left behind; the others forget it soon", "error", err.Error())
	}
}
