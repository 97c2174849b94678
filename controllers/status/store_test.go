package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// A store stands for the API where a test is about when something is written: time in these tests is not real, and an API
// server needs real time. What the API server does with a write is seen in server_test.go.
type store struct {
	client.Client // nil: nothing else is called

	mu      sync.Mutex
	objects map[types.NamespacedName]*v1alpha1.ProxyService
	cache   map[types.NamespacedName]*v1alpha1.ProxyService // nil: it is never behind
	version int
	reads   int
	tries   int
	writes  map[types.NamespacedName]int
	refuse  func(ctx context.Context, key types.NamespacedName) error
}

func newStore(objects []Object) *store {
	s := &store{objects: map[types.NamespacedName]*v1alpha1.ProxyService{}, writes: map[types.NamespacedName]int{}}
	for _, o := range objects {
		s.version++
		s.objects[o.Key] = &v1alpha1.ProxyService{ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Key.Namespace, Name: o.Key.Name, UID: o.UID, Generation: o.Generation, ResourceVersion: strconv.Itoa(s.version),
		}}
	}
	return s
}

func (s *store) Get(_ context.Context, key types.NamespacedName, into client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	from := s.objects
	if s.cache != nil {
		from = s.cache
	}
	if from[key] == nil {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	from[key].DeepCopyInto(into.(*v1alpha1.ProxyService))
	return nil
}

func (s *store) Status() client.SubResourceWriter { return subresource{store: s} }

type subresource struct {
	client.SubResourceWriter
	store *store
}

func (w subresource) Patch(ctx context.Context, object client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	s, key := w.store, client.ObjectKeyFromObject(object)
	s.mu.Lock()
	s.tries++
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != nil {
		if err := refuse(ctx, key); err != nil {
			return err
		}
	}
	data, err := patch.Data(object)
	if err != nil {
		return err
	}
	var applied v1alpha1.ProxyService
	if err := json.Unmarshal(data, &applied); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := s.objects[key]
	if stored == nil {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	if applied.ResourceVersion != stored.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{}, key.Name, errors.New("it is another version"))
	}
	stored = stored.DeepCopy()
	s.version++
	stored.Status, stored.ResourceVersion = applied.Status, strconv.Itoa(s.version)
	s.objects[key] = stored
	s.writes[key]++
	stored.DeepCopyInto(object.(*v1alpha1.ProxyService))
	return nil
}

// edit changes a stored object as somebody else would.
func (s *store) edit(key types.NamespacedName, change func(*v1alpha1.ProxyService)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := s.objects[key].DeepCopy()
	change(object)
	s.version++
	object.ResourceVersion = strconv.Itoa(s.version)
	s.objects[key] = object
}

func (s *store) status(key types.NamespacedName) v1alpha1.ProxyServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key].DeepCopy().Status
}

func (s *store) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, w := range s.writes {
		n += w
	}
	return n
}

// A recorder keeps Events as texts.
type recorder struct {
	mu   sync.Mutex
	list []string
}

func (r *recorder) Eventf(regarding, _ runtime.Object, eventType, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := regarding.(*v1alpha1.ProxyService).Name
	r.list = append(r.list, fmt.Sprintf("%s %s %s: ", name, eventType, reason)+fmt.Sprintf(note, args...))
}

// take returns the Events since it was called last.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// running makes a Writer that runs to the end of the test.
func (s *store) running(t *testing.T) (*Writer, *recorder) {
	r := &recorder{}
	w := NewWriter(Options{Client: s, Recorder: r, Log: logr.Discard()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second) // in which the queue ends
	})
	synctest.Wait()
	return w, r
}

// after lets time pass, and waits until nothing happens any more.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *store) wantWrites(t *testing.T, want int) {
	t.Helper()
	if got := s.total(); got != want {
		t.Errorf("%d writes, want %d", got, want)
	}
}

func condition(s v1alpha1.ProxyServiceStatus, kind string) string {
	c := find(s.Conditions, kind)
	if c == nil {
		return ""
	}
	return spell([]metav1.Condition{*c})[0]
}

func one(change ...func(*Object)) []Object { return []Object{sample(change...)} }
