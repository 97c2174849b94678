package listener

import (
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

// accept takes the connections that come to one door, until the time is over that Close gives it.
func (l *Listener) accept(d *door.Door) {
	var pause wire.Pause
	for !l.closing.Load() && l.canLookOut() {
		if !l.lookOut(d, &pause) {
			break
		}
	}
	for {
		over, err := d.Await(l.take)
		if over {
			break
		}
		l.accepted(err, &pause)
	}
	if l.isShared() {
		return // what is queued is accepted elsewhere
	}
	// On a busy machine the time may be over before this goroutine comes to accept what is queued.
	d.Rest(l.take)
}

// accepted notes how accepting went. Where it failed, most likely for there are no descriptors, accepting again at once would
// spin; those queued in the kernel wait.
func (l *Listener) accepted(err error, pause *wire.Pause) {
	if err == nil {
		*pause = 0
		l.trouble.Over(l.log)
		return
	}
	l.failed()
	l.trouble.Notice(l.log, err)
	pause.Wait()
}

// canLookOut says whether others may accept for the Listener. A socket that programs have that are not this one may be made
// one that blocks, which would hold up all that they serve.
func (l *Listener) canLookOut() bool { return l.lookout != nil && !l.bound.Kept }

// lookOut has the connections of a door accepted by others, until that fails, or until Close. It returns false where they
// cannot.
func (l *Listener) lookOut(d *door.Door, pause *wire.Pause) bool {
	failed := make(chan error, 1)
	well := false // accepting went well; who accepts has ended before it is read
	end, err := l.lookout(d, func() bool {
		more, err := d.Accept(l.take)
		if err == nil {
			well = true
			l.trouble.Over(l.log)
			return more
		}
		select {
		case failed <- err:
		default: // told already
		}
		return false
	})
	if err != nil {
		l.log.Error(err, "the event loop cannot accept connections; a goroutine does")
		return false
	}
	select {
	case err = <-failed:
	case <-l.leaving:
	}
	end()
	if well {
		*pause = 0
	}
	if err != nil {
		l.accepted(err, pause)
	}
	return true
}

// take gives a connection to its handler, or turns it away. It does not wait.
func (l *Listener) take(a *door.Arrival) {
	if !l.gate.enter() {
		l.refuse()
		if l.silent.Load() {
			a.Reset()
		} else {
			l.gate.turnAway(a)
		}
		return
	}
	l.conns.Add(1)
	ended := func() {
		l.gate.leave()
		l.conns.Done()
	}
	if l.adopt != nil && l.adopt(a, ended) {
		return
	}
	go func() {
		defer ended()
		nc, err := a.Conn()
		for pause := wire.Pause(0); err != nil && !l.closing.Load(); {
			l.accepted(err, &pause)
			nc, err = a.Conn()
		}
		if err != nil {
			a.Reset()
			return
		}
		l.handle(nc, a.Ends)
	}()
}
