package controlside

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// Options say what is measured.
type Options struct {
	Binary   string
	Services int
	Changes  int           // of single services, and of endpoints ten times as many
	Quiet    time.Duration // for which requests are measured while nothing changes
	Rate     int           // requests a second
	Checks   bool          // active health checks, as by default
	Log      io.Writer     // of the program
}

// A Result is what was measured at one size.
type Result struct {
	Options

	Start, Service, ServiceWorst, All time.Duration // from files, until the new table serves
	Resident, Peak                    float64       // MiB
	IdleCPU                           float64       // cores, while nothing changes
	QuietP99, ServiceP99, AllP99      time.Duration // of requests

	Whole, OneService, OneEndpoint time.Duration // of objects: Translate and Apply, or SetEndpoints
	WholeBytes, ServiceBytes       uint64        // that were allocated
	Reused                         int           // services that a change of one left as they were
}

// Run measures.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := &Result{Options: o}
	if err := r.objects(ctx); err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	runtime.GC()
	if err := r.files(ctx); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return r, nil
}

// objects measures what generated objects cost in this process.
func (r *Result) objects(ctx context.Context) error {
	f := Fleet{Services: r.Services, Endpoints: 10, Bind: "127.0.0.1:0", Port: 9}
	var in translate.Input
	defaults.Globals(&in.Globals)
	in.Services = make([]*translate.Service, f.Services)
	for i := range in.Services {
		in.Services[i] = f.Service(i, "/api", 0)
	}
	var memory translate.Memory
	plane := dataplane.New(dataplane.Options{Log: logr.Discard(), Metrics: telemetry.NewMetrics("controlside")})
	defer plane.Close()
	apply := func() (time.Duration, uint64, error) {
		before := allocated()
		begun := time.Now()
		s, problems := memory.Translate(in)
		if len(problems) > 0 {
			return 0, 0, fmt.Errorf("%s: %s", problems[0].Field, problems[0].Message)
		}
		err := plane.Apply(ctx, s)
		return time.Since(begun), allocated() - before, err
	}
	runtime.GC()
	var err error
	if r.Whole, r.WholeBytes, err = apply(); err != nil {
		return err
	}
	var services, endpoints []time.Duration
	for version := range r.Changes {
		at := version * 7919 % f.Services
		in.Services[at] = f.Service(at, fmt.Sprintf("/v%d", version), 0)
		took, bytes, err := apply()
		if err != nil {
			return err
		}
		services, r.ServiceBytes, r.Reused = append(services, took), bytes, memory.Reused()
	}
	s, _ := plane.Snapshot()
	for version := range 10 * r.Changes {
		c := s.Clusters[version*7919%len(s.Clusters)]
		next := append([]snapshot.Endpoint{}, c.Endpoints...)
		next[0].Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 127, byte(version >> 8), byte(version)}), 9)
		begun := time.Now()
		if err := plane.SetEndpoints(c.ID, next); err != nil {
			return err
		}
		endpoints = append(endpoints, time.Since(begun))
	}
	r.OneService, r.OneEndpoint = quantile(services, 0.5), quantile(endpoints, 0.5)
	return nil
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// files measures a process that follows a folder, a file a service.
func (r *Result) files(ctx context.Context) error {
	port, stop, err := origin(ctx)
	if err != nil {
		return err
	}
	defer stop()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "controlside-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	f := Fleet{Services: r.Services, Endpoints: 10, Bind: address, Port: port, Checks: r.Checks}
	names, err := f.Write(folder, 1)
	if err != nil {
		return err
	}
	begun := time.Now()
	p, err := start(r.Binary, folder, r.Log)
	if err != nil {
		return err
	}
	defer p.stop()
	c := newClient(address)
	if err := c.until(ctx, f.Host(f.Services-1), p.ended); err != nil {
		return err
	}
	r.Start = time.Since(begun)
	cpu := p.cpu()
	if err := wait(ctx, r.Quiet); err != nil { // the files are old enough now to be known by their times
		return err
	}
	r.IdleCPU = (p.cpu() - cpu).Seconds() / r.Quiet.Seconds()
	quiet, err := c.latencies(ctx, f, r.Rate, func() error { return wait(ctx, r.Quiet) })
	if err != nil {
		return err
	}
	var changes []time.Duration
	change := func(version int) error {
		at := version * 7919 % f.Services
		begun := time.Now()
		if err := replace(names[at], f.File(at, 1, version)); err != nil {
			return err
		}
		err := c.until(ctx, f.VersionHost(at, version), p.ended)
		changes = append(changes, time.Since(begun))
		return err
	}
	during, err := c.latencies(ctx, f, r.Rate, func() error {
		for version := range r.Changes {
			if err := change(version + 1); err != nil {
				return err
			}
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	last := r.Changes + 1
	all, err := c.latencies(ctx, f, r.Rate, func() error {
		for i, name := range names {
			if err := replace(name, f.File(i, 1, last)); err != nil {
				return err
			}
		}
		begun := time.Now()
		err := c.until(ctx, f.VersionHost(len(names)-1, last), p.ended)
		r.All = time.Since(begun)
		return err
	})
	if err != nil {
		return err
	}
	if err := wait(ctx, r.Quiet); err != nil { // for the collector of garbage
		return err
	}
	r.Resident, r.Peak = p.memory()
	r.Service, r.ServiceWorst = quantile(changes, 0.5), quantile(changes, 1)
	r.QuietP99, r.ServiceP99, r.AllP99 = quantile(quiet, 0.99), quantile(during, 0.99), quantile(all, 0.99)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
