package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/term"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/memory"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/pidfile"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/succession"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/systemd"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/handover"
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
	if o.pidFile == "" && o.daemon {
		o.pidFile = pidfile.Default()
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGQUIT)
	defer signal.Stop(signals)
	ignoreWriteSignals()
	before, err := o.upgrade.Await(version, o.pidFile, signals, func(pid int) error {
		if o.pidFile == "" {
			return nil
		}
		return pidfile.Free(o.pidFile, pid)
	}, log)
	if err != nil {
		return fail(err)
	}
	defer before.Close()
	remove := func() {}
	if o.pidFile != "" && before == nil {
		if remove, err = pidfile.Write(o.pidFile, 0); err != nil {
			return fail(err)
		}
	}
	defer func() { remove() }()
	p := &process{log: log, options: o, before: before, notify: systemd.NewNotifier(os.Getenv, log), metrics: metrics}
	if err := p.start(source, loaded, level); err != nil {
		before.Refuse(err)
		return fail(err)
	}
	if err := before.TakeOver(p.sockets); err != nil {
		p.stop(signals) // what it has accepted already
		return fail(fmt.Errorf("the process before this one serves on: %w", err))
	}
	if o.pidFile != "" && before != nil {
		if own, err := pidfile.Write(o.pidFile, before.PID()); err != nil {
			log.Error(err, "the PID file cannot be written")
		} else {
			remove = own
		}
	}
	before.Close()
	reportDaemon(nil)
	p.serving()
	after := p.follow(signals)
	if after == nil {
		p.notify.Stopping()
	} else if samePath(after.PIDFile, o.pidFile) {
		remove = func() {} // it is that one's now
	}
	p.stop(signals)
	return nil
}

// ignoreWriteSignals makes writes fail that would else end the process: to a file that is as long as it may be (LimitFSIZE), and
// to a closed pipe.
func ignoreWriteSignals() { signal.Ignore(syscall.SIGXFSZ, syscall.SIGPIPE) }

// A process is everything that runs beside the command itself.
type process struct {
	log     logr.Logger
	options *options
	plane   *dataplane.DataPlane
	metrics *telemetry.Metrics
	control *control
	source  *standalone.Source
	cancel  context.CancelFunc
	running sync.WaitGroup

	notify    *systemd.Notifier
	reloading atomic.Bool             // the service manager was told so
	before    *succession.Predecessor // whose place it takes; nil: nobody's
	sockets   *listener.Sockets       // that it was passed
	applying  sync.Mutex              // held while the sockets are handed over, too
}

// start brings the first configuration to serving.
func (p *process) start(source standalone.Options, first *standalone.Loaded, level *telemetry.Level) error {
	limitThreads(&first.Globals)
	p.sockets = passedSockets(p.before, p.log)
	d := dataplane.Options{Log: p.log, Version: version, Metrics: p.metrics, Sockets: p.sockets}
	p.before.Patience(&d)
	p.plane = dataplane.New(d)
	p.control = newControl(p, level, source.Path)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Go(func() { memory.NewKeeper(p.log.WithName("memory")).Run(ctx) })
	p.source = standalone.NewSource(source, p.log.WithName("config"), p.reloaded)
	started := make(chan error, 1)
	p.running.Go(func() {
		begun := false
		// Run ends with an error only where the first configuration has one, which started reports.
		_ = p.source.Run(ctx, first, func(next *standalone.Loaded) error {
			if begun {
				p.reload()
			}
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
		p.sockets.Close()
		return err
	}
	p.control.reloaded(nil)
	for _, address := range p.sockets.Unused() {
		telemetry.Warn(p.log, "a socket was passed that nothing in the configuration listens on: connections to it wait", "address", address)
	}
	p.log.Info("serving", "version", version, "services", len(first.Services), "config_hash", first.Snapshot.Hash)
	return nil
}

// serving tells the service manager.
func (p *process) serving() {
	s, _ := p.plane.Snapshot()
	p.notify.Ready(fmt.Sprintf("serving configuration %s", s.Hash))
	ctx, stop := context.WithCancel(context.Background())
	cancel := p.cancel
	p.cancel = func() {
		cancel()
		stop()
	}
	p.running.Go(func() { p.notify.Watch(ctx) })
}

// reload tells the service manager that a configuration is being read, once until reloaded.
func (p *process) reload() {
	if !p.reloading.Swap(true) {
		p.notify.Reloading()
	}
}

// reloaded notes how a reload went.
func (p *process) reloaded(err error) {
	p.control.reloaded(err)
	p.reloading.Store(false)
	s, _ := p.plane.Snapshot()
	status := "serving configuration " + s.Hash
	if err != nil {
		status += "; the last reload was refused: " + err.Error()
	}
	p.notify.Ready(status)
}

// limitThreads sets how many threads run the process, if anybody has said it.
func limitThreads(g *settings.Globals) {
	if n := g.Limits.WorkerThreads; n != nil && *n > 0 {
		runtime.GOMAXPROCS(int(*n)) // else the runtime goes by the cores and the CPU quota, and follows the quota
	}
}

// apply makes a configuration the one that serves, or leaves everything as it is.
func (p *process) apply(ctx context.Context, next *standalone.Loaded) error {
	p.applying.Lock()
	defer p.applying.Unlock()
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

// follow handles signals until one of them says to stop, or another process has taken this one's place, which it returns.
func (p *process) follow(signals <-chan os.Signal) *handover.Hello {
	var leaving *departure // nil: nobody has asked to hand over
	for {
		var left <-chan error
		if leaving != nil {
			left = leaving.done
		}
		select {
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				p.reopen()
				p.reload()
				p.source.Reload()
			case syscall.SIGUSR1:
				p.reopen()
			case syscall.SIGQUIT, syscall.SIGUSR2:
				if leaving != nil {
					p.log.Info("the sockets are being handed over already", "signal", s.String())
				} else {
					leaving = p.depart(s)
				}
			default:
				if leaving != nil {
					leaving.cancel()
					if err := <-leaving.done; err == nil {
						return &leaving.to
					}
				}
				p.log.Info("stopping: requests that run are finished; a second signal stops at once", "signal", s.String())
				return nil
			}
		case err := <-left:
			if err == nil {
				return &leaving.to
			}
			p.log.Error(err, "the sockets were not handed over: this process serves on")
			leaving = nil
		}
	}
}

func (p *process) reopen() {
	if err := p.plane.ReopenLog(); err != nil {
		p.log.Error(err, "the access log cannot be opened anew; the old file is used on")
	}
}

// stop drains and ends everything. A second signal ends the draining.
func (p *process) stop(signals <-chan os.Signal) {
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
				switch s {
				case syscall.SIGINT, syscall.SIGTERM:
					p.log.Info("stopping at once", "signal", s.String())
					cancel()
				case syscall.SIGUSR1:
					p.reopen()
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
	p.sockets.Close()
	p.log.Info("stopped", "drained_ms", time.Since(began).Milliseconds())
}
