package store

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/redis/go-redis/v9"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

const patience = 10 * time.Second

// A server is a real redis-server.
type server struct {
	t       testing.TB
	address string
	args    []string
	cmd     *exec.Cmd
}

// startRedis starts a redis-server on a free port.
func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	s := &server{t: t, address: free.Addr().String(), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.address)
	args := append([]string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"}, s.args...)
	if !strings.Contains(strings.Join(args, " "), "--tls-port") {
		args = append(args, "--port", port)
	} else {
		args = append(args, "--tls-port", port, "--port", "0")
	}
	program, err := peers.Find(s.t.Context(), "redis-server")
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = program.Command(context.Background(), args...)
	s.cmd.Dir = s.t.TempDir()
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "eady to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	s.t.Fatal("redis-server did not start")
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// states are the calls of Metrics.
type states struct {
	mu      sync.Mutex
	changed chan struct{}
	last    string
}

func newStates() *states { return &states{changed: make(chan struct{}, 1)} }

func (s *states) SharedStore(configured, up bool) {
	s.mu.Lock()
	s.last = fmt.Sprint(configured, up)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *states) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		last := s.last
		s.mu.Unlock()
		if last == want {
			return
		}
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("the store's state is %q, want %q", last, want)
		}
	}
}

func configOf(s *server) snapshot.Store {
	return snapshot.Store{RedisURL: "redis://" + s.address + "/0", Timeout: 5 * time.Second}
}

func take(t *testing.T, s *Store, key string, burst int, interval time.Duration) (bool, int, time.Duration, time.Duration) {
	t.Helper()
	allowed, remaining, retry, reset, err := s.Take(context.Background(), key, burst, interval)
	if err != nil {
		t.Fatal(err)
	}
	return allowed, remaining, retry, reset
}

func TestTake(t *testing.T) {
	s := New(configOf(startRedis(t)), logr.Discard(), nil)
	defer s.Close()
	const interval = time.Hour
	for i := range 5 {
		allowed, remaining, retry, reset := take(t, s, "a", 3, interval)
		if i < 3 {
			// The clock of Redis went on since the first one: a little less than whole hours.
			if due := time.Duration(i+1) * interval; !allowed || remaining != 2-i || retry != 0 || reset > due || reset < due-time.Minute {
				t.Errorf("request %d: %v, %d, %v, %v", i, allowed, remaining, retry, reset)
			}
		} else if allowed || remaining != 0 || retry > interval || retry < interval-time.Minute || reset < 3*interval-time.Minute {
			t.Errorf("request %d: %v, %d, %v, %v", i, allowed, remaining, retry, reset)
		}
	}
	if allowed, remaining, _, _ := take(t, s, "b", 3, interval); !allowed || remaining != 2 {
		t.Errorf("another key: %v, %d", allowed, remaining)
	}
	// The limit becomes smaller: nobody waits for longer than it would have him wait.
	if allowed, _, retry, _ := take(t, s, "a", 1, time.Minute); allowed || retry > time.Minute {
		t.Errorf("a smaller limit: %v, %v", allowed, retry)
	}
	// The least and the greatest interval.
	for i := range 10 {
		if allowed, _, _, _ := take(t, s, "c", 1_000_000_000, time.Nanosecond); !allowed {
			t.Errorf("request %d of a million a millisecond is above", i)
		}
		if allowed, _, _, _ := take(t, s, "d", 1_000_000_000, 24*time.Hour); !allowed {
			t.Errorf("request %d of a burst of a billion is above", i)
		}
	}
}

// Two replicas count as one, whatever their clocks say, and count exactly.
func TestTogether(t *testing.T) {
	server := startRedis(t)
	a, b := New(configOf(server), logr.Discard(), nil), New(configOf(server), logr.Discard(), nil)
	defer a.Close()
	defer b.Close()
	var allowed atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for range 25 {
				ok, _, _, _, err := []*Store{a, b}[i%2].Take(context.Background(), "k", 1000, time.Hour)
				if err != nil {
					t.Error(err)
				} else if ok {
					allowed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := allowed.Load(); n != 1000 {
		t.Errorf("%d of 1600 requests pass, want 1000", n)
	}
}

// Keys go when they say nothing any more.
func TestExpiry(t *testing.T) {
	server := startRedis(t)
	s := New(configOf(server), logr.Discard(), nil)
	defer s.Close()
	take(t, s, "a", 10, time.Minute)
	take(t, s, "a", 10, time.Minute)
	client := redis.NewClient(&redis.Options{Addr: server.address})
	defer func() { _ = client.Close() }()
	if ttl := client.PTTL(t.Context(), "a").Val(); ttl <= time.Minute || ttl > 2*time.Minute+time.Second {
		t.Errorf("the key lives for %v, want two minutes", ttl)
	}
}

// The script is gone after a restart of Redis, and after SCRIPT FLUSH; a key may hold what somebody else has put there.
func TestScriptAndKeys(t *testing.T) {
	server := startRedis(t)
	s := New(configOf(server), logr.Discard(), nil)
	defer s.Close()
	client := redis.NewClient(&redis.Options{Addr: server.address})
	defer func() { _ = client.Close() }()
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if allowed, remaining, _, _ := take(t, s, "a", 3, time.Hour); !allowed || remaining != 2 {
		t.Errorf("without the script: %v, %d", allowed, remaining)
	}
	if err := errors.Join(client.LPush(t.Context(), "list", "x").Err(), client.Set(t.Context(), "text", "x", 0).Err()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, _, err := s.Take(t.Context(), "list", 3, time.Hour); err == nil || !s.Up() {
		t.Errorf("of a list: %v; up: %v", err, s.Up())
	}
	if allowed, remaining, _, _ := take(t, s, "text", 3, time.Hour); !allowed || remaining != 2 {
		t.Errorf("of a text: %v, %d", allowed, remaining)
	}
}

// A Redis that goes is noticed by the first request, told of once, and found again.
func TestAway(t *testing.T) {
	server := startRedis(t)
	var mu sync.Mutex
	var lines []string
	log := funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, args)
	}, funcr.Options{})
	metrics := newStates()
	s := New(configOf(server), log, metrics)
	defer s.Close()
	metrics.await(t, "true true")
	take(t, s, "a", 1, time.Hour)
	server.kill()
	for range 100 {
		if _, _, _, _, err := s.Take(t.Context(), "a", 1, time.Hour); err == nil {
			t.Fatal("an answer from nobody")
		}
	}
	metrics.await(t, "true false")
	if s.Up() {
		t.Error("it counts as up")
	}
	server.start()
	metrics.await(t, "true true")
	if allowed, _, _, _ := take(t, s, "a", 1, time.Hour); !allowed {
		t.Error("a Redis that forgot everything still limits")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(lines) != 2 || !strings.Contains(lines[0], "is away") || !strings.Contains(lines[1], "answers again") {
		t.Errorf("the log says %q", lines)
	}
}

func TestPassword(t *testing.T) {
	const password = "canary-of-the-store" // gitleaks:allow
	server := startRedis(t, "--requirepass", password)
	config := configOf(server)
	config.Password = snapshot.Secret(password + "\n")
	metrics := newStates()
	s := New(config, logr.Discard(), metrics)
	defer s.Close()
	metrics.await(t, "true true")
	take(t, s, "a", 1, time.Hour)

	said := make(chan string, 10)
	log := funcr.New(func(_, args string) { said <- args }, funcr.Options{})
	config.Password = snapshot.Secret("wrong-" + password)
	wrong := New(config, log, nil)
	defer wrong.Close()
	select {
	case line := <-said:
		if !strings.Contains(line, "WRONGPASS") || strings.Contains(line, password) {
			t.Errorf("the log says %s", line)
		}
	case <-time.After(patience):
		t.Error("the log says nothing of a wrong password")
	}
	if _, _, _, _, err := wrong.Take(t.Context(), "a", 1, time.Hour); err == nil {
		t.Error("an answer without the password")
	}
}

// certificate makes a CA that is its own server, for 127.0.0.1.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	if err := errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	server := startRedis(t, "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-auth-clients", "no", "--tls-port", "0")
	config := snapshot.Store{RedisURL: "rediss://" + server.address, CA: cert, Timeout: 5 * time.Second}
	s := New(config, logr.Discard(), nil)
	defer s.Close()
	take(t, s, "a", 1, time.Hour)

	other, _ := certificate(t)
	said := make(chan string, 10)
	log := funcr.New(func(_, args string) { said <- args }, funcr.Options{})
	config.CA = other
	wrong := New(config, log, nil)
	defer wrong.Close()
	select {
	case line := <-said:
		if !strings.Contains(line, "x509") {
			t.Errorf("the log says %s", line)
		}
	case <-time.After(patience):
		t.Error("the log says nothing of a certificate that nobody has signed")
	}
	if wrong.Up() {
		t.Error("a server is believed whose certificate nobody has signed")
	}
}

// What is not changed keeps its connections; what is, serves on.
func TestApply(t *testing.T) {
	first, second := startRedis(t), startRedis(t)
	metrics := newStates()
	s := New(configOf(first), logr.Discard(), metrics)
	defer s.Close()
	metrics.await(t, "true true")
	link := s.current.Load()
	s.Apply(configOf(first))
	if s.current.Load() != link {
		t.Error("an equal configuration makes new connections")
	}
	take(t, s, "a", 1, time.Hour)
	s.Apply(configOf(second))
	metrics.await(t, "true true")
	if allowed, _, _, _ := take(t, s, "a", 1, time.Hour); !allowed {
		t.Error("the old Redis is asked")
	}
	s.Apply(snapshot.Store{})
	if _, _, _, _, err := s.Take(t.Context(), "a", 1, time.Hour); !errors.Is(err, filter.ErrNoStore) {
		t.Errorf("without a store: %v", err)
	}
	metrics.await(t, "false false")
}

// A Redis that takes connections and says nothing holds nobody up for longer than the time-out, and only the first ones.
func TestSilence(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	s := New(snapshot.Store{RedisURL: "redis://" + silent.Addr().String(), Timeout: time.Millisecond}, logr.Discard(), nil)
	defer s.Close()
	for range 1000 {
		if _, _, _, _, err := s.Take(t.Context(), "a", 1, time.Hour); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
	}
}

// Requests that wait when everything ends get an error.
func TestClose(t *testing.T) {
	l := newLink(snapshot.Store{RedisURL: "redis://127.0.0.1:1", Timeout: time.Hour}, logr.Discard(), func(bool, bool) {})
	l.up.Store(true) // and no worker runs
	s := &Store{}
	s.current.Store(l)
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() {
			if _, _, _, _, err := s.Take(context.Background(), "a", 1, time.Hour); err == nil {
				t.Error("an answer from nobody")
			}
		})
	}
	for len(l.calls) < 4 {
		runtime.Gosched()
	}
	s.Close()
	waiting.Wait()
	s.Apply(snapshot.Store{RedisURL: "redis://127.0.0.1:1"})
	if s.current.Load() != nil {
		t.Error("a store that was closed is open again")
	}
	s.Close()
}

// More requests than can wait are not held up.
func TestBusy(t *testing.T) {
	l := newLink(snapshot.Store{RedisURL: "redis://127.0.0.1:1", Timeout: time.Hour}, logr.Discard(), func(bool, bool) {})
	defer l.close()
	l.up.Store(true)
	s := &Store{}
	s.current.Store(l)
	for range queueSize {
		l.calls <- &call{}
	}
	if _, _, _, _, err := s.Take(t.Context(), "a", 1, time.Hour); !errors.Is(err, errBusy) {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct{ url, addr, user, want string }{
		{"redis://redis", "redis:6379", "", ""},
		{"redis://me@redis:6380/3", "redis:6380", "me", ""},
		{"rediss://[::1]/", "[::1]:6379", "", ""},
		{"http://redis", "", "", "the scheme must be"},
		{"redis://redis/x", "", "", "number of a database"},
		{"redis://redis/-1", "", "", "number of a database"},
		{"redis://redis?skip_verify=true", "", "", "without parameters"},
		{"redis://", "", "", "must be a URL"},
		{"redis://a:canary@redis:x", "", "", "must be a URL"},
	} {
		o, err := options(snapshot.Store{RedisURL: test.url}, time.Second)
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary")):
			t.Errorf("%s: %v", test.url, err)
		case err == nil && (o.Addr != test.addr || o.Username != test.user):
			t.Errorf("%s: %s, %s", test.url, o.Addr, o.Username)
		}
	}
	if _, err := options(snapshot.Store{RedisURL: "rediss://redis", CA: []byte("no")}, time.Second); err == nil {
		t.Error("a CA without a certificate is taken")
	}
	// What cannot be used counts as away.
	s := New(snapshot.Store{RedisURL: "redis://redis/x"}, logr.Discard(), nil)
	defer s.Close()
	if _, _, _, _, err := s.Take(t.Context(), "a", 1, time.Hour); !errors.Is(err, errAway) {
		t.Error(err)
	}
}

func BenchmarkTake(b *testing.B) {
	s := New(configOf(startRedis(b)), logr.Discard(), nil)
	defer s.Close()
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, _, _, err := s.Take(context.Background(), "a", 1_000_000_000, time.Microsecond); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64 at a time", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, _, _, _, err := s.Take(context.Background(), "a", 1_000_000_000, time.Microsecond); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
