package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

const (
	maxSet        = 1 << 20          // bytes of a set
	maxRedirects  = 3                // on the way to it
	fetchTimeout  = 10 * time.Second // of one fetch
	usualAge      = 5 * time.Minute  // of a set that does not say how long it is good
	minAge        = time.Minute
	maxAge        = 24 * time.Hour
	stale         = 24 * time.Hour // how long a set beyond its age serves while no other can be had
	maxBackOff    = 30 * time.Second
	patience      = 2 * time.Second  // how long a request waits for keys
	spacing       = time.Second      // between the beginnings of two fetches
	earlyBurst    = 10               // fetches for the sake of unknown keys, at once
	earlyInterval = 15 * time.Second // and one more each time
	maxWaiting    = 1024             // requests that wait for keys
)

// A source is where a provider's keys come from: one goroutine fetches them before they are old, and early when a token
// names a key that is not there.
type source struct {
	set atomic.Pointer[keySet] // nil: there has been none yet

	name       string
	url        string
	algorithms []string
	client     *http.Client
	metrics    filter.Metrics
	log        logr.Logger
	wake       chan struct{} // holds one word: fetch early

	mu       sync.Mutex
	begun    uint64        // fetches
	ended    uint64        // fetches; begun or one less
	ok       bool          // the last one brought keys
	changed  chan struct{} // closed when a fetch has ended
	asked    bool          // the next fetch is to come early
	early    int           // how many more of these there may be
	earlyAt  time.Time     // since when
	waiting  int
	failures int
}

func newSource(p Provider, env filter.Env) *source {
	s := &source{
		name: p.Name, url: p.URL, algorithms: p.Algorithms, metrics: env.Metrics, log: env.Log,
		wake: make(chan struct{}, 1), changed: make(chan struct{}), early: earlyBurst, earlyAt: time.Now(),
	}
	if env.Fetch != nil {
		client := *env.Fetch
		inner := client.CheckRedirect
		client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
			switch {
			case len(via) > maxRedirects:
				return fmt.Errorf("more than %d redirections", maxRedirects)
			case !fetchable(req.URL):
				return errors.New("a redirection to what is no http or https URL")
			case req.URL.Scheme == "http" && via[0].URL.Scheme == "https":
				return errors.New("a redirection from https to http")
			}
			if first := via[0].URL.Hostname(); first == req.URL.Hostname()+"." { // the same host, as it calls itself
				absolute(req, first)
			}
			if inner != nil {
				return inner(req, via)
			}
			return nil
		}
		s.client = &client
	}
	return s
}

// current returns the keys that may be believed now, or nil.
func (s *source) current() *keySet {
	set := s.set.Load()
	if set == nil || len(set.keys) == 0 || !set.until.IsZero() && !time.Now().Before(set.until) {
		return nil
	}
	return set
}

// run fetches keys until ctx ends.
func (s *source) run(ctx context.Context) {
	for {
		began := s.begin()
		keys, age, err := s.fetch(ctx)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		next := s.end(keys, age, err)
		if ctx.Err() != nil {
			return
		}
		if s.metrics != nil {
			s.metrics.JWKSRefresh(s.name, err == nil)
		}
		if err != nil {
			s.log.Info("the keys of a provider could not be fetched; those that are there serve on", "provider", s.name,
				"error", err.Error(), "next", next.String())
		}
		if !s.rest(ctx, next, began) {
			return
		}
	}
}

// rest waits for the time of the next fetch, which is earlier where a request asks for it.
func (s *source) rest(ctx context.Context, next time.Duration, began time.Time) bool {
	timer := time.NewTimer(next)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	case <-s.wake:
		timer.Reset(max(0, time.Until(began.Add(spacing))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (s *source) begin() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	s.asked = false
	select {
	case <-s.wake: // whoever asked gets this one
	default:
	}
	return time.Now()
}

// end takes what a fetch has brought, and says in what time the next one is due.
func (s *source) end(keys []*key, age time.Duration, err error) (next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.ok = s.begun, err == nil
	close(s.changed)
	s.changed = make(chan struct{})
	if err != nil {
		s.failures = min(s.failures+1, 16)
		wait := min(time.Second<<(s.failures-1), maxBackOff)
		return wait/2 + rand.N(wait/2) // not all replicas at once
	}
	s.failures = 0
	s.replace(keys, time.Now().Add(age+stale))
	return age*8/10 + rand.N(age/10)
}

// replace makes keys the set. Those that stood in the last one stay the same, so that what they have signed stays known;
// the others are gone.
func (s *source) replace(keys []*key, until time.Time) {
	if last := s.set.Load(); last != nil {
		for _, old := range last.keys {
			kept := false
			for i, k := range keys {
				if k.print == old.print {
					keys[i], kept = old, true
				}
			}
			if !kept {
				old.gone.Store(true)
			}
		}
	}
	s.set.Store(&keySet{keys: keys, until: until})
}

// await waits for the first keys. It returns at once where a fetch has already failed.
func (s *source) await() {
	if s.client == nil {
		return
	}
	s.wait(func() bool { return s.ended > 0 })
}

// renew asks for newer keys and waits until found or until a fetch has ended that began after the call. It returns false
// where nobody knows whether there are any.
func (s *source) renew(found func(*keySet) bool) bool {
	if s.client == nil { // the keys are what they are
		return true
	}
	s.mu.Lock()
	if !s.asked {
		if !s.mayAsk() {
			s.mu.Unlock()
			return true // a flood of tokens with made-up keys is refused as what it is
		}
		s.asked = true
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	wanted := s.begun + 1
	s.mu.Unlock()
	known := false
	inTime := s.wait(func() bool {
		known = found(s.set.Load()) || s.ended >= wanted && s.ok
		return known || s.ended >= wanted
	})
	return inTime && known
}

// mayAsk counts fetches for the sake of unknown keys, which anybody can ask for.
func (s *source) mayAsk() bool {
	if n := int(time.Since(s.earlyAt) / earlyInterval); n > 0 {
		s.early = min(earlyBurst, s.early+n)
		s.earlyAt = s.earlyAt.Add(time.Duration(n) * earlyInterval)
	}
	if s.early == 0 {
		return false
	}
	s.early--
	return true
}

// wait waits until done, which is called under the lock, is true, and reports whether it was in time.
func (s *source) wait(done func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done() {
		return true
	}
	if s.waiting >= maxWaiting {
		return false
	}
	s.waiting++
	defer func() { s.waiting-- }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !done() {
		changed := s.changed
		s.mu.Unlock()
		late := false
		select {
		case <-changed:
		case <-timer.C:
			late = true
		}
		s.mu.Lock()
		if late {
			return done()
		}
	}
	return true
}

// fetch asks for the keys, and says how long they are good. Errors do not name the URL, whose query may be secret.
func (s *source) fetch(parent context.Context) (keys []*key, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(parent, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return nil, 0, errors.New("the URL cannot be asked for")
	}
	absolute(req, req.URL.Hostname())
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "pingora-proxy")
	resp, err := s.client.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the answer is %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSet+1))
	if err != nil {
		return nil, 0, err
	}
	if len(body) > maxSet {
		return nil, 0, fmt.Errorf("the answer has more than %d bytes", maxSet)
	}
	keys, skipped, err := parseKeys(body, s.algorithms)
	if err != nil {
		return nil, 0, err
	}
	if len(keys) == 0 {
		return nil, 0, errors.New("there is no key in the set")
	}
	if len(skipped) > 0 {
		s.log.V(1).Info("keys of a provider are not used", "provider", s.name, "keys", skipped)
	}
	return keys, ageOf(resp.Header), nil
}

// absolute asks DNS for a host with the dot at its end that keeps search lists away, and the host itself without it.
func absolute(req *http.Request, host string) {
	name, dotted := strings.CutSuffix(host, ".")
	if !dotted {
		return
	}
	port := req.URL.Port()
	req.URL.Host, req.Host = host, name
	if port != "" {
		req.URL.Host, req.Host = net.JoinHostPort(host, port), net.JoinHostPort(name, port)
	}
}

// ageOf says how long an answer is good (RFC 9111 §5.2.2), within bounds.
func ageOf(h http.Header) time.Duration {
	age := usualAge
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return minAge
			case "max-age":
				if secs, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
					age = time.Duration(secs) * time.Second
				}
			}
		}
	}
	return min(max(age, minAge), maxAge)
}
