package status

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

const kind = "ProxyService"

// workers is how many statuses are written at the same time.
const workers = 8

// timing is when statuses are written.
type timing struct {
	counts time.Duration // between writes that change only numbers of endpoints and replicas
	settle time.Duration // given to the replicas to catch up, so that one write tells the new generation and that all serve it
	heal   time.Duration // after which a status is put right that somebody else has changed
	write  time.Duration // of one write
	retry  [2]time.Duration
}

func defaultTiming() timing {
	return timing{
		counts: 5 * time.Second, settle: time.Second, heal: 10 * time.Minute, write: 10 * time.Second,
		retry: [2]time.Duration{250 * time.Millisecond, 30 * time.Second},
	}
}

// Options of a Writer.
type Options struct {
	Client   client.Client        // reads from a cache; each status read is compared with the newest facts
	Recorder events.EventRecorder // of Events; it must not block
	Log      logr.Logger
}

// A Writer writes statuses and Events. Only that of the leader writes anything.
type Writer struct {
	client   client.Client
	recorder events.EventRecorder
	log      logr.Logger
	timing   timing
	gate     gate

	mu       sync.Mutex
	entries  map[types.NamespacedName]*entry
	replicas []Replica
	queue    workqueue.TypedRateLimitingInterface[types.NamespacedName] // Run's
	term     context.Context                                            // of this replica's leadership; nil: it does not lead
	endTerm  context.CancelFunc
}

// An entry is what the Writer knows of one object. The Writer's lock guards it, and the queue gives it to one worker at a time.
type entry struct {
	object Object
	voice  voice

	// said is what this Writer wrote last, or found and would have written; nil: nothing in this term. While what it has to
	// say stays the same, a status that says something else is somebody else's, such as a leader's of another version: to
	// write over it at once would never end.
	said   *v1alpha1.ProxyServiceStatus
	saidAt time.Time
	wrote  time.Time // something at all

	// reply is the object as the last write left it, until the cache has it.
	reply *v1alpha1.ProxyService
	// pending is since when replicas have to catch up that nobody was told of.
	pending time.Time
	// terse leaves out the routes: with them the object is more than the API server stores.
	terse bool
}

// NewWriter makes a Writer. It does nothing before Run.
func NewWriter(o Options) *Writer {
	t := defaultTiming()
	return &Writer{
		client: o.Client, recorder: o.Recorder, log: o.Log, timing: t, gate: newGate(t.retry),
		entries: map[types.NamespacedName]*entry{},
	}
}

// Set hands over the newest facts: all objects, and the replicas that are ready. It never waits; facts that are replaced
// before they were written are forgotten. The caller must not change the slices any more.
func (w *Writer) Set(objects []Object, replicas []Replica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	entries := make(map[types.NamespacedName]*entry, len(objects))
	for _, o := range objects {
		e := w.entries[o.Key]
		switch {
		case e == nil || e.object.UID != o.UID: // another object under the same name
			e = &entry{object: o, voice: newVoice()}
			w.lookAt(o.Key)
		case !e.object.equal(&o) || len(w.replicas) != len(replicas) || e.object.programmed(w.replicas) != o.programmed(replicas):
			if e.object.Generation != o.Generation {
				e.terse = false
			}
			e.object = o
			w.lookAt(o.Key)
		}
		entries[o.Key] = e
	}
	w.entries, w.replicas = entries, replicas
}

// Lead says whether this replica leads. A new leader looks at every object and writes what differs. A write that is on its
// way when the leadership ends is given up.
func (w *Writer) Lead(leads bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if leads == (w.term != nil) {
		return
	}
	if !leads {
		w.endTerm()
		w.term = nil
		return
	}
	w.term, w.endTerm = context.WithCancel(context.Background())
	for key, e := range w.entries {
		e.said, e.pending = nil, time.Time{}
		w.lookAt(key)
	}
}

// lookAt lets a worker compare the object with its facts soon.
func (w *Writer) lookAt(key types.NamespacedName) {
	if w.queue != nil {
		w.queue.Add(key)
	}
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) error {
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](100*time.Millisecond, 5*time.Minute))
	defer context.AfterFunc(ctx, queue.ShutDown)()
	w.mu.Lock()
	w.queue = queue
	for key := range w.entries {
		w.lookAt(key)
	}
	w.mu.Unlock()

	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				key, over := queue.Get()
				if over {
					return
				}
				w.work(ctx, queue, key)
				queue.Done(key)
			}
		})
	}
	group.Wait()
	w.mu.Lock()
	w.queue = nil
	w.mu.Unlock()
	return nil
}
