package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/succession"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/systemd"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/handover"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// passedSockets are those of the predecessor, and those that systemd passes.
func passedSockets(b *succession.Predecessor, log logr.Logger) *listener.Sockets {
	var all []listener.Socket
	if b != nil {
		all = append(all, b.Sockets...)
	}
	activated, err := systemd.Passed()
	if err != nil {
		log.Error(err, "not all sockets that systemd passes can be used")
	}
	if all = append(all, activated...); len(all) == 0 {
		return nil
	}
	sockets, refused := listener.NewSockets(all)
	for _, err := range refused {
		telemetry.Warn(log, "a socket was passed that cannot be used", "error", err.Error())
	}
	return sockets
}

// A departure is the attempt to have another process take this one's place.
type departure struct {
	cancel context.CancelFunc
	done   chan error     // has one value in the end: nil when the other process serves
	to     handover.Hello // who it is; valid then
}

// depart begins to hand over: on SIGUSR2 to a process that it starts, on SIGQUIT to one that waits, or will.
func (p *process) depart(s os.Signal) *departure {
	ctx, cancel := context.WithCancel(context.Background())
	d := &departure{cancel: cancel, done: make(chan error, 1)}
	go func() {
		defer cancel()
		d.done <- p.handOver(ctx, s, &d.to)
	}()
	return d
}

func (p *process) handOver(ctx context.Context, s os.Signal, to *handover.Hello) (err error) {
	u := &p.options.upgrade
	next, err := u.Find(ctx, s, p.log)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			next.GiveUp(u.Timeout)
		}
	}()
	if p.notify.Supervised() && !next.Supervised && !next.Ours {
		err := errors.New("it is outside of this service, and systemd would not look after it: have this process start it, with SIGUSR2")
		next.Conn.Refuse(err)
		return err
	}
	p.applying.Lock() // no listener comes or goes meanwhile
	defer p.applying.Unlock()
	if err := p.give(ctx, next.Conn); err != nil {
		return err
	}
	defer next.Conn.Close()
	*to = next.Hello
	p.log.Info("another process serves now; what runs here is finished", "pid", next.PID, "version", next.Version)
	if next.Ours && next.PID > 0 {
		p.notify.MainPID(next.PID)
	} else {
		p.notify.Stopping()
		p.notify.Leave()
	}
	return nil
}

// give hands everything over that clients connect to, and lets go of it.
func (p *process) give(ctx context.Context, conn *handover.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, p.options.upgrade.Timeout)
	defer cancel()
	sockets, err := p.plane.Offer()
	if err == nil {
		var own []listener.Socket
		own, err = p.control.offer()
		sockets = append(sockets, own...)
	}
	defer func() {
		for _, s := range sockets {
			s.Close()
		}
	}()
	if err != nil {
		conn.Refuse(err)
		return err
	}
	left, err := conn.Give(ctx, sockets)
	if err != nil {
		return err
	}
	unwanted := make(map[string]bool)
	for _, s := range left {
		if s.Role == listener.Services {
			unwanted[s.Address] = true
		}
	}
	p.plane.Leave(func(address string) bool { return unwanted[address] })
	p.control.leave()
	return nil
}

// samePath says whether two paths, the first of them absolute, are one.
func samePath(absolute, path string) bool {
	own, err := filepath.Abs(path)
	return path != "" && err == nil && own == absolute
}
