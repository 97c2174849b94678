package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/term"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/memory"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// environmentLevel returns the level that the environment asks for, and with an error the variable that is wrong.
func environmentLevel() (*telemetry.Level, string, error) {
	level := telemetry.NewLevel()
	for _, variable := range []string{"LOG_LEVEL", "RUST_LOG"} {
		value := os.Getenv(variable)
		if value == "" {
			continue
		}
		name, err := telemetry.ParseLevel(value)
		if err == nil {
			err = level.Set(name)
		}
		return level, variable, err
	}
	return level, "", nil
}

// newLogger makes the process log as the environment wants it.
func newLogger(stderr io.Writer, metrics *telemetry.Metrics) (logr.Logger, *telemetry.Level, error) {
	level, variable, err := environmentLevel()
	if err != nil {
		return logr.Logger{}, nil, fmt.Errorf("%s: %w", variable, err)
	}
	o := telemetry.LogOptions{Level: level, Writer: stderr, Stacks: os.Getenv("RUST_BACKTRACE") != "0", Lost: new(telemetry.Counter)}
	metrics.SetLogLost(o.Lost)
	if file, ok := stderr.(*os.File); ok {
		o.Console = isTerminal(file)
		if file == os.Stderr {
			o.Writer = nil // a copy of it, which a closed pipe does not end the process through, nor a full one hold up
		}
	}
	log, err := telemetry.NewLogger(o)
	return log, level, err
}

// serve runs the proxy until a signal ends it.
func serve(source standalone.Options, o *options, stderr io.Writer) (err error) {
	defer func() {
		if err != nil {
			reportDaemon(err)
		}
	}()
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
	if pidFile := o.pidFile; pidFile != "" || o.daemon {
		if pidFile == "" {
			pidFile = defaultPIDFile()
		}
		remove, err := writePID(pidFile)
		if err != nil {
			return fail(err)
		}
		defer remove()
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	ignoreWriteSignals()
	p, err := start(source, loaded, log, level, metrics)
	if err != nil {
		return fail(err)
	}
	reportDaemon(nil)
	p.follow(signals)
	return p.stop(signals)
}

// ignoreWriteSignals makes writes fail that would else end the process: to a file that is as long as it may be (LimitFSIZE), and
// to a closed pipe.
func ignoreWriteSignals() { signal.Ignore(syscall.SIGXFSZ, syscall.SIGPIPE) }

// A process is everything that runs beside the command itself.
type process struct {
	log     logr.Logger
	plane   *dataplane.DataPlane
	metrics *telemetry.Metrics
	control *control
	source  *standalone.Source
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// start brings the first configuration to serving.
func start(
	source standalone.Options, first *standalone.Loaded, log logr.Logger, level *telemetry.Level, metrics *telemetry.Metrics,
) (*process, error) {
	limitThreads(&first.Globals)
	p := &process{log: log, metrics: metrics, plane: dataplane.New(dataplane.Options{Log: log, Version: version, Metrics: metrics})}
	p.control = newControl(p, level, source.Path)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Go(func() { memory.NewKeeper(log.WithName("memory")).Run(ctx) })
	p.source = standalone.NewSource(source, log.WithName("config"), p.control.reloaded)
	started := make(chan error, 1)
	p.running.Go(func() {
		begun := false
		// Run ends with an error only where the first configuration has one, which started reports.
		_ = p.source.Run(ctx, first, func(next *standalone.Loaded) error {
			err := p.apply(ctx, next)
			if !begun {
				begun = true
				started <- err
			}
			return err
		})
	})
	if err := <-started; err != nil {
		cancel()
		p.running.Wait()
		p.control.close()
		p.plane.Close()
		return nil, err
	}
	p.control.reloaded(nil)
	log.Info("serving", "version", version, "services", len(first.Services), "config_hash", first.Snapshot.Hash)
	return p, nil
}

// limitThreads sets how many threads run the process, if anybody has said it.
func limitThreads(g *settings.Globals) {
	if n := g.Limits.WorkerThreads; n != nil && *n > 0 {
		runtime.GOMAXPROCS(int(*n)) // else the runtime goes by the cores and the CPU quota, and follows the quota
	}
}

// apply makes a configuration the one that serves, or leaves everything as it is.
func (p *process) apply(ctx context.Context, next *standalone.Loaded) error {
	commit, err := p.control.prepare(next)
	if err != nil {
		return err
	}
	if err := p.plane.Apply(ctx, next.Snapshot); err != nil {
		commit(false)
		return err
	}
	commit(true)
	return nil
}

// follow handles signals until one of them says to stop.
func (p *process) follow(signals <-chan os.Signal) {
	for s := range signals {
		switch s {
		case syscall.SIGHUP:
			p.reopen()
			p.source.Reload()
		case syscall.SIGUSR1:
			p.reopen()
		default:
			p.log.Info("stopping: requests that run are finished; a second signal stops at once", "signal", s.String())
			return
		}
	}
}

func (p *process) reopen() {
	if err := p.plane.ReopenLog(); err != nil {
		p.log.Error(err, "the access log cannot be opened anew; the old file is used on")
	}
}

// stop drains and ends everything. A second signal ends the draining.
func (p *process) stop(signals <-chan os.Signal) error {
	p.plane.Unready() // before a reload that runs has ended: who balances over us must know at once
	p.cancel()
	p.running.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if s == syscall.SIGINT || s == syscall.SIGTERM {
					p.log.Info("stopping at once", "signal", s.String())
					cancel()
				}
			}
		}
	}()
	began := time.Now()
	err := p.plane.Drain(ctx)
	if err != nil {
		p.log.Error(err, "not everything could be finished")
	}
	p.plane.Close()
	p.control.close()
	p.log.Info("stopped", "drained_ms", time.Since(began).Milliseconds())
	return nil
}
