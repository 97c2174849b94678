package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/lastgood"
	"github.com/pingora-proxy/pingora-proxy/controllers/publish"
	"github.com/pingora-proxy/pingora-proxy/controllers/replica"
	"github.com/pingora-proxy/pingora-proxy/controllers/status"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

// A Controller keeps the data plane of this process equal to the objects of a cluster.
type Controller struct {
	options  Options
	log      logr.Logger
	manager  manager.Manager
	world    *world
	writer   *status.Writer
	lease    *replica.Lease
	members  *replica.Members
	election *replica.Election
	ports    *publish.Publisher // nil: not ours to keep
	keeper   *lastgood.Keeper   // nil: nothing is kept

	serving serving
	again   func()        // asks for another configuration
	facts   chan struct{} // wakes the one who tells the writer
	led     chan struct{} // wakes the one who keeps the Service's ports
	asked   chan struct{} // closed when it is known where clients reach that Service, or that nobody says
}

// New makes a Controller. Nothing is asked of the API server before Run.
func New(o Options) (*Controller, error) {
	if o.Reloaded == nil {
		o.Reloaded = func(error) {}
	}
	if o.Stale == nil {
		o.Stale = func(time.Time, bool) {}
	}
	c := &Controller{options: o, log: o.Log, facts: make(chan struct{}, 1), led: make(chan struct{}, 1), asked: make(chan struct{})}
	c.serving.first = make(chan struct{})
	connection := rest.CopyConfig(o.Config)
	// Statuses of a thousand objects after a start are written in seconds; the API server has priorities of its own.
	connection.QPS, connection.Burst = 200, 400
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	c.manager, err = ctrl.NewManager(connection, ctrl.Options{
		Scheme:                 scheme,
		Logger:                 o.Log,
		MapperProvider:         staticMapper, // asking the API server would make a start depend on it
		Cache:                  cacheOptions(o.Namespaces),
		Client:                 client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Metrics:                metricsserver.Options{BindAddress: "0"}, // the proxy has its own
		HealthProbeBindAddress: "0",
		// Nothing that runs here has anything to finish: the data plane drains by itself.
		GracefulShutdownTimeout: new(2 * time.Second),
		// A Controller may be made again in one process, and waits for the API server for as long as it takes.
		Controller: config.Controller{SkipNameValidation: new(true), CacheSyncTimeout: 365 * 24 * time.Hour},
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	// The Leases have a client of their own: they must not wait behind a thousand statuses.
	own := rest.CopyConfig(o.Config)
	own.QPS, own.Burst = 20, 50
	clients, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	if err := c.replicas(clients); err != nil {
		return nil, err
	}
	if o.Publish.Name != "" {
		c.ports = &publish.Publisher{Client: clients.CoreV1(), Service: o.Publish}
	}
	c.writer = status.NewWriter(status.Options{
		Client: c.manager.GetClient(), Recorder: c.manager.GetEventRecorder("pingora-proxy"), Log: o.Log.WithName("status"),
	})
	asked := rest.CopyConfig(o.Config)
	asked.Timeout = askTimeout // no watch goes through it
	discovery, err := discovery.NewDiscoveryClientForConfig(asked)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	c.world = newWorld(c.manager, discovery, &c.options)
	return c, c.watch()
}

func (c *Controller) replicas(clients kubernetes.Interface) (err error) {
	o := c.options
	who := replica.Config{
		Client: clients.CoordinationV1(), Namespace: o.Namespace, Class: o.Class, Name: o.Replica,
		PodName: o.PodName, PodUID: o.PodUID, Log: o.Log.WithName("replica"),
	}
	if c.lease, err = replica.NewLease(who); err != nil {
		return err
	}
	if c.members, err = replica.NewMembers(who); err != nil {
		return err
	}
	c.election, err = replica.NewElection(who, func(leading bool) {
		c.log.Info("leading", "leader", leading)
		c.writer.Lead(leading)
		wake(c.facts)
		wake(c.led)
	})
	return err
}

// Run serves until ctx ends. Neither a missing API server nor a lost lead ends it.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.options.LastGood != "" {
		c.keeper = lastgood.NewKeeper(c.options.LastGood, c.log.WithName("last-good"))
		defer c.keeper.Close()
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, run := range []func(context.Context){
		c.lease.Run, c.members.Run, c.election.Run, c.world.grants.run, c.tellStatus, c.keepPorts, c.serveLastGood,
		func(ctx context.Context) {
			if err := c.writer.Run(ctx); err != nil && ctx.Err() == nil {
				c.log.Error(err, "no status is written any more")
			}
		},
	} {
		running.Go(func() { run(ctx) })
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		<-ctx.Done()
		// Until its caches are filled, a Manager that is stopped does not end, but spins. Left alone it waits, and ends with the
		// process.
		<-c.manager.Elected()
		stop()
	}()
	ended := make(chan error, 1)
	go func() { ended <- c.manager.Start(watching) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case <-c.manager.Elected():
			err = <-ended
		default:
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("watching the cluster: %w", err)
	}
	return nil
}

// SetGlobals makes globals, with their defaults and what they refer to, a part of every configuration from now on.
func (c *Controller) SetGlobals(g settings.Globals, contents map[string]material.Content) {
	c.world.settings.Store(&own{g, contents})
	c.again()
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// cacheOptions leave out what nobody here reads: it is most of what objects weigh.
func cacheOptions(namespaces []string) cache.Options {
	o := cache.Options{
		DefaultTransform: func(obj any) (any, error) {
			if m, err := meta.Accessor(obj); err == nil {
				m.SetManagedFields(nil)
				m.SetAnnotations(nil)
			}
			return obj, nil
		},
	}
	if len(namespaces) > 0 {
		o.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range namespaces {
			o.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return o
}
