package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

const (
	// minTTL and maxTTL clamp what servers say: a TTL of 0 must not become a loop of queries, one of a week must not
	// hide a move.
	minTTL = time.Second
	maxTTL = 300 * time.Second
	// hostsTTL is the TTL of an answer from the hosts file: asking again costs one stat(2).
	hostsTTL = 5 * time.Second
	// maxAddrs bounds one answer. The smallest ones are kept, so that a server which rotates its records does not
	// make the set flap.
	maxAddrs = 256
	// maxSockets bounds the queries under way at once, however many names are watched.
	maxSockets = 128
)

// Errors that callers tell apart with errors.Is. What [Resolver.Lookup] returns besides is an error of the network or
// of the caller's context.
var (
	// ErrName: the name is not a valid host name (RFC 1123 §2.1; underscores are accepted); nothing was asked.
	ErrName = errors.New("invalid DNS name")
	// ErrNotFound: the servers say that the name does not exist (NXDOMAIN).
	ErrNotFound = errors.New("no such name (NXDOMAIN)")
	// ErrNoAddress: the name exists and has neither A nor AAAA records.
	ErrNoAddress = errors.New("the name has no address records")
	// ErrServerFailure: the last server could not or would not answer (SERVFAIL, REFUSED, a malformed answer).
	ErrServerFailure = errors.New("name server failure")
	// ErrTimeout: the last server did not answer in time.
	ErrTimeout = errors.New("no answer from the name server")
	// ErrClosed: the Resolver was closed.
	ErrClosed = errors.New("resolver closed")
)

// Options of a Resolver. The zero value is what a program wants.
type Options struct {
	// Servers replaces the nameserver lines of resolv.conf.
	Servers []netip.AddrPort
	// ResolvConf and Hosts are paths; empty means /etc/resolv.conf and /etc/hosts. A missing file means its defaults.
	ResolvConf, Hosts string
	// Timeout of one query to one server and Attempts over the whole list of servers replace those of resolv.conf
	// (5 s and 2 if it says nothing) unless they are 0.
	Timeout  time.Duration
	Attempts int
	Log      logr.Logger
}

// Answer is what a name stands for at the moment.
type Answer struct {
	// Addrs are sorted (IPv4 first), without duplicates, at least 1 and at most 256. IPv4-mapped IPv6 addresses are
	// turned into IPv4.
	Addrs []netip.Addr
	// TTL is the shortest of all records that led to Addrs, clamped to 1–300 s.
	TTL time.Duration
}

// Resolver asks name servers. Make it with [New]; its methods may be called from any goroutine.
type Resolver struct {
	opts    Options
	conf    *file[resolvConf]
	hosts   *file[hostTable]
	rotated atomic.Uint32
	sockets chan struct{}
	// find is r.resolve; tests of the watches put their own answers here.
	find func(ctx context.Context, name string) (result, error)

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	watches map[string]*watch // nil once closed
}

// New makes a Resolver. It reads nothing and starts nothing before the first name is asked for.
func New(opts Options) *Resolver {
	if opts.ResolvConf == "" {
		opts.ResolvConf = "/etc/resolv.conf"
	}
	if opts.Hosts == "" {
		opts.Hosts = "/etc/hosts"
	}
	opts.Servers = slices.Clone(opts.Servers)
	r := &Resolver{
		opts:    opts,
		conf:    &file[resolvConf]{path: opts.ResolvConf, parse: parseResolvConf, log: opts.Log},
		hosts:   &file[hostTable]{path: opts.Hosts, parse: parseHosts, log: opts.Log},
		sockets: make(chan struct{}, maxSockets),
		watches: make(map[string]*watch),
	}
	r.find = r.resolve
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends all watches and lookups and waits for the goroutines of the watches; it must not be called from an
// onChange. Closing twice does no harm.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.watches = nil
	r.cancel()
	r.mu.Unlock()
	r.running.Wait()
}

// Lookup resolves a name now: an IP literal stands for itself, then the hosts file is asked, then the name servers for
// both families in parallel, with the search list where the name has no trailing dot. If one family is answered and
// the servers fail for the other, the answer holds what is known.
func (r *Resolver) Lookup(ctx context.Context, name string) (Answer, error) {
	if r.ctx.Err() != nil {
		return Answer{}, ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	res, err := r.find(ctx, name)
	switch {
	case err == nil:
		return Answer{Addrs: merge(res.addrs), TTL: res.ttl}, nil
	case r.ctx.Err() != nil:
		return Answer{}, ErrClosed
	default:
		return Answer{}, err
	}
}

// A family indexes what is kept apart for A and AAAA records.
const (
	familyA = iota
	familyAAAA
	families
)

// result is the outcome of a lookup that found an address. The families are kept apart so that a watch can hold on to
// the one whose servers failed.
type result struct {
	addrs  [families][]netip.Addr
	failed [families]error
	ttl    time.Duration
}

// local makes the result of an answer that no server was asked for.
func local(ttl time.Duration, addrs ...netip.Addr) result {
	res := result{ttl: ttl}
	for _, addr := range addrs {
		family := familyA
		if addr.Is6() {
			family = familyAAAA
		}
		res.addrs[family] = append(res.addrs[family], addr)
	}
	return res
}

// merge sorts, deduplicates and bounds the addresses of both families; the slice is fresh.
func merge(addrs [families][]netip.Addr) []netip.Addr {
	all := slices.Concat(addrs[familyA], addrs[familyAAAA])
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	return slices.Clip(all[:min(len(all), maxAddrs)])
}

// resolve asks the sources in their order.
func (r *Resolver) resolve(ctx context.Context, name string) (result, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return local(maxTTL, addr.Unmap()), nil
	}
	name, err := canonicalName(name)
	if err != nil {
		return result{}, err
	}
	bare := strings.TrimSuffix(name, ".")
	if addrs := r.hosts.get()[bare]; len(addrs) > 0 {
		return local(hostsTTL, addrs...), nil
	}
	// RFC 6761 §6.3: these names never leave the machine.
	if bare == "localhost" || strings.HasSuffix(bare, ".localhost") {
		return local(maxTTL, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()), nil
	}
	return r.search(ctx, r.config(), name)
}

// config is the resolv.conf in force, with what Options replace of it.
func (r *Resolver) config() resolvConf {
	conf := r.conf.get()
	if len(r.opts.Servers) > 0 {
		conf.servers = r.opts.Servers
	}
	if r.opts.Timeout > 0 {
		conf.timeout = r.opts.Timeout
	}
	if r.opts.Attempts > 0 {
		conf.attempts = r.opts.Attempts
	}
	return conf
}

// search tries the candidates of the search list. It goes on after a negative answer and after a failure that a
// server reported, and stops when no server can be reached, as glibc's res_nsearch does. A failure on the way
// outweighs a negative answer: the name may exist.
func (r *Resolver) search(ctx context.Context, conf resolvConf, name string) (result, error) {
	var failure, negative error
	for _, fqdn := range conf.candidates(name) {
		res, err := r.askBoth(ctx, conf, fqdn)
		switch {
		case err == nil:
			return res, nil
		case errors.Is(err, ErrServerFailure):
			failure = err
		case !isNegative(err):
			return result{}, fmt.Errorf("resolve %q: %w", name, err)
		case negative == nil || errors.Is(err, ErrNoAddress):
			negative = err
		}
	}
	if failure != nil {
		return result{}, fmt.Errorf("resolve %q: %w", name, failure)
	}
	return result{}, fmt.Errorf("resolve %q: %w", name, negative)
}

func isNegative(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoAddress)
}

// canonicalName checks a host name and returns it in lower case; a trailing dot stays, for it means something.
func canonicalName(name string) (string, error) {
	refuse := func(why string) (string, error) {
		shown := name
		if len(shown) > 260 {
			shown = shown[:260] + "…"
		}
		return "", fmt.Errorf("%w %q: %s", ErrName, shown, why)
	}
	bare := strings.TrimSuffix(name, ".")
	if len(bare) == 0 {
		return refuse("it is empty")
	}
	if len(bare) > 253 {
		return refuse("it must be no more than 253 bytes")
	}
	label := ""
	for label = range strings.SplitSeq(bare, ".") {
		switch {
		case label == "":
			return refuse("a label is empty")
		case len(label) > 63:
			return refuse("a label must be no more than 63 bytes")
		case label[0] == '-' || label[len(label)-1] == '-':
			return refuse("a label must not start or end with '-'")
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			case c >= 0x80:
				return refuse("only ASCII is allowed; write an international name in its xn-- form")
			default:
				return refuse(fmt.Sprintf("%q is not allowed", c))
			}
		}
	}
	// 10.0.0.256 is a mistyped address, not a name; no top-level domain is numeric (RFC 1123 §2.1).
	if strings.Trim(label, "0123456789") == "" {
		return refuse("it is neither an IP address nor a name, whose last label cannot be a number")
	}
	return strings.ToLower(name), nil
}
