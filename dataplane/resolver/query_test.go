package resolver

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

type interceptor = func(q question, query dnsmessage.Message, from net.Addr) ([][]byte, bool)

func servfailUnder(t *testing.T, suffix string) interceptor {
	return func(q question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
		if !strings.HasSuffix(q.name, suffix) {
			return nil, false
		}
		return [][]byte{replyTo(t, query, dnsmessage.RCodeServerFailure)}, true
	}
}

func dropUnder(suffix string) interceptor {
	return func(q question, _ dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
		return nil, strings.HasSuffix(q.name, suffix)
	}
}

// silent never answers, and says when it was asked.
func silent(asked chan<- struct{}) interceptor {
	return func(question, dnsmessage.Message, net.Addr) ([][]byte, bool) {
		select {
		case asked <- struct{}{}:
		default:
		}
		return nil, true
	}
}

// truncateUDP answers over UDP with the truncation bit and an address that must not be used.
func truncateUDP(t *testing.T) interceptor {
	return func(q question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
		if q.network != "udp" {
			return nil, false
		}
		msg := replyTo(t, query, dnsmessage.RCodeSuccess, record(q.name, "10.6.6.6", 60))
		msg[2] |= 0x02 // TC
		return [][]byte{msg}, true
	}
}

func expectLookup(t *testing.T, r *Resolver, name string, want ...string) {
	t.Helper()
	got, err := r.Lookup(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(addrs(want...), got.Addrs, compareAddrs); diff != "" {
		t.Error(diff)
	}
}

func TestTruncatedAnswerIsAskedForOverTCP(t *testing.T) {
	s := newServer(t)
	s.set("big.test.", record("big.test.", "10.0.0.1", 60), record("big.test.", "2001:db8::1", 60))
	s.intercept(truncateUDP(t))
	expectLookup(t, newResolver(t, Options{}, s), "big.test", "10.0.0.1", "2001:db8::1")
}

func TestBadAnswersOverTCP(t *testing.T) {
	tests := map[string]func(query dnsmessage.Message) [][]byte{
		"none":    func(dnsmessage.Message) [][]byte { return nil },
		"empty":   func(dnsmessage.Message) [][]byte { return [][]byte{{}} },
		"garbled": func(dnsmessage.Message) [][]byte { return [][]byte{[]byte("garbage")} },
		"truncated": func(query dnsmessage.Message) [][]byte {
			msg := replyTo(t, query, dnsmessage.RCodeSuccess, record("a.test.", "10.6.6.6", 60))
			msg[2] |= 0x02
			return [][]byte{msg}
		},
		"wrong id": func(query dnsmessage.Message) [][]byte {
			query.ID++
			return [][]byte{replyTo(t, query, dnsmessage.RCodeSuccess, record("a.test.", "10.6.6.6", 60))}
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			truncate := truncateUDP(t)
			s.intercept(func(q question, query dnsmessage.Message, from net.Addr) ([][]byte, bool) {
				if q.network == "udp" {
					return truncate(q, query, from)
				}
				return answer(query), true
			})
			r := newResolver(t, Options{Attempts: 1}, s)
			if got, err := r.Lookup(t.Context(), "a.test"); !errors.Is(err, ErrServerFailure) {
				t.Errorf("%v, error %v, want %v", got, err, ErrServerFailure)
			}
		})
	}
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	forged := record("a.test.", "10.6.6.6", 60)
	tests := map[string]func(t *testing.T, query dnsmessage.Message) []byte{
		"wrong id": func(t *testing.T, query dnsmessage.Message) []byte {
			query.ID++
			return replyTo(t, query, dnsmessage.RCodeSuccess, forged)
		},
		"wrong name": func(t *testing.T, query dnsmessage.Message) []byte {
			query.Questions = []dnsmessage.Question{query.Questions[0]}
			query.Questions[0].Name = dnsmessage.MustNewName("b.test.")
			return replyTo(t, query, dnsmessage.RCodeSuccess, forged)
		},
		"wrong type": func(t *testing.T, query dnsmessage.Message) []byte {
			query.Questions = []dnsmessage.Question{query.Questions[0]}
			query.Questions[0].Type = dnsmessage.TypeMX
			return replyTo(t, query, dnsmessage.RCodeSuccess, forged)
		},
		"wrong class": func(t *testing.T, query dnsmessage.Message) []byte {
			query.Questions = []dnsmessage.Question{query.Questions[0]}
			query.Questions[0].Class = dnsmessage.ClassCHAOS
			return replyTo(t, query, dnsmessage.RCodeSuccess, forged)
		},
		"no question": func(t *testing.T, query dnsmessage.Message) []byte {
			query.Questions = nil
			return replyTo(t, query, dnsmessage.RCodeSuccess, forged)
		},
		"two questions": func(t *testing.T, query dnsmessage.Message) []byte {
			query.Questions = []dnsmessage.Question{query.Questions[0], query.Questions[0]}
			return replyTo(t, query, dnsmessage.RCodeSuccess, forged)
		},
		"a query": func(t *testing.T, query dnsmessage.Message) []byte {
			msg := replyTo(t, query, dnsmessage.RCodeSuccess, forged)
			msg[2] &^= 0x80
			return msg
		},
		"garbage": func(*testing.T, dnsmessage.Message) []byte { return []byte("garbage") },
		"empty":   func(*testing.T, dnsmessage.Message) []byte { return nil },
	}
	for name, forge := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.intercept(func(q question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
				if q.qtype != dnsmessage.TypeA {
					return nil, false
				}
				return [][]byte{
					forge(t, query),
					replyTo(t, query, dnsmessage.RCodeSuccess, record("a.test.", "10.0.0.1", 60)),
				}, true
			})
			expectLookup(t, newResolver(t, Options{Attempts: 1}, s), "a.test", "10.0.0.1")
			for _, q := range s.queries() {
				if q.network != "udp" {
					t.Errorf("asked over %s", q.network)
				}
			}
		})
	}
}

func TestAnswerFromAnotherSourceIsIgnored(t *testing.T) {
	s := newServer(t)
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	s.intercept(func(q question, query dnsmessage.Message, from net.Addr) ([][]byte, bool) {
		// Right in everything but the source, and there first.
		forged := replyTo(t, query, dnsmessage.RCodeSuccess, record(q.name, "10.6.6.6", 60))
		if _, err := other.WriteTo(forged, from); err != nil {
			t.Error(err)
		}
		return [][]byte{replyTo(t, query, dnsmessage.RCodeSuccess, record(q.name, "10.0.0.1", 60))}, true
	})
	expectLookup(t, newResolver(t, Options{}, s), "a.test", "10.0.0.1")
}

func TestManyForgedAnswersMoveTheQueryToTCP(t *testing.T) {
	s := newServer(t)
	s.set("a.test.", record("a.test.", "10.0.0.1", 60))
	s.intercept(func(q question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
		if q.network != "udp" {
			return nil, false
		}
		var guesses [][]byte
		for range maxStrays {
			query.ID++
			guesses = append(guesses, replyTo(t, query, dnsmessage.RCodeSuccess, record(q.name, "10.6.6.6", 60)))
		}
		return guesses, true
	})
	expectLookup(t, newResolver(t, Options{}, s), "a.test", "10.0.0.1")
}

func TestQueriesDifferInIDAndPort(t *testing.T) {
	s := newServer(t)
	s.set("a.test.", record("a.test.", "10.0.0.1", 60))
	ids, ports := make(map[uint16]bool), make(map[string]bool)
	s.intercept(func(_ question, query dnsmessage.Message, from net.Addr) ([][]byte, bool) {
		ids[query.ID], ports[from.String()] = true, true
		return nil, false
	})
	r := newResolver(t, Options{}, s)
	for range 20 {
		expectLookup(t, r, "a.test", "10.0.0.1")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// 40 draws out of 65,536: half of them alike does not happen by chance.
	if len(ids) < 20 || len(ports) < 20 {
		t.Errorf("%d ids and %d ports in 40 queries", len(ids), len(ports))
	}
}

func TestServersAreTriedInTurn(t *testing.T) {
	tests := map[string]struct {
		first interceptor
		want  int // queries for A that reach the first server
	}{
		"the first is silent":  {func(question, dnsmessage.Message, net.Addr) ([][]byte, bool) { return nil, true }, 1},
		"the first fails":      {servfailUnder(t, "."), 1},
		"the first is garbled": {garbled(t), 1},
		"the first refers":     {referral(t), 1},
		"the first answers":    {nil, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			first, second := newServer(t), newServer(t)
			first.intercept(test.first)
			first.set("a.test.", record("a.test.", "10.0.0.1", 60))
			second.set("a.test.", record("a.test.", "10.0.0.2", 60))
			want := "10.0.0.2"
			if test.first == nil {
				want = "10.0.0.1"
			}
			expectLookup(t, newResolver(t, Options{Timeout: time.Second}, first, second), "a.test", want)
			if got := len(first.names()); got != test.want {
				t.Errorf("the first server was asked %d times, want %d", got, test.want)
			}
		})
	}
}

// garbled says success and breaks off inside the answer.
func garbled(t *testing.T) interceptor {
	return func(q question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
		msg := replyTo(t, query, dnsmessage.RCodeSuccess, record(q.name, "10.6.6.6", 60))
		return [][]byte{msg[:len(msg)-2]}, true
	}
}

// referral answers as a server that is not recursive.
func referral(t *testing.T) interceptor {
	return func(_ question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
		msg := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: query.ID, Response: true},
			Questions: query.Questions,
			Authorities: []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("test."), Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.NSResource{NS: dnsmessage.MustNewName("ns.test.")},
			}},
		}
		packed, err := msg.Pack()
		if err != nil {
			t.Error(err)
		}
		return [][]byte{packed}, true
	}
}

func TestAttempts(t *testing.T) {
	s := newServer(t)
	s.refuse(dnsmessage.RCodeServerFailure)
	r := newResolver(t, Options{Attempts: 3}, s)
	_, err := r.Lookup(t.Context(), "a.test")
	if !errors.Is(err, ErrServerFailure) || !strings.Contains(err.Error(), s.addr.String()) {
		t.Errorf("error %v, want %v and the server's address", err, ErrServerFailure)
	}
	if got := len(s.names()); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}

	s.refuse(dnsmessage.RCodeNameError)
	if _, err := r.Lookup(t.Context(), "b.test"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want %v", err, ErrNotFound)
	}
	if got := len(s.names()); got != 4 {
		t.Errorf("NXDOMAIN was asked for %d times, want once", got-3)
	}
}

func TestClosedPortIsAnError(t *testing.T) {
	s := newServer(t)
	_ = s.udp.Close()
	r := newResolver(t, Options{Timeout: time.Hour}, s)
	if _, err := r.Lookup(t.Context(), "a.test"); err == nil || isNegative(err) {
		t.Errorf("error %v, want one of the network", err)
	}
}

func TestRotate(t *testing.T) {
	servers := []*dnsServer{newServer(t), newServer(t)}
	for _, s := range servers {
		s.set("a.test.", record("a.test.", "10.0.0.1", 60))
	}
	r := newResolver(t, Options{ResolvConf: writeFile(t, "search .\noptions rotate")}, servers...)
	for range 3 {
		expectLookup(t, r, "a.test", "10.0.0.1") // two queries each
	}
	for i, s := range servers {
		if got := len(s.queries()); got != 3 {
			t.Errorf("server %d was asked %d times, want 3", i, got)
		}
	}
}

func TestServerWithoutEDNS(t *testing.T) {
	for _, withQuestion := range []bool{true, false} {
		s := newServer(t)
		s.set("a.test.", record("a.test.", "10.0.0.1", 60))
		s.intercept(func(q question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
			if !q.edns {
				return nil, false
			}
			if !withQuestion {
				query.Questions = nil
			}
			return [][]byte{replyTo(t, query, dnsmessage.RCodeFormatError)}, true
		})
		expectLookup(t, newResolver(t, Options{Attempts: 1}, s), "a.test", "10.0.0.1")
	}
}

func TestOneFamilyFails(t *testing.T) {
	s := newServer(t)
	s.set("a.test.", record("a.test.", "10.0.0.1", 60), record("a.test.", "2001:db8::1", 60))
	failFamily := func(qtype dnsmessage.Type, rcode dnsmessage.RCode) interceptor {
		return func(q question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
			if q.qtype != qtype {
				return nil, false
			}
			return [][]byte{replyTo(t, query, rcode)}, true
		}
	}
	r := newResolver(t, Options{Attempts: 1}, s)
	s.intercept(failFamily(dnsmessage.TypeAAAA, dnsmessage.RCodeServerFailure))
	expectLookup(t, r, "a.test", "10.0.0.1")
	s.intercept(failFamily(dnsmessage.TypeA, dnsmessage.RCodeNameError))
	expectLookup(t, r, "a.test", "2001:db8::1")

	// Without an address the failure counts, not the other family's empty answer.
	s.set("a.test.")
	s.intercept(failFamily(dnsmessage.TypeAAAA, dnsmessage.RCodeServerFailure))
	if _, err := r.Lookup(t.Context(), "a.test"); !errors.Is(err, ErrServerFailure) {
		t.Errorf("error %v, want %v", err, ErrServerFailure)
	}
}

func TestLongChain(t *testing.T) {
	name := func(i int) string { return strings.Repeat("x", i+1) + ".test." }
	for _, test := range []struct {
		links int
		ok    bool
	}{{maxChain - 1, true}, {maxChain, false}} {
		s := newServer(t)
		var chain []dnsmessage.Resource
		for i := range test.links {
			chain = append(chain, record(name(i), name(i+1), 60))
		}
		s.set(name(0), append(chain, record(name(test.links), "10.0.0.1", 60))...)
		_, err := newResolver(t, Options{Attempts: 1}, s).Lookup(t.Context(), name(0))
		if (err == nil) != test.ok {
			t.Errorf("%d links: %v", test.links, err)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}}
	good := replyTo(f, query, dnsmessage.RCodeSuccess, record("a.test.", "b.test.", 60), record("b.test.", "10.0.0.1", 60))
	if rep, err := parseReply(good, 7, q); err != nil || len(rep.addrs) != 1 {
		f.Fatalf("the good seed: %v, %v", rep, err)
	}
	f.Add(good, false)
	f.Add(good[:len(good)-1], false)
	f.Add(replyTo(f, query, dnsmessage.RCodeSuccess, record("a.test.", "a.test.", 60)), false)
	f.Add(replyTo(f, query, dnsmessage.RCodeNameError), false)
	q.Type = dnsmessage.TypeAAAA
	query.Questions = []dnsmessage.Question{q}
	f.Add(replyTo(f, query, dnsmessage.RCodeSuccess, record("a.test.", "2001:db8::1", 60)), true)
	f.Fuzz(func(t *testing.T, msg []byte, six bool) {
		q.Type = dnsmessage.TypeA
		if six {
			q.Type = dnsmessage.TypeAAAA
		}
		rep, err := parseReply(msg, 7, q)
		if err != nil {
			known := isNegative(err) || errors.Is(err, ErrServerFailure) || errors.Is(err, errNotOurs) || errors.Is(err, errTruncated)
			if len(rep.addrs) > 0 || !known {
				t.Fatalf("%v with %v", rep, err)
			}
			return
		}
		if len(rep.addrs) > 0 && (rep.ttl < minTTL || rep.ttl > maxTTL) {
			t.Fatalf("TTL %v", rep.ttl)
		}
		var whole dnsmessage.Message
		if whole.Unpack(msg) == nil && (whole.ID != 7 || !whole.Response || len(whole.Questions) != 1 || whole.Questions[0].Type != q.Type) {
			t.Fatalf("accepted %v", whole.GoString())
		}
		for _, addr := range rep.addrs {
			if !addr.IsValid() || addr.Is4In6() || !six && addr.Is6() {
				t.Fatalf("address %v", addr)
			}
		}
	})
}

func FuzzParseFiles(f *testing.F) {
	f.Add([]byte("nameserver 10.0.0.1\nsearch a.test b.\noptions ndots:5 timeout:9 attempts:0 rotate\n"))
	f.Add([]byte("10.0.0.1 a b. # c\n::1 d"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conf := parseResolvConf(data)
		if n := len(conf.servers); n < 1 || n > maxServers || len(conf.search) > maxSearch || conf.ndots > maxNdots ||
			conf.timeout < time.Second || conf.timeout > maxTimeout*time.Second || conf.attempts < 1 || conf.attempts > maxAttempts {
			t.Fatalf("%+v", conf)
		}
		for _, fqdn := range conf.candidates("www.example.org") {
			if _, err := dnsmessage.NewName(fqdn); err != nil {
				t.Fatal(err)
			}
		}
		for name, list := range parseHosts(data) {
			if len(list) == 0 || list[0] == (netip.Addr{}) || name != strings.ToLower(name) {
				t.Fatalf("%q: %v", name, list)
			}
		}
	})
}
