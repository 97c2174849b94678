package benchmarks

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRoundsAreRepeatedWhenOneFails(t *testing.T) {
	failing := errors.New("socket errors")
	for _, tc := range []struct {
		name                     string
		fails                    map[int]bool // by call
		wantRounds, wantRepeated int
		wantErr                  error
		wantFirst                []string // contenders measured first, by round
		contenders               []string
	}{
		{name: "all well", wantRounds: 3, contenders: []string{"a", "b"}, wantFirst: []string{"a", "b", "a"}},
		{name: "one fails", fails: map[int]bool{1: true}, wantRounds: 3, wantRepeated: 1, contenders: []string{"a", "b"}, wantFirst: []string{"a", "b", "a", "b"}},
		{name: "too many fail", fails: map[int]bool{0: true, 1: true, 2: true}, wantRepeated: 2, wantErr: failing, contenders: []string{"a"}, wantFirst: []string{"a", "a", "a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := &Bench{opt: Options{Contenders: tc.contenders, Progress: io.Discard}}
			var res Result
			var first []string
			calls, inRound := 0, 0
			b.rounds(t.Context(), &res, 3, func(name string) (Sample, error) {
				if inRound == 0 {
					first = append(first, name)
				}
				fail := tc.fails[calls]
				calls++
				if inRound++; fail || inRound == len(tc.contenders) {
					inRound = 0
				}
				if fail {
					return Sample{}, failing
				}
				return Sample{CPU: 1}, nil
			})
			if len(res.Rounds) != tc.wantRounds || len(res.Repeated) != tc.wantRepeated || !errors.Is(res.Err, tc.wantErr) {
				t.Errorf("%d rounds, repeated %q, error %v", len(res.Rounds), res.Repeated, res.Err)
			}
			for _, round := range res.Rounds {
				if len(round) != len(tc.contenders) {
					t.Errorf("an incomplete round counts: %v", round)
				}
			}
			if diff := cmp.Diff(tc.wantFirst, first); diff != "" {
				t.Errorf("who began: %s", diff)
			}
		})
	}
}

func TestConfigurations(t *testing.T) {
	for _, tc := range []struct {
		file    string
		set     settings
		want    []string
		without []string
	}{
		{
			"nginx.conf",
			settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2"},
			[]string{"listen 127.0.0.1:1 ", "server 127.0.0.1:2;", "keepalive 512;", "X-Forwarded-For"},
			[]string{"access_log"},
		},
		{"nginx.conf", settings{AccessLog: "/l"}, []string{"access_log /l json buffer=64k", "log_format json"}, nil},
		{
			"haproxy.cfg",
			settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2", Splice: SpliceOff},
			[]string{"bind 127.0.0.1:1 ", "server origin 127.0.0.1:2 ", "option forwardfor", "http-reuse always"},
			[]string{"splice", "log-format", "log global"},
		},
		{"haproxy.cfg", settings{Splice: SpliceAuto, AccessLog: "/l"}, []string{"option splice-auto", "log global", "log-format"}, []string{"splice-response"}},
		{"haproxy.cfg", settings{Splice: SpliceAlways}, []string{"option splice-response"}, []string{"splice-auto"}},
		{"caddy.json", settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2"}, []string{`"127.0.0.1:1"`, `"dial": "127.0.0.1:2"`}, []string{"filename"}},
		{"caddy.json", settings{AccessLog: "/l"}, []string{`"filename": "/l"`}, nil},
		{
			"ours.yaml",
			settings{Listen: "127.0.0.1:1", Origin: "127.0.0.1:2", Admin: "127.0.0.1:3", Metrics: "127.0.0.1:4"},
			[]string{
				"access_log: {path: 'off'}", "bind_address: '127.0.0.1:1'", "upstreams: ['127.0.0.1:2']",
				"admin: {bind_address: '127.0.0.1:3'}", "metrics: {bind_address: '127.0.0.1:4'}",
			},
			[]string{"pprof"},
		},
		{"ours.yaml", settings{AccessLog: "/l"}, []string{"access_log: {path: '/l'}"}, nil},
		{"ours.yaml", settings{Profile: true}, []string{", pprof: true}"}, nil},
	} {
		text, err := tc.set.render(tc.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tc.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", tc.file, want, text)
			}
		}
		for _, no := range tc.without {
			if strings.Contains(text, no) {
				t.Errorf("%s: %q is in\n%s", tc.file, no, text)
			}
		}
	}
}

func TestSplicePicksTheCheaper(t *testing.T) {
	for _, tc := range []struct{ mode, row, want string }{
		{SpliceBest, "tiny64", SpliceAuto},
		{SpliceBest, "100k", SpliceAlways},
		{SpliceBest, "1m", SpliceAlways},
		{SpliceOff, "1m", SpliceOff},
		{SpliceAuto, "1m", SpliceAuto},
	} {
		rows, err := SelectRows(tc.row)
		if err != nil {
			t.Fatal(err)
		}
		if got := splice(tc.mode, rows[0]); got != tc.want {
			t.Errorf("%s in %s: %s, want %s", tc.mode, tc.row, got, tc.want)
		}
	}
}

func TestClientsHoldTheirConnections(t *testing.T) {
	open := map[net.Conn]http.ConnState{}
	states := make(chan func(), 64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusBadGateway)
		}
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		_, _ = fmt.Fprint(w, "ok")
	}))
	s.Config.ConnState = func(c net.Conn, st http.ConnState) { states <- func() { open[c] = st } }
	s.Start()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range states {
			f()
		}
	}()
	addr := s.Listener.Addr().String()
	conns, err := openClients(t.Context(), addr, "/", 40)
	if err != nil {
		t.Fatal(err)
	}
	if err := conns.ask("/"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/bad", "/close"} {
		if err := conns[:1].ask(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	conns.close()
	if _, err := openClients(t.Context(), addr, "/bad", 3); err == nil {
		t.Error("opening with a failing request is no error")
	}
	s.Close()
	close(states)
	<-done
	if len(open) != 43 {
		t.Errorf("%d connections were made for 40 clients that ask twice and 3 that fail", len(open))
	}
}

func TestSettled(t *testing.T) {
	sizes := []int64{100 << 20, 90 << 20, 50 << 20}
	calls := 0
	got, err := settled(t.Context(), time.Millisecond, func() (int64, error) {
		calls++
		return sizes[min(calls, len(sizes))-1], nil
	})
	if err != nil || got != 50<<20 {
		t.Errorf("got %d, %v", got, err)
	}
	failing := errors.New("no such process")
	if _, err := settled(t.Context(), time.Millisecond, func() (int64, error) { return 0, failing }); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
}
