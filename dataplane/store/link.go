package store

import (
	"context"
	"crypto/sha1" //nolint:gosec // names scripts in the protocol of Redis
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/redis/go-redis/v9"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

const (
	workers   = 4    // pipelines at the same time, each on a connection of its own
	batchSize = 256  // calls in one pipeline
	queueSize = 4096 // calls that wait; more are told that nobody knows

	// firstPause and lastPause are how long the store waits between two looks at a Redis that is away.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
	// logPause is how long the log is silent after it has said that Redis is away, however often that changes.
	logPause = 30 * time.Second

	probeKey = "pingora-proxy:probe"
)

// A link is the connections to one Redis.
type link struct {
	log     logr.Logger
	state   func(configured, up bool)
	address string
	timeout time.Duration
	client  *redis.Client // nil where the configuration is no good
	problem error
	digest  string // of the script

	calls  chan *call
	up     atomic.Bool
	lost   chan error    // to the watcher: no answer came
	looked chan struct{} // closed when it is known whether there is a Redis

	ctx    context.Context // the life of the link
	stop   context.CancelFunc
	active sync.WaitGroup
}

func newLink(config snapshot.Store, log logr.Logger, state func(configured, up bool)) *link {
	sum := sha1.Sum([]byte(script)) //nolint:gosec // see above
	l := &link{
		log: log, state: state, timeout: config.Timeout, digest: hex.EncodeToString(sum[:]),
		calls: make(chan *call, queueSize), lost: make(chan error, 1), looked: make(chan struct{}),
	}
	if l.timeout <= 0 {
		l.timeout = 50 * time.Millisecond
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	options, err := options(config, l.timeout)
	if err != nil {
		l.problem = err
		return l
	}
	l.address = options.Addr
	l.client = redis.NewClient(options)
	return l
}

// start looks for Redis, and waits for it a moment.
func (l *link) start() {
	l.state(true, false)
	if l.client == nil {
		l.log.Error(l.problem, "the store of shared limits cannot be used: each replica counts for itself")
		return
	}
	l.active.Go(l.watch)
	for range workers {
		l.active.Go(l.work)
	}
	wait := time.NewTimer(l.timeout)
	defer wait.Stop()
	select {
	case <-l.looked:
	case <-wait.C:
	}
}

func (l *link) close() {
	l.up.Store(false)
	l.stop()
	l.active.Wait()
	if l.client != nil {
		_ = l.client.Close() // nobody waits for anything on it
	}
}

// watch looks for Redis while it is away, and says when that changes.
func (l *link) watch() {
	v := voice{log: l.log.WithValues("address", l.address)}
	for first, again := true, false; ; first, again = false, true {
		if again {
			select {
			case why := <-l.lost:
				l.state(true, false)
				v.away(why)
			case <-l.ctx.Done():
				return
			}
		}
		for pause := time.Duration(0); ; pause = min(max(2*pause, firstPause), lastPause) {
			if !l.sleep(pause) {
				return
			}
			err := l.probe()
			if err == nil {
				break
			}
			v.away(err)
			if first {
				first = false
				close(l.looked)
			}
		}
		v.back()
		l.state(true, true)
		l.up.Store(true)
		if first {
			close(l.looked)
		}
	}
}

// A voice tells the log when Redis goes and comes, but not of each time where it does all the time.
type voice struct {
	log    logr.Logger
	last   time.Time // when the log was told that Redis is away
	spoken bool      // and not yet that it is back
}

func (v *voice) away(why error) {
	if v.last.IsZero() || time.Since(v.last) > logPause {
		v.log.Error(why, "the store of shared limits is away: each replica counts for itself")
		v.last, v.spoken = time.Now(), true
	}
}

func (v *voice) back() {
	if v.spoken {
		v.log.Info("the store of shared limits answers again")
		v.spoken = false
	}
}

func (l *link) sleep(d time.Duration) bool {
	if d == 0 {
		return l.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// probe asks Redis what it will be asked. It has more time than a request: that is how a connection is made, and the script
// gets there.
func (l *link) probe() error {
	ctx, cancel := context.WithTimeout(l.ctx, max(l.timeout, time.Second))
	defer cancel()
	c := &call{key: probeKey, burst: 1, interval: time.Millisecond}
	c.settle(l.client.Eval(ctx, script, []string{c.key}, c.arguments()...))
	return c.err
}

// fail closes the way to Redis until watch has found it again.
func (l *link) fail(err error) {
	if l.up.CompareAndSwap(true, false) {
		select {
		case l.lost <- err:
		default:
		}
	}
}

// work serves calls, as many at a time as there are.
func (l *link) work() {
	batch := make([]*call, 0, batchSize)
	for {
		select {
		case c := <-l.calls:
			batch = append(batch[:0], c)
		case <-l.ctx.Done():
			return
		}
	more:
		for len(batch) < batchSize {
			select {
			case c := <-l.calls:
				batch = append(batch, c)
			default:
				break more
			}
		}
		if l.up.Load() {
			l.ask(batch)
		} else {
			for _, c := range batch {
				c.err = errAway
			}
		}
		for i, c := range batch {
			close(c.done)
			batch[i] = nil
		}
	}
}

// ask sends a batch. The one that has waited longest says until when an answer is worth anything.
func (l *link) ask(batch []*call) {
	ctx, cancel := context.WithDeadline(l.ctx, batch[0].since.Add(l.timeout))
	defer cancel()
	err := l.send(ctx, batch)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // Redis was started anew, or somebody flushed its scripts
		if err = l.client.ScriptLoad(ctx, script).Err(); err == nil {
			err = l.send(ctx, batch)
		}
	}
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") { // that is the fault of one key
		l.fail(err)
	}
}

// send returns the first error, of the connection or of a call.
func (l *link) send(ctx context.Context, batch []*call) error {
	pipeline := l.client.Pipeline()
	answers := make([]*redis.Cmd, len(batch))
	for i, c := range batch {
		answers[i] = pipeline.EvalSha(ctx, l.digest, []string{c.key}, c.arguments()...)
	}
	_, err := pipeline.Exec(ctx)
	for i, c := range batch {
		c.settle(answers[i])
	}
	return err
}
