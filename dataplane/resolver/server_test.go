package resolver

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// question is what a test server was asked.
type question struct {
	network string
	name    string
	qtype   dnsmessage.Type
	edns    bool
}

// dnsServer is a name server on loopback, over UDP and TCP on one port.
type dnsServer struct {
	t    *testing.T
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  net.Listener
	done sync.WaitGroup

	mu    sync.Mutex
	zone  map[string][]dnsmessage.Resource // answer section by lower-case name; nil: the name exists
	asked []question
	// before may answer in the place of the zone: what it returns is sent as it is, one message each.
	before func(q question, query dnsmessage.Message, from net.Addr) (messages [][]byte, handled bool)
}

func newServer(t *testing.T) *dnsServer {
	t.Helper()
	s := &dnsServer{t: t, zone: make(map[string][]dnsmessage.Resource)}
	for tries := 0; ; tries++ {
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Fatal(err)
		}
		s.udp, s.addr = udp, udp.LocalAddr().(*net.UDPAddr).AddrPort()
		if s.tcp, err = net.Listen("tcp", s.addr.String()); err == nil {
			break
		}
		_ = udp.Close() // the port is free for UDP alone: take another
		if tries == 20 {
			t.Fatal(err)
		}
	}
	s.done.Go(s.serveUDP)
	s.done.Go(s.serveTCP)
	t.Cleanup(func() {
		_ = s.udp.Close()
		_ = s.tcp.Close()
		s.done.Wait()
	})
	return s
}

func (s *dnsServer) serveUDP() {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		for _, msg := range s.answer("udp", buf[:n], net.UDPAddrFromAddrPort(from)) {
			_, _ = s.udp.WriteToUDPAddrPort(msg, from)
		}
	}
}

func (s *dnsServer) serveTCP() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() {
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			var size [2]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			for _, msg := range s.answer("tcp", query, conn.RemoteAddr()) {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
			}
		})
	}
}

func (s *dnsServer) answer(network string, raw []byte, from net.Addr) [][]byte {
	var query dnsmessage.Message
	if err := query.Unpack(raw); err != nil || len(query.Questions) != 1 {
		s.t.Errorf("malformed query: %v", err)
		return nil
	}
	q := question{
		network: network,
		name:    strings.ToLower(query.Questions[0].Name.String()),
		qtype:   query.Questions[0].Type,
	}
	for _, extra := range query.Additionals {
		q.edns = q.edns || extra.Header.Type == dnsmessage.TypeOPT && extra.Header.Class == udpPayload
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
	if s.before != nil {
		if messages, handled := s.before(q, query, from); handled {
			return messages
		}
	}
	records, ok := s.zone[q.name]
	if !ok {
		return [][]byte{replyTo(s.t, query, dnsmessage.RCodeNameError)}
	}
	var wanted []dnsmessage.Resource
	for _, record := range records {
		if record.Header.Type == q.qtype || record.Header.Type == dnsmessage.TypeCNAME {
			wanted = append(wanted, record)
		}
	}
	return [][]byte{replyTo(s.t, query, dnsmessage.RCodeSuccess, wanted...)}
}

// replyTo packs the reply for a query.
func replyTo(t testing.TB, query dnsmessage.Message, rcode dnsmessage.RCode, answers ...dnsmessage.Resource) []byte {
	msg := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: query.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: rcode,
		},
		Questions: query.Questions,
		Answers:   answers,
	}
	packed, err := msg.Pack()
	if err != nil {
		t.Errorf("pack: %v", err)
	}
	return packed
}

// set replaces what the server says of a name; no records: the name exists without addresses.
func (s *dnsServer) set(name string, records ...dnsmessage.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[name] = records
}

func (s *dnsServer) intercept(f func(q question, query dnsmessage.Message, from net.Addr) ([][]byte, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// refuse makes the server answer all queries with rcode.
func (s *dnsServer) refuse(rcode dnsmessage.RCode) {
	s.intercept(func(_ question, query dnsmessage.Message, _ net.Addr) ([][]byte, bool) {
		return [][]byte{replyTo(s.t, query, rcode)}, true
	})
}

// queries are those seen so far.
func (s *dnsServer) queries() []question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// names are the names asked for so far, in order, of A queries over UDP.
func (s *dnsServer) names() []string {
	var names []string
	for _, q := range s.queries() {
		if q.qtype == dnsmessage.TypeA && q.network == "udp" {
			names = append(names, q.name)
		}
	}
	return names
}

// record makes an A, AAAA or, where value is a name, CNAME record.
func record(owner, value string, ttl uint32) dnsmessage.Resource {
	res := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{
		Name: dnsmessage.MustNewName(owner), Class: dnsmessage.ClassINET, TTL: ttl,
	}}
	addr, err := netip.ParseAddr(value)
	switch {
	case err != nil:
		res.Header.Type = dnsmessage.TypeCNAME
		res.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(value)}
	case addr.Is4():
		res.Header.Type = dnsmessage.TypeA
		res.Body = &dnsmessage.AResource{A: addr.As4()}
	default:
		res.Header.Type = dnsmessage.TypeAAAA
		res.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
	}
	return res
}

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

// newResolver makes a Resolver that asks these servers and knows no files but the given ones.
func newResolver(t *testing.T, opts Options, servers ...*dnsServer) *Resolver {
	t.Helper()
	for _, s := range servers {
		opts.Servers = append(opts.Servers, s.addr)
	}
	if opts.ResolvConf == "" {
		opts.ResolvConf = writeFile(t, "search .\n")
	}
	if opts.Hosts == "" {
		opts.Hosts = writeFile(t, "")
	}
	r := New(opts)
	t.Cleanup(r.Close)
	return r
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
