package replica

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1ac "k8s.io/client-go/applyconfigurations/coordination/v1"
	"k8s.io/client-go/kubernetes/fake"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// Most tests run on a clock of their own and on this server; those of kube_test.go have a real one.

type mode int

const (
	answers mode = iota
	refuses
	hangs // until the request's time is over
)

// A server stands in for the API server's network.
type server struct {
	coordinationv1client.LeasesGetter

	mu      sync.Mutex
	delay   time.Duration // of each answer
	mode    mode
	tries   int
	writes  []string // versions and readiness of a replica's Lease, in their order
	running int
	most    int // requests at a time
}

func newServer() *server {
	return &server{LeasesGetter: fake.NewClientset().CoordinationV1()}
}

func (s *server) set(m mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

func (s *server) slow(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

// atOnce returns how many requests there were at a time.
func (s *server) atOnce() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// A logbook is a log that a test reads.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logbook) log(verbosity int) logr.Logger {
	return funcr.New(func(_, args string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, args)
	}, funcr.Options{Verbosity: verbosity})
}

// took returns what was logged since the last call.
func (b *logbook) took() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.lines
	b.lines = nil
	return lines
}

// took returns what was tried and written since the last call.
func (s *server) took() (tries int, writes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tries, writes = s.tries, s.writes
	s.tries, s.writes = 0, nil
	return tries, writes
}

// request waits as the network does.
func (s *server) request(ctx context.Context) error {
	s.mu.Lock()
	s.tries++
	s.running++
	s.most = max(s.most, s.running)
	m, delay := s.mode, s.delay
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
	}()
	time.Sleep(delay)
	switch m {
	case refuses:
		return errors.New("connection refused")
	case hangs:
		<-ctx.Done()
		return ctx.Err()
	default:
		return ctx.Err()
	}
}

func (s *server) Leases(ns string) coordinationv1client.LeaseInterface {
	return slowLeases{s.LeasesGetter.Leases(ns), s}
}

type slowLeases struct {
	coordinationv1client.LeaseInterface
	s *server
}

func (l slowLeases) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	if err := l.s.request(ctx); err != nil {
		return nil, err
	}
	return l.LeaseInterface.Get(ctx, name, o)
}

func (l slowLeases) Create(ctx context.Context, lease *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	if err := l.s.request(ctx); err != nil {
		return nil, err
	}
	return l.LeaseInterface.Create(ctx, lease, o)
}

func (l slowLeases) Update(ctx context.Context, lease *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if err := l.s.request(ctx); err != nil {
		return nil, err
	}
	return l.LeaseInterface.Update(ctx, lease, o)
}

func (l slowLeases) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	if err := l.s.request(ctx); err != nil {
		return err
	}
	return l.LeaseInterface.Delete(ctx, name, o)
}

func (l slowLeases) Apply(ctx context.Context, lease *coordinationv1ac.LeaseApplyConfiguration, _ metav1.ApplyOptions) (*coordinationv1.Lease, error) {
	if err := l.s.request(ctx); err != nil {
		return nil, err
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.writes = append(l.s.writes, lease.Annotations[VersionAnnotation]+" "+lease.Annotations[ReadyAnnotation])
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: *lease.Name, UID: "1"}}, nil
}

func configOn(s *server) Config {
	return Config{Client: s, Namespace: "proxy", Class: "default", Name: "a", Log: logr.Discard()}
}

// pass lets the time pass and everything happen that happens in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestCalmLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &logbook{}
		log := calm(book.log(0))
		for range 130 {
			log.WithName("x").WithValues("k", "v").Error(errors.New("refused"), "Again")
			log.Info("News of client-go")
			time.Sleep(time.Second)
		}
		if lines := book.took(); len(lines) != 3 {
			t.Errorf("%d lines in 130 s, want one a minute:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		debug := calm(book.log(1))
		debug.Info("News")
		debug.Error(errors.New("refused"), "One")
		debug.Error(errors.New("refused"), "Two")
		if lines := book.took(); len(lines) != 3 {
			t.Errorf("at level debug: %q, want all", lines)
		}
		calm(logr.Discard()).Error(nil, "Nothing")
		calm(logr.Logger{}).Error(nil, "Nothing")
	})
}

func TestConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"--namespace":       func(c *Config) { c.Namespace = "" },
		"--replica-name":    func(c *Config) { c.Name = "Not_A_Name" },
		"--class":           func(c *Config) { c.Class = strings.Repeat("x", 64) },
		"for the election":  func(c *Config) { c.Name = ElectionName(c.Class) },
		`class "a.b"`:       func(c *Config) { c.Class = "a.b" },
		"replica name \"\"": func(c *Config) { c.Name = "" },
	} {
		c := configOn(newServer())
		change(&c)
		_, leaseErr := NewLease(c)
		_, membersErr := NewMembers(c)
		_, electionErr := NewElection(c, nil)
		for _, err := range []error{leaseErr, membersErr, electionErr} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want an error with %q", err, want)
			}
		}
	}
	c := configOn(newServer())
	if a, b := c.identity(func() string { return "x" }), c.identity(func() string { return "y" }); a == b {
		t.Errorf("two processes have the identity %q", a)
	}
	c.PodUID = "1-2"
	if got := c.identity(func() string { return "x" }); got != "a_1-2" {
		t.Errorf("the identity is %q", got)
	}
}
