package loop

import "iter"

// A task is a coroutine, which serves one client's Socket at a time.
//
// Switching to it and back takes 80 ns; two channel operations, which do the same with a goroutine, take 360 ns. The pool
// of them keeps their stacks, which are in the processor's caches still: the last one used is used next.
type task struct {
	loop   *Loop
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	client *Socket

	wants uint32  // why it has yielded: what it waits for on a Socket; 0: see below
	on    *Socket // nil where wants is 0: it has served its client, or leaves
	leave bool

	away   bool          // it has left: a goroutine of its own runs it, until it has served its client
	signal chan struct{} // for that goroutine
}

// coroutine returns a task with nothing to do.
func (l *Loop) coroutine() *task {
	if n := len(l.idle); n > 0 {
		t := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return t
	}
	t := &task{loop: l}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		for {
			t.client.serve()
			t.wants, t.on, t.leave = 0, nil, false
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return t
}

// resume runs a task until it yields. It reports whether this goroutine was deposed meanwhile.
func (l *Loop) resume(t *task) (deposed bool) {
	if t.away {
		t.signal <- struct{}{}
		return false
	}
	l.turns++
	turn := l.turns
	l.running.Store(turn)
	t.next()
	if !l.running.CompareAndSwap(turn, 0) {
		l.post(post{kind: postSettle, task: t})
		return true
	}
	l.settle(t)
	return false
}

// settle notes what a task waits for.
func (l *Loop) settle(t *task) {
	switch {
	case t.on != nil:
		s := t.on
		s.waiter, s.wants = t, t.wants
		_ = l.watch(s) // whoever serves it is told
		if s.ready.Load()&s.wants != 0 || s.overdue.Load() || s.lost.Load() {
			l.later = append(l.later, s)
		}
	case t.leave:
		t.away = true
		if t.signal == nil {
			t.signal = make(chan struct{}, 1)
		}
		l.aside.Go(t.run)
	default:
		s := t.client
		t.client, t.away, s.task = nil, false, nil
		_ = l.watch(s) // whoever serves it is told
		if !s.closed.Load() && (s.ready.Load()&readable != 0 || s.overdue.Load()) {
			l.list(s)
		}
		if len(l.idle) < spare {
			l.idle = append(l.idle, t)
		} else {
			t.stop()
		}
	}
}

// run runs a task that has left.
func (t *task) run() {
	for {
		t.next()
		switch {
		case t.on != nil:
			t.loop.post(post{kind: postSettle, task: t})
			<-t.signal
		case t.leave: // it has
		default:
			t.loop.post(post{kind: postSettle, task: t})
			return
		}
	}
}

// await yields until s is ready for what is wanted, or overdue.
func (t *task) await(s *Socket, wants uint32) {
	t.wants, t.on, t.leave = wants, s, false
	t.yield(struct{}{})
}
