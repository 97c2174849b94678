package resolver

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/dns/dnsmessage"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func TestLookup(t *testing.T) {
	s := newServer(t)
	s.set("both.test.", record("both.test.", "2001:db8::1", 60), record("both.test.", "10.0.0.2", 30),
		record("both.test.", "10.0.0.1", 40), record("both.test.", "10.0.0.1", 40))
	s.set("four.test.", record("four.test.", "10.0.0.1", 60))
	s.set("six.test.", record("six.test.", "2001:db8::1", 60))
	s.set("none.test.")
	s.set("mapped.test.", record("mapped.test.", "::ffff:169.254.169.254", 60))
	s.set("week.test.", record("week.test.", "10.0.0.1", 604800))
	s.set("zero.test.", record("zero.test.", "10.0.0.1", 0))
	s.set("negative.test.", record("negative.test.", "10.0.0.1", 1<<31))
	s.set("chain.test.", record("chain.test.", "a.test.", 50), record("b.test.", "10.0.0.1", 70),
		record("b.test.", "2001:db8::1", 70), record("A.test.", "B.test.", 20), record("stray.test.", "10.6.6.6", 5))
	s.set("loop.test.", record("loop.test.", "a.test.", 50), record("a.test.", "loop.test.", 50))
	s.set("dangling.test.", record("dangling.test.", "gone.test.", 50))
	s.set("under_score.test.", record("under_score.test.", "10.0.0.1", 60))

	tests := []struct {
		name string
		want []netip.Addr
		ttl  time.Duration
		err  error
	}{
		{name: "both.test", want: addrs("10.0.0.1", "10.0.0.2", "2001:db8::1"), ttl: 30 * time.Second},
		{name: "BOTH.test.", want: addrs("10.0.0.1", "10.0.0.2", "2001:db8::1"), ttl: 30 * time.Second},
		{name: "four.test", want: addrs("10.0.0.1"), ttl: time.Minute},
		{name: "six.test", want: addrs("2001:db8::1"), ttl: time.Minute},
		{name: "mapped.test", want: addrs("169.254.169.254"), ttl: time.Minute},
		{name: "week.test", want: addrs("10.0.0.1"), ttl: 300 * time.Second},
		{name: "zero.test", want: addrs("10.0.0.1"), ttl: time.Second},
		{name: "negative.test", want: addrs("10.0.0.1"), ttl: time.Second},
		{name: "chain.test", want: addrs("10.0.0.1", "2001:db8::1"), ttl: 20 * time.Second},
		{name: "under_score.test", want: addrs("10.0.0.1"), ttl: time.Minute},
		{name: "loop.test", err: ErrServerFailure},
		{name: "dangling.test", err: ErrNoAddress},
		{name: "none.test", err: ErrNoAddress},
		{name: "missing.test", err: ErrNotFound},
		{name: "10.1.2.3", want: addrs("10.1.2.3"), ttl: 300 * time.Second},
		{name: "::ffff:10.1.2.3", want: addrs("10.1.2.3"), ttl: 300 * time.Second},
		{name: "fe80::1%lo", want: addrs("fe80::1%lo"), ttl: 300 * time.Second},
		{name: "localhost", want: addrs("127.0.0.1", "::1"), ttl: 300 * time.Second},
		{name: "app.localhost.", want: addrs("127.0.0.1", "::1"), ttl: 300 * time.Second},
	}
	r := newResolver(t, Options{Attempts: 1}, s)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := r.Lookup(t.Context(), test.name)
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if err != nil && !strings.Contains(err.Error(), test.name) {
				t.Errorf("the error %q does not say which name", err)
			}
			if diff := cmp.Diff(Answer{Addrs: test.want, TTL: test.ttl}, got, compareAddrs); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, q := range s.queries() {
		if !q.edns {
			t.Errorf("query without EDNS0: %+v", q)
		}
		if strings.Contains(q.name, "localhost") {
			t.Errorf("%q left the machine", q.name)
		}
	}
}

func TestInvalidNames(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	valid := []string{
		"a", "a.", "A-b.C_d", "_sip.x", "1.x", "xn--bcher-kva.example", label63 + ".x",
		strings.Repeat(label63+".", 3) + strings.Repeat("a", 61),       // 253
		strings.Repeat(label63+".", 3) + strings.Repeat("a", 61) + ".", // and its dot
	}
	for _, name := range valid {
		if _, err := canonicalName(name); err != nil {
			t.Error(err)
		}
	}
	invalid := []string{
		"", ".", "..", "a..b", ".a", "-a.x", "a-.x", "a b", "a/b", "a:80", "[::1]", "a\x00", "bücher.example", "*.x",
		"10.0.0.256", "1.2.3", "80", label63 + "a.x", strings.Repeat(label63+".", 3) + strings.Repeat("a", 62),
		strings.Repeat("a.", 5000),
	}
	r := newResolver(t, Options{Servers: []netip.AddrPort{{}}})
	for _, name := range invalid {
		_, err := r.Lookup(t.Context(), name)
		if !errors.Is(err, ErrName) {
			t.Errorf("%q: error %v, want %v", name, err, ErrName)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func TestHostsFile(t *testing.T) {
	s := newServer(t)
	s.set("shop.test.", record("shop.test.", "10.9.9.9", 60))
	path := writeFile(t, strings.Join([]string{
		"# 10.0.0.9 shop.test",
		"10.0.0.1\tshop.test Shop2.Test. # 10.0.0.9",
		"2001:db8::1 shop.test",
		"nonsense shop.test",
		"10.0.0.7",
		"127.0.0.5 localhost",
	}, "\n"))
	r := newResolver(t, Options{Hosts: path}, s)
	expect := func(name string, want ...string) {
		t.Helper()
		got, err := r.Lookup(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(addrs(want...), got.Addrs, compareAddrs); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	expect("shop.test", "10.0.0.1", "2001:db8::1")
	expect("SHOP.TEST.", "10.0.0.1", "2001:db8::1")
	expect("shop2.test", "10.0.0.1")
	expect("localhost", "127.0.0.5")

	// A change is seen, also one that keeps the size.
	if err := os.WriteFile(path, []byte("10.0.0.2 shop.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("shop.test", "10.0.0.2")
	if err := os.WriteFile(path, []byte("10.0.0.3 shop.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("shop.test", "10.0.0.3")
	// While the file is away, what it said stays in force.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("shop.test", "10.0.0.3")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("shop.test", "10.9.9.9")
}

// A file that has not changed for a while is not parsed again, one with a new time stamp is.
func TestFileIsReadOnceUntilItChanges(t *testing.T) {
	path := writeFile(t, "x")
	old := time.Now().Add(-time.Hour)
	parsed := 0
	f := &file[string]{path: path, parse: func(data []byte) string { parsed++; return string(data) }}
	for i, mtime := range []time.Time{old, old, old.Add(time.Minute)} {
		if err := os.Chtimes(path, mtime, mtime); err != nil {
			t.Fatal(err)
		}
		if got := f.get(); got != "x" {
			t.Fatalf("read %q", got)
		}
		if want := []int{1, 1, 2}[i]; parsed != want {
			t.Errorf("step %d: parsed %d times, want %d", i, parsed, want)
		}
	}
	// Two changes within one tick of the file system's clock look alike; the second must not be missed.
	tick := time.Now()
	for _, content := range []string{"y", "z"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, tick, tick); err != nil {
			t.Fatal(err)
		}
		if got := f.get(); got != content {
			t.Fatalf("read %q, want %q", got, content)
		}
	}
	if err := os.Truncate(path, maxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	if got := f.get(); got != "z" {
		t.Errorf("a file over the limit was read: %d bytes", len(got))
	}
}

func TestMissingFiles(t *testing.T) {
	s := newServer(t)
	s.set("a.test.", record("a.test.", "10.0.0.1", 60))
	dir := t.TempDir()
	r := newResolver(t, Options{ResolvConf: dir + "/none", Hosts: dir + "/none"}, s)
	if _, err := r.Lookup(t.Context(), "a.test."); err != nil {
		t.Error(err)
	}
}

func TestParseResolvConf(t *testing.T) {
	ports := func(texts ...string) (list []netip.AddrPort) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddrPort(text))
		}
		return list
	}
	tests := map[string]struct {
		in   string
		want resolvConf
	}{
		"defaults": {
			in:   "search .\nnonsense\nnameserver\nnameserver x\noptions\n",
			want: resolvConf{servers: ports("127.0.0.1:53", "[::1]:53"), ndots: 1, timeout: 5 * time.Second, attempts: 2},
		},
		"all of it": {
			in: "# comment\n; nameserver 9.9.9.9\nnameserver 10.0.0.1\n nameserver fe80::1%eth0\n" +
				"nameserver 10.0.0.3 # first\nnameserver 10.0.0.4\n" +
				"search Ns.svc.cluster.local. bad..domain svc.cluster.local\noptions ndots:5 timeout:3 rotate\noptions attempts:4 edns0\n",
			want: resolvConf{
				servers: ports("10.0.0.1:53", "[fe80::1%eth0]:53", "10.0.0.3:53"),
				search:  []string{"ns.svc.cluster.local", "svc.cluster.local"}, ndots: 5, timeout: 3 * time.Second, attempts: 4, rotate: true,
			},
		},
		"bounds, the last of search and domain": {
			in: "nameserver 10.0.0.1\nsearch a.test b.test\ndomain c.test d.test\noptions ndots:99 timeout:0 attempts:99\noptions ndots:-1 timeout:x",
			want: resolvConf{
				servers: ports("10.0.0.1:53"), search: []string{"c.test"}, ndots: 15, timeout: time.Second, attempts: 5,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := parseResolvConf([]byte(test.in))
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(resolvConf{}), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSearchList(t *testing.T) {
	tests := []struct {
		conf, name string
		asked      []string
		want       string // address, or nothing
	}{
		{"search a.test b.test", "web", []string{"web.a.test.", "web.b.test."}, "10.0.0.2"},
		{"search a.test b.test", "web.", []string{"web."}, ""},
		{"search a.test b.test", "api.ext", []string{"api.ext."}, "10.0.0.3"},
		{"search a.test b.test\noptions ndots:2", "api.ext", []string{"api.ext.a.test.", "api.ext.b.test.", "api.ext."}, "10.0.0.3"},
		{"search a.test b.test", "no.where", []string{"no.where.", "no.where.a.test.", "no.where.b.test."}, ""},
		{"search empty.test b.test", "web", []string{"web.empty.test.", "web.b.test."}, "10.0.0.2"},
		// A server that fails for one domain does not hide the others, nor does it turn into "does not exist".
		{"search broken.test b.test", "web", []string{"web.broken.test.", "web.b.test."}, "10.0.0.2"},
		{"search broken.test", "lost", []string{"lost.broken.test.", "lost."}, "failure"},
		{"search .", "web", []string{"web."}, ""},
		// One domain knows the name: it exists.
		{"search empty.test b.test", "known", []string{"known.empty.test.", "known.b.test.", "known."}, "no address"},
	}
	for _, test := range tests {
		t.Run(test.conf+" "+test.name, func(t *testing.T) {
			s := newServer(t)
			s.set("web.b.test.", record("web.b.test.", "10.0.0.2", 60))
			s.set("api.ext.", record("api.ext.", "10.0.0.3", 60))
			s.set("web.empty.test.")
			s.set("known.empty.test.")
			s.intercept(servfailUnder(t, ".broken.test."))
			r := newResolver(t, Options{ResolvConf: writeFile(t, test.conf), Attempts: 1}, s)
			got, err := r.Lookup(t.Context(), test.name)
			switch test.want {
			case "":
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("%v, error %v, want %v", got, err, ErrNotFound)
				}
			case "no address":
				if !errors.Is(err, ErrNoAddress) {
					t.Errorf("%v, error %v, want %v", got, err, ErrNoAddress)
				}
			case "failure":
				if !errors.Is(err, ErrServerFailure) {
					t.Errorf("%v, error %v, want %v", got, err, ErrServerFailure)
				}
			default:
				if diff := cmp.Diff(addrs(test.want), got.Addrs, compareAddrs); err != nil || diff != "" {
					t.Error(err, diff)
				}
			}
			if diff := cmp.Diff(test.asked, s.names()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A name whose domain is not reachable must not be looked for in the next domain: the answer could be another's.
func TestSearchStopsWhenNoServerAnswers(t *testing.T) {
	s := newServer(t)
	s.set("web.b.test.", record("web.b.test.", "10.0.0.2", 60))
	s.intercept(dropUnder(".a.test."))
	r := newResolver(t, Options{ResolvConf: writeFile(t, "search a.test b.test"), Attempts: 1, Timeout: 50 * time.Millisecond}, s)
	if got, err := r.Lookup(t.Context(), "web"); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v, error %v, want %v", got, err, ErrTimeout)
	}
}

func TestSearchSkipsNamesThatGetTooLong(t *testing.T) {
	conf := resolvConf{search: []string{strings.Repeat("a.", 100) + "x"}, ndots: 1}
	name := strings.Repeat("b.", 40) + "y"
	if diff := cmp.Diff([]string{name + "."}, conf.candidates(name)); diff != "" {
		t.Error(diff)
	}
}

func TestOneAnswerIsBounded(t *testing.T) {
	s := newServer(t)
	var records []dnsmessage.Resource
	for i := range 300 {
		addr := netip.AddrFrom4([4]byte{10, 0, byte((299 - i) >> 8), byte(299 - i)})
		records = append(records, record("many.test.", addr.String(), 60))
	}
	s.set("many.test.", records...)
	s.intercept(truncateUDP(t))
	r := newResolver(t, Options{}, s)
	got, err := r.Lookup(t.Context(), "many.test")
	if err != nil {
		t.Fatal(err)
	}
	if first, last := got.Addrs[0].String(), got.Addrs[len(got.Addrs)-1].String(); len(got.Addrs) != 256 || first != "10.0.0.0" || last != "10.0.0.255" {
		t.Errorf("%d addresses, %s to %s, want the 256 smallest", len(got.Addrs), first, last)
	}
}

func TestLookupEnds(t *testing.T) {
	start := func(t *testing.T) (r *Resolver, asked chan struct{}) {
		s := newServer(t)
		asked = make(chan struct{}, 1)
		s.intercept(silent(asked))
		return newResolver(t, Options{Timeout: time.Hour}, s), asked
	}
	t.Run("with its context", func(t *testing.T) {
		r, asked := start(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, err := r.Lookup(ctx, "a.test"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("with Close", func(t *testing.T) {
		r, asked := start(t)
		go func() { <-asked; r.Close() }()
		if _, err := r.Lookup(t.Context(), "a.test"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := r.Lookup(t.Context(), "10.0.0.1"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
