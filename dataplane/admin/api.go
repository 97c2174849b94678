package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof" // registers on DefaultServeMux, too, which nothing serves; here a setting turns it on
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/admin/page"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// The addresses where none are configured.
const (
	DefaultAddress        = "127.0.0.1:9901"
	DefaultMetricsAddress = "127.0.0.1:9102"
)

// maxBody bounds the body of a write, in bytes.
const maxBody = 1 << 10

// Options are what the servers get of the process around them.
type Options struct {
	Log     logr.Logger
	State   State
	Level   *telemetry.Level
	Metrics *telemetry.Metrics
	Pprof   func() bool // whether /debug/pprof answers now; nil: never

	Dashboard func() bool // whether the status page answers now; nil: never

	Sockets *listener.Sockets // that were passed to the process; nil: none were
}

// A service answers for the paths of one of the two servers.
type service struct {
	Options
	page page.Page
	gets map[string]func(w http.ResponseWriter, r *http.Request) // by path, to GET and HEAD
	puts map[string]func(w http.ResponseWriter, r *http.Request) // by path, to PUT
}

// NewAdmin returns the server of the admin API.
func NewAdmin(o Options) *Server {
	a := &service{Options: o, page: page.New()}
	state := o.State
	a.gets = map[string]func(http.ResponseWriter, *http.Request){
		"/healthz": a.live,
		"/livez":   a.live,
		"/readyz":  a.ready,

		// The state of the process in figures: version, uptime, readiness, what is configured, open connections.
		"/api/v1/overview": func(w http.ResponseWriter, _ *http.Request) { reply(w, state.Overview()) },
		// {"listeners": […]}: configured and bound addresses, sorted by address.
		"/api/v1/listeners": func(w http.ResponseWriter, _ *http.Request) {
			all := append([]Listener{}, state.Listeners()...)
			slices.SortStableFunc(all, byListener)
			reply(w, map[string]any{"listeners": all})
		},
		// {"services": […]}: with how many of their endpoints can serve, sorted by namespace and name.
		"/api/v1/services": func(w http.ResponseWriter, _ *http.Request) {
			all := append([]Service{}, state.Services()...)
			slices.SortStableFunc(all, byService)
			reply(w, map[string]any{"services": all})
		},
		// {"routes": […]}: what they match and where they lead, sorted by namespace, service and name.
		"/api/v1/routes": func(w http.ResponseWriter, _ *http.Request) {
			all := append([]Route{}, state.Routes()...)
			slices.SortStableFunc(all, byRoute)
			reply(w, map[string]any{"routes": all})
		},
		// {"endpoints": […]}: the live state of each, sorted by service, cluster and address.
		"/api/v1/endpoints": func(w http.ResponseWriter, _ *http.Request) {
			all := append([]Endpoint{}, state.Endpoints()...)
			slices.SortStableFunc(all, byEndpoint)
			reply(w, map[string]any{"endpoints": all})
		},
		// The configuration that serves: where it came from, its hash, why the last reload failed, and what it says.
		"/api/v1/config": func(w http.ResponseWriter, _ *http.Request) { reply(w, state.Config()) },
		// Everything at once, as the status page shows it.
		"/api/v1/status": func(w http.ResponseWriter, _ *http.Request) { reply(w, state.Status()) },
		// The whole configuration as a tree, with digests in place of secrets.
		"/api/v1/snapshot": func(w http.ResponseWriter, _ *http.Request) { reply(w, state.Outline()) },
		// ?method=GET&url=https://…&header=Name:+value&listener=…: what would become of a request.
		"/api/v1/explain": a.explain,
		// {"level": "info"}: what the process log shows.
		"/api/v1/loglevel": func(w http.ResponseWriter, _ *http.Request) { reply(w, logLevel{o.Level.Get()}) },
	}
	a.puts = map[string]func(http.ResponseWriter, *http.Request){
		// {"level": "debug"} changes what the process log shows, until the next start.
		"/api/v1/loglevel": a.setLevel,
	}
	return &Server{
		log: o.Log, setting: "admin.bind_address", fallback: DefaultAddress, role: listener.Admin, sockets: o.Sockets,
		handler: func(boundName string) http.Handler { return guard(boundName, a) },
	}
}

// NewMetrics returns the server of /metrics, /livez and /readyz.
func NewMetrics(o Options) *Server {
	m := &service{Options: o}
	m.Pprof, m.Dashboard = nil, nil
	m.gets = map[string]func(http.ResponseWriter, *http.Request){
		"/livez":   m.live,
		"/readyz":  m.ready,
		"/metrics": o.Metrics.Handler().ServeHTTP,
	}
	return &Server{
		log: o.Log, setting: "metrics.bind_address", fallback: DefaultMetricsAddress, role: listener.Metrics, sockets: o.Sockets,
		handler: func(string) http.Handler { return m },
	}
}

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	get, put := s.gets[r.URL.Path], s.puts[r.URL.Path]
	if r.URL.Path == "/" && s.Dashboard != nil && s.Dashboard() {
		get = s.dashboard
	}
	if get == nil && s.Pprof != nil && s.Pprof() {
		get = profile(r.URL.Path)
	} else {
		// Server.ReadTimeout would end profiles, too: net/http cancels a request when its connection's read times out.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	}
	switch {
	case get == nil:
		problem(w, http.StatusNotFound, "there is no "+r.URL.Path)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		get(w, r)
	case r.Method == http.MethodPut && put != nil:
		put(w, r)
	default:
		allow := "GET, HEAD"
		if put != nil {
			allow += ", PUT"
		}
		w.Header().Set("Allow", allow)
		problem(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s", r.URL.Path, allow))
	}
}

// live says that the process answers.
func (s *service) live(w http.ResponseWriter, _ *http.Request) { text(w, "ok\n") }

// ready says whether the process should get requests: it has a configuration and is not stopping.
func (s *service) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.State.Ready() {
		problem(w, http.StatusServiceUnavailable, "no configuration is being served, or the proxy is stopping")
		return
	}
	text(w, "ok\n")
}

// dashboard answers with the status page.
func (s *service) dashboard(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Security-Policy", s.page.Policy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("X-Frame-Options", "DENY")
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(s.page.HTML)
}

// explain says what would become of a request.
func (s *service) explain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	answer, err := s.State.Explain(Question{
		Method: cmp.Or(q.Get("method"), http.MethodGet), URL: q.Get("url"), Headers: q["header"], Listener: q.Get("listener"),
	})
	if err != nil {
		problem(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	reply(w, answer)
}

type logLevel struct {
	Level string `json:"level"`
}

func (s *service) setLevel(w http.ResponseWriter, r *http.Request) {
	if err := onlyJSON(r); err != nil {
		problem(w, http.StatusUnsupportedMediaType, err.Error())
		return
	}
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	body.DisallowUnknownFields()
	var want logLevel
	if err := body.Decode(&want); err != nil {
		problem(w, http.StatusBadRequest, `the body must be like {"level": "debug"}`)
		return
	}
	if _, err := body.Token(); err != io.EOF {
		problem(w, http.StatusBadRequest, "the body holds more than one value")
		return
	}
	before := s.Level.Get()
	if err := s.Level.Set(want.Level); err != nil {
		problem(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	s.Log.Info("log level changed", "from", before, "to", s.Level.Get(), "client", r.RemoteAddr)
	reply(w, logLevel{s.Level.Get()})
}

// profile returns what serves a path of Go's profiles, nil where it is none.
func profile(path string) func(http.ResponseWriter, *http.Request) {
	name, ok := strings.CutPrefix(path, "/debug/pprof/")
	if !ok {
		if path == "/debug/pprof" {
			return http.RedirectHandler("/debug/pprof/", http.StatusMovedPermanently).ServeHTTP
		}
		return nil
	}
	switch name {
	case "cmdline":
		return pprof.Cmdline
	case "profile":
		return pprof.Profile
	case "symbol":
		return pprof.Symbol
	case "trace":
		return pprof.Trace
	}
	return pprof.Index
}

// text answers 200 with a line of text.
func text(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, s)
}

// reply answers 200 with JSON.
func reply(w http.ResponseWriter, v any) { writeJSON(w, http.StatusOK, "application/json", v) }

// problem answers with an error as RFC 9457 has it.
func problem(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, status, "application/problem+json", struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, detail})
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // a value that JSON cannot say: a mistake of ours
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
