package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/memory"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// clusterOptions are the flags of the controller command.
type clusterOptions struct {
	config       string
	kubeconfig   string
	class        string
	namespaces   []string
	publish      string
	ports        []string
	hosts        string
	allowLocal   bool
	allowNames   bool
	noSecrets    bool
	domain       string
	lastGood     string
	namespace    string
	replica      string
	zone         string
	globals      map[string]*string
	policy       realm.Policy
	publishedAs  types.NamespacedName
	podName, uid string
}

func newController(stderr io.Writer) *cobra.Command {
	o := &clusterOptions{}
	cmd := &cobra.Command{
		Use:   "controller [flags]",
		Short: "Serve the ProxyServices of a Kubernetes cluster",
		Long: `Serves the ProxyServices of a Kubernetes cluster in this process.

Every replica serves; the one that leads writes the status of the objects. The settings of the process (admin,
access_log, metrics, limits) are those of a standalone file, from --config, the environment or flags.`,
		Example: `  pingora-proxy controller --publish-service pingora-proxy-system/pingora-proxy
  pingora-proxy controller --kubeconfig ~/.kube/config --namespace default --allow-local-addresses`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			return runController(o, stderr)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.config, "config", "c", "", "file with the settings of the process; it is followed when it changes (CONFIG_PATH)")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach the API server (default: as a Pod of the cluster does)")
	f.StringVar(&o.class, "class", v1alpha1.DefaultClass, "serve the objects of this spec.className; those without belong to "+v1alpha1.DefaultClass)
	f.StringSliceVar(&o.namespaces, "watch-namespaces", nil, "serve the objects of these namespaces alone (default: all)")
	f.StringVar(&o.publish, "publish-service", "", "namespace/name of the proxy's own Service, whose ports follow the listeners")
	f.StringSliceVar(&o.ports, "allowed-ports", nil, "ports that objects may bind, such as 80,443,8000-9000 (default: all)")
	f.StringVar(&o.hosts, "host-ownership", "Shared", "Shared, or Strict: a host belongs to the namespace that had it first")
	f.BoolVar(&o.allowLocal, "allow-local-addresses", false, "let objects name loopback, link-local and metadata addresses as backends")
	f.BoolVar(&o.allowNames, "allow-external-names", false, "let objects name Services of type ExternalName")
	f.BoolVar(&o.noSecrets, "no-secrets", false, "read no Secrets, where this process may not: objects cannot name certificates")
	f.StringVar(&o.domain, "cluster-domain", "cluster.local", "what the DNS names of Services end in")
	f.StringVar(&o.lastGood, "last-good-file", "", "keep what serves in this file, Secrets included, and start from it while the API server is away")
	f.StringVar(&o.namespace, "namespace", "", "where this process runs and keeps its Leases (POD_NAMESPACE)")
	f.StringVar(&o.replica, "replica-name", "", "name of this replica (POD_NAME, else the host's)")
	f.StringVar(&o.zone, "zone", "", "where this process runs, for services that prefer endpoints of its own zone (PINGORA_ZONE)")
	o.globals = addGlobals(f)
	completeGlobals(cmd)
	completeFlags(cmd, []string{"config"}, map[string][]string{"host-ownership": {"Shared", "Strict"}, "class": {v1alpha1.DefaultClass}},
		"watch-namespaces", "publish-service", "allowed-ports", "cluster-domain", "namespace", "replica-name", "zone")
	return cmd
}

// complete reads what the flags mean, and fills in what the environment says.
func (o *clusterOptions) complete() error {
	o.podName, o.uid = os.Getenv("POD_NAME"), os.Getenv("POD_UID")
	if o.namespace == "" {
		o.namespace = os.Getenv("POD_NAMESPACE")
	}
	if o.namespace == "" {
		return errors.New("--namespace (or POD_NAMESPACE) must say where the Leases of the replicas are")
	}
	if o.replica == "" {
		o.replica = o.podName
	}
	if o.replica == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--replica-name: %w", err)
		}
		o.replica = strings.ToLower(name)
	}
	if o.zone == "" {
		o.zone = os.Getenv("PINGORA_ZONE")
	}
	if o.config == "" {
		o.config = os.Getenv("CONFIG_PATH")
	}
	if o.publish != "" {
		namespace, name, ok := strings.Cut(o.publish, "/")
		if !ok || namespace == "" || name == "" {
			return fmt.Errorf("--publish-service %s: must be namespace/name", o.publish)
		}
		o.publishedAs = types.NamespacedName{Namespace: namespace, Name: name}
	}
	if o.hosts != "Shared" && o.hosts != "Strict" {
		return fmt.Errorf("--host-ownership %s: must be Shared or Strict", o.hosts)
	}
	if strings.Trim(o.domain, ".") == "" {
		return errors.New("--cluster-domain must be set, such as cluster.local")
	}
	o.policy = realm.Policy{
		StrictHosts: o.hosts == "Strict", AllowLocal: o.allowLocal, AllowExternalNames: o.allowNames, ClusterDomain: o.domain,
	}
	for _, text := range o.ports {
		r, err := portRange(text)
		if err != nil {
			return fmt.Errorf("--allowed-ports %s: %w", text, err)
		}
		o.policy.Ports = append(o.policy.Ports, r)
	}
	return nil
}

func portRange(text string) (realm.PortRange, error) {
	first, last, isRange := strings.Cut(strings.TrimSpace(text), "-")
	if !isRange {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if errA != nil || errB != nil || a == 0 || b < a {
		return realm.PortRange{}, errors.New("must be a port, or a range such as 8000-9000")
	}
	return realm.PortRange{First: uint16(a), Last: uint16(b)}, nil
}

func (o *clusterOptions) connection() (*rest.Config, error) {
	if o.kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig %s: %w", o.kubeconfig, err)
		}
		return config, nil
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("this process runs outside a cluster: --kubeconfig must say how to reach the API server")
	}
	return config, err
}

// runController serves a cluster until a signal ends it.
func runController(o *clusterOptions, stderr io.Writer) error {
	source := standalone.Options{Path: o.config, GlobalsOnly: true, Environment: os.LookupEnv, Flags: globalFlags(o.globals)}
	loaded, problems := standalone.Load(source)
	if len(problems) > 0 {
		printProblems(stderr, problems)
		return fail(nil)
	}
	metrics := telemetry.NewMetrics(version)
	log, level, err := newLogger(stderr, metrics)
	if err != nil {
		return fail(err)
	}
	defer telemetry.Flush(log)
	// The libraries log through globals of theirs, which are the process's to set.
	ctrl.SetLogger(log.WithName("controller"))
	klog.SetLogger(log.WithName("client"))
	config, err := o.connection()
	if err != nil {
		return fail(err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	ignoreWriteSignals()
	limitThreads(&loaded.Globals)
	var controller atomic.Pointer[controllers.Controller] // which the data plane is there before
	d := dataplane.Options{Log: log, Version: version, Metrics: metrics, ResolvePatience: 100 * time.Millisecond}
	d.Zone = o.zone
	d.OnEjected = func(cluster string, endpoint netip.AddrPort) {
		if c := controller.Load(); c != nil {
			c.Ejected(cluster, endpoint)
		}
	}
	d.OnBreaker = func(cluster, state string) {
		if c := controller.Load(); c != nil {
			c.BreakerChanged(cluster, state)
		}
	}
	if !o.allowLocal {
		d.Permit = refuseLocal
	}
	p := &process{log: log, metrics: d.Metrics, plane: dataplane.New(d)}
	p.control = newControl(p, level, "Kubernetes, class "+o.class)
	c, err := controllers.New(controllers.Options{
		Config: config, Log: log.WithName("controller"), Plane: p.plane, Globals: loaded.Globals, Contents: loaded.Contents,
		Class: o.class, Namespaces: o.namespaces, Policy: o.policy, NoSecrets: o.noSecrets,
		Namespace: o.namespace, Replica: o.replica, PodName: o.podName, PodUID: o.uid,
		Publish: o.publishedAs, LastGood: o.lastGood,
		Reloaded: p.control.reloaded, Stale: p.control.stale,
	})
	if err != nil {
		p.plane.Close()
		return fail(err)
	}
	controller.Store(c)
	return p.runCluster(source, loaded, c, signals)
}

// refuseLocal is the policy for every connection to an endpoint in a cluster, whatever name led there.
func refuseLocal(addr netip.Addr) error {
	if realm.Local(addr) {
		return fmt.Errorf("%s is an address of the proxy's own machine or its link; --allow-local-addresses allows those", addr)
	}
	return nil
}

// A follower follows the objects of a cluster: a *controllers.Controller.
type follower interface {
	Run(ctx context.Context) error
	SetGlobals(g settings.Globals, contents map[string]material.Content)
}

// runCluster runs the controller beside the source of the process's own settings.
func (p *process) runCluster(source standalone.Options, loaded *standalone.Loaded, controller follower, signals <-chan os.Signal) error {
	commit, err := p.control.prepare(loaded)
	if err != nil {
		p.plane.Close()
		return fail(err)
	}
	commit(true)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Go(func() { memory.NewKeeper(p.log.WithName("memory")).Run(ctx) })
	p.source = standalone.NewSource(source, p.log.WithName("config"), p.control.reloaded)
	p.running.Go(func() {
		begun := false
		_ = p.source.Run(ctx, loaded, func(next *standalone.Loaded) error { // the first one is in effect already
			if !begun {
				begun = true
				return nil
			}
			commit, err := p.control.prepare(next)
			if err != nil {
				return err
			}
			commit(true)
			controller.SetGlobals(next.Globals, next.Contents)
			return nil
		})
	})
	failed := make(chan error, 1)
	p.running.Go(func() {
		if err := controller.Run(ctx); err != nil && ctx.Err() == nil {
			failed <- err
		}
	})
	p.log.Info("waiting for the objects of the cluster", "version", version)
	relayed, ended := make(chan os.Signal, 8), make(chan error, 1)
	go func() { // what ends the controller ends the process, as a signal does
		for {
			select {
			case s := <-signals:
				relayed <- s
			case err := <-failed:
				p.log.Error(err, "the controller has ended")
				ended <- err
				relayed <- syscall.SIGTERM
			case <-ctx.Done():
				return
			}
		}
	}()
	p.follow(relayed)
	p.stop(signals)
	select {
	case err := <-ended: // whoever watches the process must know that nobody wanted that
		return fail(fmt.Errorf("the controller has ended: %w", err))
	default:
		return nil
	}
}
