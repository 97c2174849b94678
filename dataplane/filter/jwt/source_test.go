package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func remote(url string) Config {
	return Config{Owner: "shop", Providers: []Provider{{Name: "corp", Issuer: issuer, URL: url, Forward: true, Leeway: 30 * time.Second}}}
}

// A provider's server of keys, without a network: time stands still while it answers.
type keyServer struct {
	mu     sync.Mutex
	keys   []byte
	fail   bool
	header http.Header
	delay  time.Duration
	asked  []time.Time
}

func (s *keyServer) serve(keys []byte, fail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.fail = keys, fail
}

func (s *keyServer) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	keys, fail, delay := s.keys, s.fail, s.delay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if fail {
		return nil, errors.New("no route to host")
	}
	return &http.Response{StatusCode: http.StatusOK, Header: s.header, Body: io.NopCloser(strings.NewReader(string(keys))), Request: r}, nil
}

func TestBeforeTheFirstKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, "k", "EdDSA")
		server := &keyServer{keys: setOf(k), delay: time.Second}
		f, _ := start(t, remote("https://id/keys"), server)
		begun := time.Now()
		if got := said(ask(f, bearer(k.token(t, nil)))); got != "" || time.Since(begun) != time.Second {
			t.Errorf("the first request: %q after %v", got, time.Since(begun))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, "k", "EdDSA")
		server := &keyServer{keys: setOf(k), delay: 3 * time.Second}
		f, m := start(t, remote("https://id/keys"), server)
		x := ask(f, bearer(k.token(t, nil)))
		if got := said(x); got != "503 auth_unavailable" {
			t.Errorf("a provider that is slow: %q", got)
		}
		if ask(f); m.succeeded() != 0 {
			t.Error("counted before it came")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := said(ask(f, bearer(k.token(t, nil)))); got != "" || m.succeeded() != 1 {
			t.Errorf("when it has answered: %q, %d refreshes", got, m.succeeded())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, "k", "EdDSA")
		server := &keyServer{fail: true}
		f, m := start(t, remote("https://id/keys"), server)
		synctest.Wait()
		begun := time.Now()
		if got := said(ask(f, bearer(k.token(t, nil)))); got != "503 auth_unavailable" || time.Since(begun) != 0 {
			t.Errorf("a provider that is away: %q after %v", got, time.Since(begun))
		}
		if got := said(ask(f, bearer("x"))); got != "401 jwt_invalid" {
			t.Errorf("what is no token: %q", got)
		}
		time.Sleep(10 * time.Minute)
		if n := m.failed(); n < 20 || n > 60 {
			t.Errorf("%d tries in 10 minutes", n)
		}
		times := server.times()
		if first := times[1].Sub(times[0]); first < time.Second/2 || first > time.Second {
			t.Errorf("the second try comes after %v", first)
		}
		server.serve(setOf(k), false)
		time.Sleep(maxBackOff)
		synctest.Wait()
		if got := said(ask(f, bearer(k.token(t, nil)))); got != "" {
			t.Errorf("when it is back: %q", got)
		}
	})
}

func TestWithoutAWorld(t *testing.T) {
	f, err := remote("https://id/keys").New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if got := said(ask(f, bearer(newKey(t, "k", "EdDSA").token(t, nil)))); got != "503 auth_unavailable" {
		t.Errorf("%q", got)
	}
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, next := newKey(t, "k", "EdDSA"), newKey(t, "next", "ES256")
		server := &keyServer{keys: setOf(k), delay: 50 * time.Millisecond}
		f, _ := start(t, remote("https://id/keys"), server)
		old := k.token(t, nil)
		if got := said(ask(f, bearer(old))); got != "" {
			t.Fatal(got)
		}
		time.Sleep(200 * time.Millisecond)
		// The provider signs with a key that it has only just published.
		server.serve(setOf(k, next), false)
		var refused atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			token := next.token(t, nil)
			all.Go(func() {
				if said(ask(f, bearer(token))) != "" {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if n := len(server.times()); refused.Load() != 0 || n != 2 {
			t.Errorf("%d requests refused, %d fetches", refused.Load(), n)
		}
		if got := said(ask(f, bearer(old))); got != "" {
			t.Errorf("the older key: %q", got)
		}
		// It takes the first key back: what is known by it is not believed any more.
		server.serve(setOf(next), false)
		time.Sleep(usualAge)
		synctest.Wait()
		if got := said(ask(f, bearer(old))); got != "401 jwt_invalid" {
			t.Errorf("a key that is gone: %q", got)
		}
		if got := said(ask(f, bearer(next.token(t, nil)))); got != "" {
			t.Errorf("the newer key: %q", got)
		}
	})
}

// A key without a name cannot be missed by name.
func TestRotationWithoutNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, next := newKey(t, "", "EdDSA"), newKey(t, "", "EdDSA")
		server := &keyServer{keys: setOf(k)}
		f, _ := start(t, remote("https://id/keys"), server)
		if got := said(ask(f, bearer(k.token(t, nil)))); got != "" {
			t.Fatal(got)
		}
		server.serve(setOf(next), false)
		if got := said(ask(f, bearer(next.token(t, nil)))); got != "" {
			t.Errorf("%q", got)
		}
	})
}

func TestUnknownKeysAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, evil := newKey(t, "k", "EdDSA"), newKey(t, "evil", "EdDSA")
		server := &keyServer{keys: setOf(k)}
		f, _ := start(t, remote("https://id/keys"), server)
		begun := time.Now()
		for i := range 200 {
			evil.id = fmt.Sprint(i)
			if got := said(ask(f, bearer(evil.token(t, nil)))); got != "401 jwt_invalid" {
				t.Fatalf("%d: %q", i, got)
			}
		}
		times := server.times()
		if len(times) > earlyBurst+2 {
			t.Errorf("%d fetches in %v", len(times), time.Since(begun))
		}
		for i := range times[1:] {
			if d := times[i+1].Sub(times[i]); d < spacing {
				t.Errorf("two fetches within %v", d)
			}
		}
		time.Sleep(earlyInterval)
		n := len(server.times())
		ask(f, bearer(evil.token(t, dict{"exp": 1})))
		if time.Sleep(spacing); len(server.times()) != n {
			t.Error("a token that is too old has the keys fetched")
		}
		k2 := newKey(t, "k2", "EdDSA")
		server.serve(setOf(k, k2), false)
		if got := said(ask(f, bearer(k2.token(t, nil)))); got != "" {
			t.Errorf("after a while: %q", got)
		}
	})
}

// Nobody knows whether a key is good that no fetch can bring.
func TestUnknownKeyWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, next := newKey(t, "k", "EdDSA"), newKey(t, "next", "EdDSA")
		server := &keyServer{keys: setOf(k)}
		f, _ := start(t, remote("https://id/keys"), server)
		ask(f, bearer(k.token(t, nil)))
		server.serve(nil, true)
		if got := said(ask(f, bearer(next.token(t, nil)))); got != "503 auth_unavailable" {
			t.Errorf("%q", got)
		}
		if got := said(ask(f, bearer(k.token(t, nil)))); got != "" {
			t.Errorf("the key that is known: %q", got)
		}
	})
}

func TestLastKeysServeOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, "k", "EdDSA")
		server := &keyServer{keys: setOf(k), header: http.Header{"Cache-Control": {"public, max-age=3600"}}}
		f, m := start(t, remote("https://id/keys"), server)
		far := time.Now().Add(100 * time.Hour).Unix()
		token := k.token(t, dict{"exp": far})
		if got := said(ask(f, bearer(token))); got != "" {
			t.Fatal(got)
		}
		time.Sleep(59 * time.Minute)
		if times := server.times(); len(times) != 2 || times[1].Sub(times[0]) < 48*time.Minute {
			t.Fatalf("%v", times)
		}
		last := server.times()[1]
		for _, bad := range []string{"", `{"keys":[]}`, "{", strings.Repeat(" ", maxSet+1)} {
			server.serve([]byte(bad), bad == "")
			fails := m.failed()
			for m.failed() == fails {
				time.Sleep(time.Minute)
			}
		}
		server.serve(nil, true)
		until := f.providers[issuer].source.set.Load().until
		if d := until.Sub(last); d < 24*time.Hour+59*time.Minute || d > 26*time.Hour {
			t.Errorf("the keys serve for %v", d)
		}
		time.Sleep(time.Until(until) - time.Minute)
		if got := said(ask(f, bearer(token))); got != "" {
			t.Errorf("after a day: %q", got)
		}
		time.Sleep(time.Minute)
		if got := said(ask(f, bearer(token))); got != "503 auth_unavailable" {
			t.Errorf("after more than a day: %q", got)
		}
	})
}

func TestAgeOf(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": usualAge, "public": usualAge, "max-age=600": 10 * time.Minute, "private, MAX-AGE=\"600\", x": 10 * time.Minute, "max-age=1": minAge,
		"max-age=99999999": maxAge, "max-age=-1": usualAge, "max-age=99999999999999999999": usualAge, "no-cache, max-age=600": minAge, "no-store": minAge, "max-age=x": usualAge,
	} {
		if got := ageOf(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// DNS is asked for a name with a dot at its end, the server for the name without it, also behind a redirection to itself.
func TestAbsoluteNames(t *testing.T) {
	k := newKey(t, "k", "EdDSA")
	var hosts []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host+" "+r.TLS.ServerName)
		if r.URL.Path == "/" {
			http.Redirect(w, r, "https://example.com:1443/keys", http.StatusFound)
			return
		}
		_, _ = w.Write(setOf(k))
	}))
	defer server.Close()
	client := server.Client()
	transport := client.Transport.(*http.Transport)
	var asked []string
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		asked = append(asked, address)
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	s := newSource(Provider{Name: "corp", URL: "https://example.com.:1443/"}, filter.Env{Fetch: client})
	if _, _, err := s.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"example.com:1443 example.com", "example.com:1443 example.com"}, hosts); diff != "" {
		t.Error(diff)
	}
	for _, a := range asked {
		if a != "example.com.:1443" {
			t.Errorf("%s is asked for", a)
		}
	}
	client.CloseIdleConnections()
}

// A real server: redirections, sizes, and errors that tell no secret.
func TestFetch(t *testing.T) {
	k := newKey(t, "k", "EdDSA")
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") != "pingora-proxy" || !strings.Contains(r.Header.Get("Accept"), "jwk-set") {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write(setOf(k))
	})
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		to := "/keys"
		if n := r.PathValue("n"); n != "0" {
			to = "/hop/" + string(n[0]-1)
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	mux.HandleFunc("/to/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(append(setOf(k), strings.Repeat(" ", maxSet)...))
	})
	mux.HandleFunc("/201", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(setOf(k))
	})
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	for name, test := range map[string]struct{ url, want string }{
		"plain":              {plain.URL + "/keys", ""},
		"TLS":                {secure.URL + "/keys", ""},
		"some redirections":  {plain.URL + "/hop/2", ""},
		"many redirections":  {plain.URL + "/hop/3", "more than 3 redirections"},
		"to a file":          {plain.URL + "/to/?file:///etc/passwd", "no http or https URL"},
		"from https to http": {secure.URL + "/to/?" + plain.URL + "/keys", "a redirection from https to http"},
		"with a user":        {plain.URL + "/to/?http://canary-secret@127.0.0.1/", "no http or https URL"},
		"status":             {plain.URL + "/nothing?canary-secret", "the answer is 404"},
		"created":            {plain.URL + "/201", "the answer is 201"},
		"too long":           {plain.URL + "/long", "more than 1048576 bytes"},
		"nobody there":       {"http://127.0.0.1:1/?canary-secret", "connection refused"},
	} {
		s := newSource(Provider{Name: "corp", URL: test.url}, filter.Env{Fetch: secure.Client()})
		keys, age, err := s.fetch(t.Context())
		switch {
		case test.want == "":
			if err != nil || len(keys) != 1 || age != usualAge {
				t.Errorf("%s: %d keys, %v, %v", name, len(keys), age, err)
			}
		case err == nil || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v; want %q", name, err, test.want)
		case strings.Contains(err.Error(), "canary-secret"):
			t.Errorf("%s: a secret is told: %v", name, err)
		}
	}
	secure.Client().CloseIdleConnections()
}

func TestLogsTellNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var logged strings.Builder
		log := funcr.New(func(prefix, args string) {
			mu.Lock()
			defer mu.Unlock()
			logged.WriteString(prefix + args + "\n")
		}, funcr.Options{Verbosity: 9})
		k := newKey(t, "k", "EdDSA")
		server := &keyServer{keys: set(k.jwk(), dict{"kty": "oct", "k": "canary-secret"}), header: http.Header{}}
		s := newSource(Provider{Name: "corp", URL: "https://id/?canary-secret"}, filter.Env{Log: log, Fetch: &http.Client{Transport: server}})
		var running sync.WaitGroup
		ctx := t.Context()
		running.Go(func() {
			keys, age, err := s.fetch(ctx)
			s.end(keys, age, err)
			server.serve(nil, true)
			if _, _, err := s.fetch(ctx); err != nil {
				log.Info(err.Error())
			}
		})
		running.Wait()
		mu.Lock()
		defer mu.Unlock()
		if out := logged.String(); strings.Contains(out, "canary") || !strings.Contains(out, "symmetric") || !strings.Contains(out, "no route") {
			t.Errorf("%s", out)
		}
	})
}
