package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// udpPayload is what we say to accept over UDP: it fits any path without fragments (DNS flag day 2020).
	udpPayload = 1232
	// udpBuffer is larger, for servers that send more than they were told.
	udpBuffer = 4096
	// maxStrays bounds the guesses an off-path attacker has at one query; after that it is asked over TCP.
	maxStrays = 32
	// maxChain bounds a chain of CNAME records within an answer.
	maxChain = 16
)

var (
	errNotOurs   = errors.New("not the answer to this query")
	errTruncated = errors.New("answer truncated")
	errFormat    = fmt.Errorf("%w: it does not understand the query", ErrServerFailure)
)

// reply is an answer to one question. No addrs: the name exists and has none of that type.
type reply struct {
	addrs []netip.Addr
	ttl   time.Duration
}

// askBoth asks for both families in parallel.
func (r *Resolver) askBoth(ctx context.Context, conf resolvConf, fqdn string) (result, error) {
	name, err := dnsmessage.NewName(fqdn)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrName, err)
	}
	var (
		replies [families]reply
		errs    [families]error
		asking  sync.WaitGroup
	)
	for family, qtype := range [families]dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		question := dnsmessage.Question{Name: name, Type: qtype, Class: dnsmessage.ClassINET}
		asking.Go(func() { replies[family], errs[family] = r.ask(ctx, conf, question) })
	}
	asking.Wait()
	return combine(replies, errs)
}

// combine joins the answers for both families. Some address beats a failure, a failure beats a negative answer, and a
// name that one family says to exist exists.
func combine(replies [families]reply, errs [families]error) (result, error) {
	res := result{ttl: maxTTL}
	found := false
	var failure error
	for family, rep := range replies {
		if len(rep.addrs) > 0 {
			found = true
			res.addrs[family] = rep.addrs
			res.ttl = min(res.ttl, rep.ttl)
		}
		if err := errs[family]; err != nil && !isNegative(err) {
			res.failed[family] = err
			failure = err
		}
	}
	switch {
	case found:
		return res, nil
	case failure != nil:
		return result{}, failure
	case errs[familyA] != nil && errs[familyAAAA] != nil:
		return result{}, errs[familyA]
	default:
		return result{}, ErrNoAddress
	}
}

// ask goes through the servers, as often as the configuration says, until one answers.
func (r *Resolver) ask(ctx context.Context, conf resolvConf, q dnsmessage.Question) (reply, error) {
	first := 0
	if conf.rotate {
		first = int(r.rotated.Add(1) % uint32(len(conf.servers)))
	}
	var last error
	for range conf.attempts {
		for i := range conf.servers {
			server := conf.servers[(first+i)%len(conf.servers)]
			rep, err := r.askServer(ctx, server, q, conf.timeout)
			if err == nil || errors.Is(err, ErrNotFound) {
				return rep, err
			}
			if ctx.Err() != nil {
				return reply{}, ctx.Err()
			}
			last = fmt.Errorf("%s for %s at %s: %w", strings.TrimPrefix(q.Type.String(), "Type"), q.Name, server, err)
		}
	}
	return reply{}, last
}

// askServer asks one server over UDP, then over TCP where UDP cannot hold the answer, and without EDNS0 where it is too
// old for that (RFC 6891 §7).
func (r *Resolver) askServer(ctx context.Context, server netip.AddrPort, q dnsmessage.Question, timeout time.Duration) (reply, error) {
	var rep reply
	var err error
	for _, edns := range []bool{true, false} {
		rep, err = r.exchange(ctx, "udp", server, q, edns, timeout)
		if errors.Is(err, errTruncated) {
			rep, err = r.exchange(ctx, "tcp", server, q, edns, timeout)
		}
		if !errors.Is(err, errFormat) {
			break
		}
	}
	if errors.Is(err, errTruncated) || errors.Is(err, errNotOurs) {
		err = fmt.Errorf("%w: over TCP: %w", ErrServerFailure, err)
	}
	return rep, err
}

// exchange sends one query from a socket of its own and waits for its answer.
func (r *Resolver) exchange(ctx context.Context, network string, server netip.AddrPort, q dnsmessage.Question, edns bool, timeout time.Duration) (reply, error) {
	select {
	case r.sockets <- struct{}{}:
		defer func() { <-r.sockets }()
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	var random [2]byte
	_, _ = rand.Read(random[:]) // it never fails
	id := binary.BigEndian.Uint16(random[:])
	query, err := appendQuery(make([]byte, 2, 514), id, q, edns)
	if err != nil {
		return reply{}, err
	}

	deadline := time.Now().Add(timeout)
	dialer := net.Dialer{Deadline: deadline}
	// A UDP socket too is connected: the kernel picks a random port, drops datagrams of other sources and reports
	// a closed port at once.
	conn, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return reply{}, explain(err, timeout)
	}
	defer func() { _ = conn.Close() }() // nothing is left to be written
	if err := conn.SetDeadline(deadline); err != nil {
		return reply{}, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	var rep reply
	if network == "tcp" {
		rep, err = overTCP(conn, query, id, q)
	} else {
		rep, err = overUDP(conn, query[2:], id, q)
	}
	return rep, explain(err, timeout)
}

func explain(err error, timeout time.Duration) error {
	if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() {
		return fmt.Errorf("%w within %v", ErrTimeout, timeout)
	}
	return err
}

func overUDP(conn net.Conn, query []byte, id uint16, q dnsmessage.Question) (reply, error) {
	if _, err := conn.Write(query); err != nil {
		return reply{}, err
	}
	buf := make([]byte, udpBuffer)
	for range maxStrays {
		n, err := conn.Read(buf)
		if err != nil {
			return reply{}, err
		}
		rep, err := parseReply(buf[:n], id, q)
		if !errors.Is(err, errNotOurs) {
			return rep, err
		}
	}
	return reply{}, errTruncated // somebody is guessing: TCP it is
}

// overTCP sends a query whose first two bytes are free for the length (RFC 1035 §4.2.2).
func overTCP(conn net.Conn, query []byte, id uint16, q dnsmessage.Question) (reply, error) {
	binary.BigEndian.PutUint16(query, uint16(len(query)-2))
	if _, err := conn.Write(query); err != nil {
		return reply{}, err
	}
	var size [2]byte
	_, err := io.ReadFull(conn, size[:])
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	if err == nil {
		_, err = io.ReadFull(conn, msg)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return reply{}, fmt.Errorf("%w: it closed the TCP connection before the end of its answer", ErrServerFailure)
	}
	if err != nil {
		return reply{}, err
	}
	return parseReply(msg, id, q)
}

// appendQuery writes a recursive query behind buf.
func appendQuery(buf []byte, id uint16, q dnsmessage.Question, edns bool) ([]byte, error) {
	b := dnsmessage.NewBuilder(buf, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if edns {
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		var opt dnsmessage.ResourceHeader
		if err := opt.SetEDNS0(udpPayload, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		if err := b.OPTResource(opt, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// parseReply reads the answer to the question q. It returns errNotOurs for what may be anybody's datagram, and
// errTruncated, errFormat, ErrNotFound or ErrServerFailure for what the server said.
func parseReply(msg []byte, id uint16, q dnsmessage.Question) (reply, error) {
	var p dnsmessage.Parser
	head, err := p.Start(msg)
	if err != nil || head.ID != id || !head.Response || head.OpCode != 0 {
		return reply{}, errNotOurs
	}
	questions, err := p.AllQuestions()
	if refused := head.RCode == dnsmessage.RCodeFormatError || head.RCode == dnsmessage.RCodeNotImplemented; refused && err == nil && len(questions) == 0 {
		return reply{}, errFormat // servers that did not understand the query may leave it out
	}
	if err != nil || len(questions) != 1 || !sameQuestion(questions[0], q) {
		return reply{}, errNotOurs
	}
	if head.Truncated {
		return reply{}, errTruncated
	}
	switch head.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return reply{}, ErrNotFound
	case dnsmessage.RCodeFormatError, dnsmessage.RCodeNotImplemented:
		return reply{}, errFormat
	default:
		return reply{}, fmt.Errorf("%w (%s)", ErrServerFailure, strings.TrimPrefix(head.RCode.String(), "RCode"))
	}
	found, err := readAnswers(&p, q.Type)
	if err != nil {
		return reply{}, fmt.Errorf("%w: malformed answer: %w", ErrServerFailure, err)
	}
	rep, err := found.follow(q.Name)
	if err != nil {
		return reply{}, err
	}
	if len(rep.addrs) == 0 && !head.Authoritative && !head.RecursionAvailable && isReferral(&p) {
		return reply{}, fmt.Errorf("%w: it refers to other servers, a recursive one is needed", ErrServerFailure)
	}
	return rep, nil
}

func sameQuestion(a, b dnsmessage.Question) bool {
	return a.Type == b.Type && a.Class == b.Class && strings.EqualFold(a.Name.String(), b.Name.String())
}

// isReferral reports whether the authority section, which is next, names servers.
func isReferral(p *dnsmessage.Parser) bool {
	head, err := p.AuthorityHeader()
	return err == nil && head.Type == dnsmessage.TypeNS
}

// answers are the records of an answer section by owner, in lower case.
type answers struct {
	aliases map[string]alias
	addrs   map[string]*reply
}

type alias struct {
	target string
	ttl    time.Duration
}

func readAnswers(p *dnsmessage.Parser, qtype dnsmessage.Type) (answers, error) {
	found := answers{aliases: make(map[string]alias), addrs: make(map[string]*reply)}
	for {
		head, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return found, nil
		}
		if err != nil {
			return answers{}, err
		}
		owner := strings.ToLower(head.Name.String())
		wanted := head.Class == dnsmessage.ClassINET
		switch {
		case wanted && head.Type == dnsmessage.TypeCNAME:
			body, err := p.CNAMEResource()
			if err != nil {
				return answers{}, err
			}
			found.aliases[owner] = alias{target: strings.ToLower(body.CNAME.String()), ttl: clampTTL(head.TTL)}
		case wanted && head.Type == qtype && qtype == dnsmessage.TypeA:
			body, err := p.AResource()
			if err != nil {
				return answers{}, err
			}
			found.add(owner, netip.AddrFrom4(body.A), head.TTL)
		case wanted && head.Type == qtype && qtype == dnsmessage.TypeAAAA:
			body, err := p.AAAAResource()
			if err != nil {
				return answers{}, err
			}
			// The policy of who may be dialled must see what ::ffff:169.254.169.254 stands for.
			found.add(owner, netip.AddrFrom16(body.AAAA).Unmap(), head.TTL)
		default:
			if err := p.SkipAnswer(); err != nil {
				return answers{}, err
			}
		}
	}
}

func (a *answers) add(owner string, addr netip.Addr, ttl uint32) {
	rep, ok := a.addrs[owner]
	if !ok {
		rep = &reply{ttl: maxTTL}
		a.addrs[owner] = rep
	}
	rep.addrs = append(rep.addrs, addr)
	rep.ttl = min(rep.ttl, clampTTL(ttl))
}

// follow walks the chain of CNAME records from name to the addresses at its end.
func (a *answers) follow(name dnsmessage.Name) (reply, error) {
	owner, ttl := strings.ToLower(name.String()), maxTTL
	for range maxChain {
		next, ok := a.aliases[owner]
		if !ok {
			if rep := a.addrs[owner]; rep != nil {
				return reply{addrs: rep.addrs, ttl: min(ttl, rep.ttl)}, nil
			}
			return reply{}, nil
		}
		owner, ttl = next.target, min(ttl, next.ttl)
	}
	return reply{}, fmt.Errorf("%w: a chain of more than %d CNAME records, or a loop", ErrServerFailure, maxChain)
}

// clampTTL takes a TTL with its highest bit set for 0 (RFC 2181 §8).
func clampTTL(seconds uint32) time.Duration {
	if seconds > math.MaxInt32 {
		seconds = 0
	}
	return min(max(time.Duration(seconds)*time.Second, minTTL), maxTTL)
}
