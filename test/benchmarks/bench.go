package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/load"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/material"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/origin"
)

// Options say what is measured.
type Options struct {
	// Contenders are the names of the proxies, in the order of the first round.
	Contenders []string
	Rows       []Row
	// Rounds is how often each contender has its turn; idle rows, which vary little, have three at most.
	Rounds int
	// Duration is the time of one measurement, whole seconds.
	Duration time.Duration
	// Binary is our program, built from the source when it is "".
	Binary string
	// Splice says when HAProxy moves bodies with splice(2): SpliceBest, SpliceAlways, SpliceAuto or SpliceOff.
	Splice string
	// Profile is a directory for a CPU profile of ours for each row, "" for none.
	Profile string
	// Network says in the report where it is measured.
	Network string
	// Progress receives a line for each measurement.
	Progress io.Writer
}

// The values of Options.Splice. Always is HAProxy's splice-response, and Auto its splice-auto, which decides by heuristics.
// Best takes what uses the least CPU time: Always cost about a quarter less than Auto and a third less than Off for 1 MiB
// bodies when this was written, and a little more than Auto for tiny ones.
const (
	SpliceBest   = "best"
	SpliceAlways = "always"
	SpliceAuto   = "auto"
	SpliceOff    = "off"
)

// Sample is one measurement of one contender.
type Sample struct {
	// CPU is the time, user and system, that all processes of the proxy used for a request, in microseconds.
	CPU float64
	// RPS is the number of requests per second.
	RPS float64
	// P50 and P99 are quantiles of the latency.
	P50, P99 time.Duration
	// Resident is the resident memory of all processes of the proxy, in bytes, at the end of the load.
	Resident int64
	// PerConn is the resident memory of an idle connection in bytes; only idle rows have it.
	PerConn float64
}

// Round holds a sample of each contender.
type Round map[string]Sample

// Result is what was measured for a row.
type Result struct {
	Row    Row
	Rounds []Round
	// Repeated says why rounds were thrown away and repeated.
	Repeated []string
	// Err says why the row could not be measured.
	Err error
}

// Bench is a prepared benchmark.
type Bench struct {
	opt        Options
	dir        string
	wrkProgram peers.Program
	ours       goProxy
	relay      goProxy
	goPeers    map[string]goProxy
	// cpus are those that this process may use. The last one is the proxies', the one before it that of the load and the
	// origin; see also loadCPUs.
	cpus    []int
	h2load  peers.Program
	secrets material.Secrets
	spans   *material.SpanSink
	// Versions of the contenders and of wrk, by name.
	versions map[string]string
}

// New finds and builds the programs that the options need. The caller closes the benchmark.
func New(ctx context.Context, opt Options) (*Bench, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	b := &Bench{opt: opt, dir: dir, goPeers: map[string]goProxy{}, versions: map[string]string{}}
	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close removes the files of the benchmark.
func (b *Bench) Close() error {
	b.spans.Close()
	return os.RemoveAll(b.dir)
}

func (b *Bench) prepare(ctx context.Context) error {
	for _, row := range []Row{{}, {Upload: true}} {
		if err := os.WriteFile(filepath.Join(b.dir, script(row)), load.Script(row.Upload), 0o600); err != nil {
			return err
		}
	}
	if err := b.chooseCPUs(); err != nil {
		return err
	}
	// Each end of the connections is in another process, and there are fewer connections to the origin.
	if err := peers.RaiseOpenFiles(mostConnections(b.opt.Rows) + 4096); err != nil {
		return err
	}
	var err error
	if b.wrkProgram, err = peers.Find(ctx, "wrk"); err != nil {
		return err
	}
	if slices.Contains(b.opt.Contenders, Ours) {
		if b.ours, err = oursProxy(ctx, b.opt.Binary, b.dir); err != nil {
			return err
		}
	}
	if slices.Contains(b.opt.Contenders, Relay) {
		if b.relay, err = relayProgram(ctx, b.dir); err != nil {
			return err
		}
	}
	if err := b.buildGoPeers(ctx); err != nil {
		return err
	}
	if slices.ContainsFunc(b.opt.Rows, func(r Row) bool { return r.Streams > 0 }) {
		if b.h2load, err = peers.Find(ctx, "h2load"); err != nil {
			return err
		}
		if b.versions["h2load"], err = b.h2load.FirstLine(ctx, "--version"); err != nil {
			return err
		}
	}
	if b.secrets, err = material.NewSecrets(b.dir); err != nil {
		return err
	}
	if b.spans, err = material.NewSpanSink(); err != nil {
		return err
	}
	for _, name := range b.opt.Contenders {
		if b.versions[name], err = b.version(ctx, name); err != nil {
			return err
		}
	}
	b.versions["wrk"], err = b.wrkProgram.FirstLine(ctx, "-v")
	return err
}

// chooseCPUs finds the CPUs that this process may use.
func (b *Bench) chooseCPUs() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			b.cpus = append(b.cpus, cpu)
		}
	}
	if len(b.cpus) < 2 {
		return errors.New("a benchmark needs two CPUs: one for the proxy, one for the load and the origin")
	}
	return nil
}

func (b *Bench) proxyCPU() int { return b.cpus[len(b.cpus)-1] }

func (b *Bench) loadCPU() int { return b.cpus[len(b.cpus)-2] }

// loadCPUs are those of the load and the origin in a row. Where two cores are compared with one, they have what two cores
// leave, and where that is too little they share the two.
func (b *Bench) loadCPUs(row Row) []int {
	switch {
	case !row.Cores:
		return []int{b.loadCPU()}
	case b.direct():
		return b.cpus[:len(b.cpus)-2]
	default:
		return b.cpus
	}
}

// direct reports whether two cores can be kept busy by the others.
func (b *Bench) direct() bool { return len(b.cpus) >= 4 }

// script is the name of wrk's script for a row.
func script(row Row) string {
	if row.Upload {
		return "upload.lua"
	}
	return "wrk.lua"
}

func mostConnections(rows []Row) uint64 {
	var n int
	for _, r := range rows {
		n = max(n, r.Idle, r.Clients)
	}
	return uint64(n)
}

// Run measures all rows. It returns what could be measured, and an error when a row could not.
func (b *Bench) Run(ctx context.Context) (results []Result, err error) {
	o, err := origin.Start(ctx, b.loadCPU())
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	defer func() { err = errors.Join(err, o.Stop()) }()
	for _, row := range b.opt.Rows {
		row.Direct = row.Cores && b.direct()
		res, failed := b.row(ctx, row, o.Addr)
		if failed != nil {
			return results, errors.Join(err, failed)
		}
		results = append(results, res)
		if res.Err != nil {
			err = errors.Join(err, fmt.Errorf("row %s: %w", row.Name, res.Err))
		}
		if ctx.Err() != nil {
			return results, errors.Join(err, ctx.Err())
		}
	}
	return results, err
}

// row measures one row, with the origin at addr or with one of its own.
func (b *Bench) row(ctx context.Context, row Row, addr string) (res Result, err error) {
	switch {
	case row.GRPC:
		calls, at, failed := origin.StartGRPC(ctx, b.dir, b.loadCPU())
		if failed != nil {
			return res, fmt.Errorf("origin of gRPC: %w", failed)
		}
		defer func() { err = errors.Join(err, calls.Stop()) }()
		addr = at
	case row.Cores:
		wide, failed := origin.StartOn(ctx, b.loadCPUs(row))
		if failed != nil {
			return res, fmt.Errorf("origin on several CPUs: %w", failed)
		}
		defer func() { err = errors.Join(err, wide.Stop()) }()
		addr = wide.Addr
	}
	if row.Idle > 0 {
		return b.idle(ctx, row, addr), nil
	}
	return b.loaded(ctx, row, addr), nil
}

// loaded measures a row of requests. The contenders stay up for all its rounds; those that are not in turn are idle.
func (b *Bench) loaded(ctx context.Context, row Row, originAddr string) (res Result) {
	res.Row = row
	running := map[string]*contender{}
	defer func() {
		for _, c := range running {
			res.Err = errors.Join(res.Err, c.stop())
		}
	}()
	for _, name := range b.contenders(row) {
		c, err := b.start(ctx, name, row, originAddr)
		if err != nil {
			res.Err = err
			return res
		}
		running[name] = c
		// Fills connection pools, caches and heaps; its result does not count, its failures do.
		if _, err := b.measure(ctx, row, c, time.Second); err != nil {
			res.Err = fmt.Errorf("warming up %s: %w", name, err)
			return res
		}
	}
	b.rounds(ctx, &res, b.opt.Rounds, func(name string) (Sample, error) {
		return b.measure(ctx, row, running[name], b.opt.Duration)
	})
	if c := running[Ours]; c != nil && b.opt.Profile != "" && res.Err == nil {
		res.Err = b.profile(ctx, row, c)
	}
	return res
}

// rounds fills res with rounds of measurements. A round in which a measurement fails does not count and is repeated, as
// long as there are fewer failed than wanted rounds.
func (b *Bench) rounds(ctx context.Context, res *Result, want int, measure func(name string) (Sample, error)) {
	for turn := 0; len(res.Rounds) < want; turn++ {
		round, err := b.round(res.Row, turn, measure)
		if err == nil {
			res.Rounds = append(res.Rounds, round)
			continue
		}
		if ctx.Err() != nil || len(res.Repeated)+1 >= want {
			res.Err = err
			return
		}
		b.progress("%-8s round repeated: %v", res.Row.Name, err)
		res.Repeated = append(res.Repeated, err.Error())
	}
}

// round measures each contender once, beginning with another one in each turn.
func (b *Bench) round(row Row, turn int, measure func(name string) (Sample, error)) (Round, error) {
	round := Round{}
	for _, name := range rotate(b.contenders(row), turn) {
		s, err := measure(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		round[name] = s
		if row.Idle > 0 {
			b.progress("%-8s %-13s %8.2f KiB a connection", row.Name, name, s.PerConn/1024)
		} else {
			b.progress("%-8s %-13s %8.2f µs CPU a request %9.0f requests/s  p50 %v  p99 %v  %.1f MiB",
				row.Name, name, s.CPU, s.RPS, s.P50, s.P99, float64(s.Resident)/(1<<20))
		}
	}
	return round, nil
}

// contenders are those that are measured in a row.
func (b *Bench) contenders(row Row) []string {
	if row.Contenders != nil {
		if !slices.Contains(b.opt.Contenders, Ours) {
			return nil
		}
		return row.Contenders
	}
	return slices.DeleteFunc(slices.Clone(b.opt.Contenders), func(name string) bool { return !takesPart(name, row) })
}

// measure puts load on a contender once.
func (b *Bench) measure(ctx context.Context, row Row, c *contender, d time.Duration) (Sample, error) {
	if c.log != nil {
		if err := c.log.Reset(); err != nil {
			return Sample{}, err
		}
	}
	before, err := c.CPUTime()
	if err != nil {
		return Sample{}, err
	}
	put := b.wrk
	if row.Streams > 0 {
		put = b.multiplexed
	}
	l, err := put(ctx, row, d, c.addr)
	if err != nil {
		return Sample{}, err
	}
	if err := l.Check(origin.Size(row.Path)); err != nil {
		return Sample{}, fmt.Errorf("%s: %w", c.name, err)
	}
	if c.log != nil {
		// What is written behind the requests' back counts too.
		if err := c.log.Await(ctx, l.Requests, material.LogFlush); err != nil {
			return Sample{}, err
		}
	}
	after, err := c.CPUTime()
	if err != nil {
		return Sample{}, err
	}
	resident, err := c.Resident()
	if err != nil {
		return Sample{}, err
	}
	return Sample{
		CPU:      float64((after - before).Nanoseconds()) / 1e3 / float64(l.Requests),
		RPS:      l.RPS(),
		P50:      time.Duration(l.P50US) * time.Microsecond,
		P99:      time.Duration(l.P99US) * time.Microsecond,
		Resident: resident,
	}, nil
}

func (b *Bench) progress(format string, args ...any) {
	// Progress is a courtesy: where nobody can read it, the measurement goes on.
	_, _ = fmt.Fprintf(b.opt.Progress, format+"\n", args...)
}
