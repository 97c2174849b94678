package standalone

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/tree"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const fixtures = "../../test/fixtures/config/"

func mustLoad(t *testing.T, o Options) *Loaded {
	t.Helper()
	l, problems := Load(o)
	if l == nil {
		t.Fatalf("%s\n%s", (&InvalidError{Problems: problems}).Error(), Summary(problems))
	}
	return l
}

func lines(problems []Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

func TestLoadSeed(t *testing.T) {
	l := mustLoad(t, Options{Path: fixtures + "seed.yaml"})
	if len(l.Services) != 2 || l.Services[0].Name != "admin-portal" || l.Services[1].Spec.BindAddress != "0.0.0.0:6189" {
		t.Errorf("services: %+v", l.Services)
	}
	h := l.Services[0].Spec.HealthCheck
	if *h.TimeoutMs != 500 || *h.FrequencySecs != 5 || *h.Type != v1alpha1.HealthCheckTCP {
		t.Errorf("health check: %+v", h)
	}
	if got := *l.Services[1].Spec.HealthCheck.TimeoutMs; got != 500 {
		t.Errorf("default timeout: %d", got)
	}
	if len(l.Snapshot.Listeners) != 2 || l.Snapshot.Hash == "" {
		t.Errorf("snapshot: %+v", l.Snapshot)
	}
}

func TestEveryFieldLoads(t *testing.T) {
	l, problems := LoadBytes("full.yaml", []byte(harness.FullConfig(t)), Options{})
	if l == nil {
		t.Fatal(lines(problems))
	}
	for _, s := range l.Settings {
		if s.From != FromFile || !strings.HasPrefix(s.Where, "full.yaml:") {
			t.Errorf("%s comes from %s %s", s.Key, s.From, s.Where)
		}
	}
}

// The two spellings of the whole schema are one configuration.
func TestCamelCaseMeansTheSame(t *testing.T) {
	data := []byte(harness.FullConfig(t))
	words := map[string]bool{}
	s := &shape.Shapes{}
	s.Words(reflect.TypeFor[settings.Config](), words)
	text := string(data)
	changed := 0
	for w := range words {
		if key := syntax.FileKey(w); key != w {
			changed += strings.Count(text, key+":")
			text = strings.ReplaceAll(text, " "+key+":", " "+w+":")
			text = strings.ReplaceAll(text, "{"+key+":", "{"+w+":")
			text = strings.ReplaceAll(text, "\n"+key+":", "\n"+w+":")
		}
	}
	if changed < 20 || strings.Contains(text, "bind_address") {
		t.Fatalf("only %d keys were changed:\n%s", changed, text)
	}
	a, problems := LoadBytes("a.yaml", data, Options{})
	if a == nil {
		t.Fatal(lines(problems))
	}
	b, problems := LoadBytes("b.yaml", []byte(text), Options{})
	if b == nil {
		t.Fatal(lines(problems))
	}
	if a.Snapshot.Hash != b.Snapshot.Hash {
		t.Error(cmp.Diff(a.Services, b.Services))
	}
}

func TestInvalidFixtures(t *testing.T) {
	data, err := os.ReadFile(fixtures + "invalid.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(data), "\n---\n") {
		_, expect, _ := strings.Cut(doc, "# expect: ")
		expect, _, _ = strings.Cut(expect, "\n")
		l, problems := LoadBytes("invalid.yaml", []byte(doc), Options{})
		if l != nil || len(problems) != 1 || !strings.Contains(problems[0].String(), expect) {
			t.Errorf("want one problem with %q, got %q", expect, lines(problems))
		}
	}
	l, problems := LoadBytes("invalid.yaml", data, Options{})
	if want := strings.Count(string(data), "# expect:"); l != nil || len(problems) != want {
		t.Errorf("want %d problems of all documents together, got %q", want, lines(problems))
	}
}

const head = "services:\n  - name: a\n    bind_address: '127.0.0.1:80'\n    upstreams: ['10.0.0.1:80']\n"

func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"the documented example": {
			head + "  - name: b\n    bind_adress: '127.0.0.1:81'\n    upstreams: ['10.0.0.1:80']\n    health_check:\n      timeout_ms: 0\n",
			[]string{
				"f:6:5: services[1].bind_adress: unknown field; did you mean `bind_address`?",
				"f:9:7: services[1].health_check.timeout_ms: must be greater than or equal to 1",
			},
		},
		"nothing at all":        {"", []string{"f:1:1: services: must hold at least one service"}},
		"comments alone":        {"# nothing\n", []string{"f:1:1: services: must hold at least one service"}},
		"no mapping":            {"- a\n", []string{"f:1:1: must be an object, with `key: value` lines"}},
		"broken YAML":           {"services: [1, 2\n", []string{"f:1:11: YAML: sequence end token ']' not found"}},
		"not text":              {"a: \xff\n", []string{"f:1:4: the file is not UTF-8 text"}},
		"NUL":                   {"a: b\nc: \x00\n", []string{"f:2:4: the file is not UTF-8 text"}},
		"unknown top":           {head + "servces: []\n", []string{"f:5:1: servces: unknown field; did you mean `services`?"}},
		"unknown without hint":  {head + "    qqqqqqqqqqqq: 1\n", []string{"f:5:5: services[0].qqqqqqqqqqqq: unknown field"}},
		"not built yet":         {head + "    hedging: {mode: None}\n", []string{"f:5:5: services[0].hedging: unknown field"}},
		"duplicate key":         {head + "    tls: false\n    tls: false\n", []string{"f:6:5: services[0].tls: duplicate key; the first is at 5:5"}},
		"both spellings":        {head + "    bindAddress: '127.0.0.1:81'\n", []string{"f:5:5: services[0].bindAddress: is another spelling of `bind_address`, which is set at 3:5; keep one of them"}},
		"list for object":       {head + "    health_check: [1]\n", []string{"f:5:5: services[0].health_check: must be an object, with `key: value` lines"}},
		"scalar for list":       {head + "    hosts: a.example.com\n", []string{"f:5:5: services[0].hosts: must be a list, with a `- ` before each item"}},
		"upstreams no list":     {"services:\n  - name: a\n    bind_address: ':80'\n    upstreams: '10.0.0.1:80'\n", []string{"f:4:5: services[0].upstreams: must be a list, with a `- ` before each item"}},
		"number for string":     {"services:\n  - name: 5\n    bind_address: ':80'\n    upstreams: ['10.0.0.1:80']\n", []string{"f:2:5: services[0].name: must be a string; write it with quotes"}},
		"object for string":     {"services:\n  - name: {a: b}\n    bind_address: ':80'\n    upstreams: ['10.0.0.1:80']\n", []string{"f:2:5: services[0].name: must be a string"}},
		"off is a word":         {head + "    tls: off\n", []string{"f:5:5: services[0].tls: must be true or false"}},
		"string for bool":       {head + "    tls: 'false'\n", []string{"f:5:5: services[0].tls: must be true or false"}},
		"quoted number":         {head + "    timeouts: {idle_secs: '5'}\n", []string{"f:5:16: services[0].timeouts.idle_secs: must be an integer; write it without quotes"}},
		"word for number":       {head + "    timeouts: {idle_secs: 5s}\n", []string{"f:5:16: services[0].timeouts.idle_secs: must be an integer, in decimal digits"}},
		"fraction":              {head + "    timeouts: {idle_secs: 1.5}\n", []string{"f:5:16: services[0].timeouts.idle_secs: must be an integer, in decimal digits"}},
		"octal":                 {head + "    timeouts: {idle_secs: 010}\n", []string{"f:5:16: services[0].timeouts.idle_secs: must be an integer, in decimal digits"}},
		"beyond 64 bits":        {head + "    timeouts: {idle_secs: 99999999999999999999}\n", []string{"f:5:16: services[0].timeouts.idle_secs: must be less than or equal to 86400"}},
		"negative":              {head + "    timeouts: {idle_secs: -1}\n", []string{"f:5:16: services[0].timeouts.idle_secs: must be greater than or equal to 1"}},
		"enum":                  {head + "    health_check: {type: Tpc}\n", []string{"f:5:20: services[0].health_check.type: must be one of `TCP`, `HTTP`, `GRPC`, `Disabled`; did you mean `TCP`?"}},
		"empty item":            {head + "    hosts: [a.example.com, null]\n", []string{"f:5:28: services[0].hosts[1]: must not be empty"}},
		"auth without lines":    {head + "    auth:\n", []string{"f:5:5: services[0].auth: must not be empty: leave it out if everybody may come"}},
		"access without lines":  {head + "    access: ~\n", []string{"f:5:5: services[0].access: must not be empty: leave it out if everybody may come"}},
		"route without auth":    {head + "    routes: [{name: r, matches: [{path: {value: /}}], auth: null}]\n", []string{"f:5:55: services[0].routes[0].auth: must not be empty: leave it out if everybody may come"}},
		"empty header value":    {head + "    routes: [{name: r, filters: [{request_headers: {set: {X-A: }}}]}]\n", []string{"f:5:59: services[0].routes[0].filters[0].request_headers.set[X-A]: must be a string; write '' for an empty one"}},
		"secrets stay inside":   {head + "    routes: [{name: r, filters: [{request_headers: {set: {Authorization: 123456}}}]}]\n", []string{"f:5:59: services[0].routes[0].filters[0].request_headers.set[Authorization]: must be a string; write it with quotes"}},
		"header key stays":      {head + "    routes: [{name: r, filters: [{request_headers: {set: {requestHeaders: ' a'}}}]}]\n", []string{"f:5:59: services[0].routes[0].filters[0].request_headers.set[requestHeaders]: must not begin or end with a space"}},
		"fields in sentences":   {head + "    routes: [{name: r, filters: [{rewrite: {}}]}]\n", []string{"f:5:35: services[0].routes[0].filters[0].rewrite: set `replace_prefix`, `path`, `regex` or `host`"}},
		"unknown filter":        {head + "    routes: [{name: r, filters: [{hedge: {}}]}]\n", []string{"f:5:35: services[0].routes[0].filters[0].hedge: unknown field"}},
		"tag":                   {head + "    hosts: [!!binary aGk=]\n", []string{"f:5:13: services[0].hosts[0]: the tag `!!binary` has no meaning here"}},
		"unknown anchor":        {head + "    hosts: *h\n", []string{"f:5:12: services[0].hosts: there is no anchor `&h` before this"}},
		"anchor comes too late": {head + "    hosts: *h\n    retry: {codes: &h [502]}\n", []string{"f:5:12: services[0].hosts: there is no anchor `&h` before this"}},
		"wrong kind": {"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {bindAddress: ':80', upstreams: ['10.0.0.1:80']}\n", []string{
			"f:1:1: apiVersion: must be `pingora-proxy.dev/v1alpha1`; other objects have no meaning here",
			"f:2:1: kind: must be `ProxyService`; other objects have no meaning here",
		}},
		"port 0 in an object": {"apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: x}\nspec: {bindAddress: ':0', upstreams: ['10.0.0.1:80']}\n", []string{
			"f:4:8: spec.bindAddress: port must be between 1 and 65535",
		}},
		"snake case in an object": {"apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: x}\nspec: {bind_address: ':80', upstreams: ['10.0.0.1:80']}\n", []string{
			"f:4:8: spec.bind_address: unknown field \"spec.bind_address\"; did you mean `bindAddress`?",
		}},
		"same name": {head + "---\n" + strings.Replace(head, ":80'\n", ":81'\n", 1), []string{
			"f:7:5: services[0].name: duplicate service name `a`; the first is at f:2:5",
		}},
		"globals twice": {head + "metrics: {bind_address: off}\n---\nmetrics: {bind_address: off}\n", []string{
			"f:7:1: metrics: is set at f:5:1 already; keep one of them",
		}},
		"overlap": {head + "  - name: b\n    bind_address: '0.0.0.0:80'\n    upstreams: ['10.0.0.1:80']\n", []string{
			"f:6:5: services[1].bind_address: `0.0.0.0:80` overlaps `127.0.0.1:80` of service `a` (f:3:5)",
		}},
		"metrics address": {head + "metrics: {bind_address: '127.0.0.1:80'}\n", []string{
			"f:3:5: services[0].bind_address: `127.0.0.1:80` is taken by the metrics address `127.0.0.1:80` (f:5:11)",
		}},
		"default admin address": {strings.Replace(head, ":80'\n", ":9901'\n", 1), []string{
			"f:3:5: services[0].bind_address: `127.0.0.1:9901` is taken by the admin address `127.0.0.1:9901`",
		}},
		"admin and metrics": {head + "admin: {bind_address: ':7'}\nmetrics: {bind_address: '127.0.0.1:7'}\n", []string{
			"f:6:11: metrics.bind_address: is taken by the admin API already; choose another port",
		}},
		"conflicts beside other faults": {head + "    tlss: false\n  - name: b\n    bind_address: '0.0.0.0:81'\n    upstreams: ['10.0.0.1:80']\n  - name: c\n    bind_address: '127.0.0.1:81'\n    upstreams: ['10.0.0.1:80']\n", []string{
			"f:5:5: services[0].tlss: unknown field; did you mean `tls`?",
			"f:10:5: services[2].bind_address: `127.0.0.1:81` overlaps `0.0.0.0:81` of service `b` (f:7:5)",
		}},
		"same requests": {head + "  - name: b\n    bind_address: '127.0.0.1:80'\n    upstreams: ['10.0.0.1:80']\n", []string{
			"f:5:5: services[1]: takes the same requests (host `*`) on `127.0.0.1:80` as service `a` (f:2:5)",
		}},
		"identical routes": {head + "    routes:\n      - {name: r, matches: [{path: {value: /x}}]}\n      - {name: s, matches: [{path: {value: /y}}, {path: {value: /x/}}]}\n", []string{
			"f:7:50: services[0].routes[1].matches[1]: takes the same requests as route `r` of service `a` (f:6:29)",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, problems := LoadBytes("f", []byte(c.file), Options{})
			if l != nil {
				t.Fatal("was accepted")
			}
			if diff := cmp.Diff(c.want, lines(problems)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	for name, file := range map[string]string{
		"empty objects":        head + "    health_check:\n    timeouts: {}\nadmin:\n",
		"aliases":              head + "    hosts: &h [a.example.com]\n    routes: [{name: r, hosts: *h, matches: [{path: {value: /a}}]}]\n",
		"merge keys":           "services:\n  - &a\n    name: a\n    bind_address: '127.0.0.1:80'\n    upstreams: ['10.0.0.1:80']\n  - <<: *a\n    name: b\n    bind_address: '127.0.0.1:81'\n",
		"byte order mark":      "\ufeff" + head,
		"Windows lines":        strings.ReplaceAll(head, "\n", "\r\n"),
		"documents":            "---\n" + head + "---\n# nothing\n---\nadmin: {bind_address: off}\n",
		"no substitution":      head + "    routes: [{name: r, filters: [{request_headers: {set: {X-A: '${HOME}'}}}]}]\n",
		"tagged string":        head + "    routes: [{name: r, filters: [{request_headers: {set: {X-A: !!str 1}}}]}]\n",
		"virtual hosts":        head + "    hosts: [a.example.com]\n  - {name: b, bind_address: '127.0.0.1:80', hosts: [b.example.com], upstreams: ['10.0.0.1:80']}\n",
		"object with metadata": "apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: x, namespace: y, uid: z, generation: 3}\nspec: {bindAddress: ':80', upstreams: ['10.0.0.1:80']}\nstatus: {observedGeneration: 3}\n",
		"off":                  head + "    health_path: off\nadmin: {bind_address: off}\nmetrics: {bind_address: off}\naccess_log: {path: off}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if l, problems := LoadBytes("f", []byte(file), Options{}); l == nil {
				t.Error(lines(problems))
			}
		})
	}
}

func TestNoSubstitution(t *testing.T) {
	t.Setenv("SECRET", "leaked")
	l, problems := LoadBytes("f", []byte(head+"    routes: [{name: r, filters: [{request_headers: {set: {X-A: '${SECRET}'}}}]}]\n"), Options{Environment: os.LookupEnv})
	if l == nil {
		t.Fatal(lines(problems))
	}
	if got := l.Services[0].Spec.Routes[0].Filters[0].RequestHeaders.Set["X-A"]; got != "${SECRET}" {
		t.Errorf("got %q", got)
	}
}

func TestMergeKeysDoNotReplace(t *testing.T) {
	l, problems := LoadBytes("f", []byte("services:\n  - &a\n    name: a\n    bind_address: ':80'\n    upstreams: ['10.0.0.1:80']\n  - name: b\n    <<: *a\n    bind_address: ':81'\n"), Options{})
	if l == nil {
		t.Fatal(lines(problems))
	}
	if b := l.Services[1]; b.Name != "b" || b.Spec.BindAddress != ":81" || b.Spec.Upstreams[0] != "10.0.0.1:80" {
		t.Errorf("%+v", b)
	}
}

func TestBounds(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+p+",", 10), ",") + "]\n"
	}
	wide := "services: [" + strings.Repeat("*s, ", 4000) + "]\n"
	for name, c := range map[string]struct{ file, want string }{
		"size":              {strings.Repeat("#", tree.MaxFileBytes+1), "at most 2097152 are read"},
		"brackets":          {"a: " + strings.Repeat("[", 10_000), "nested more than 64 levels"},
		"dashes":            {strings.Repeat("- ", 10_000) + "a", "nested more than 64 levels"},
		"question marks":    {strings.Repeat("? ", 1000) + "a", ""},
		"anchors":           {strings.Repeat("&a ", 10_000), "nested more than 64 levels"},
		"keys":              {manyKeys(20_000), "more than 2000 keys"},
		"documents":         {strings.Repeat("---\na: 1\n", 5000), "more than 4096 documents"},
		"alias bomb":        {bomb + "services: *j\n", "unknown field"},
		"alias bomb inside": {"x: &r [" + strings.Repeat("{name: r, hosts: [a]}, ", 500) + "]\ny: &s {name: a, routes: *r}\n" + wide, "aliases make the document too large"},
		"services":          {"x: &s {}\nservices: [" + strings.Repeat("*s, ", 20000) + "]\n", "services: must have at most 16384 items, has 20000"},
		"circle":            {"services: &a [*a]\n", "services[0]: must be an object"},
	} {
		t.Run(name, func(t *testing.T) {
			l, problems := LoadBytes("f", []byte(c.file), Options{})
			if l != nil || !strings.Contains(strings.Join(lines(problems), "\n"), c.want) {
				t.Errorf("want %q, got %.2000q", c.want, lines(problems))
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + ": 1\n")
	}
	return b.String()
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, problems := Load(Options{Path: dir}); len(problems) != 1 || !strings.Contains(problems[0].String(), "holds no *.yaml file") {
		t.Errorf("an empty folder: %q", lines(problems))
	}
	write("b.yaml", strings.ReplaceAll(strings.Replace(head, ":80'\n", ":81'\n", 1), "name: a", "name: b"))
	write("a.yaml", "admin: {bind_address: off}\n"+head)
	write("ignored.txt", "{{{")
	write(".hidden.yaml", "{{{")
	l := mustLoad(t, Options{Path: dir})
	if len(l.Services) != 2 || l.Services[0].Name != "a" || l.Services[1].Name != "b" || len(l.Files) != 2 {
		t.Errorf("services %+v of %v", l.Services, l.Files)
	}
	write("b.yaml", "admin: {bind_address: off}\n"+head)
	_, problems := Load(Options{Path: dir})
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	want := []string{
		b + ":1:1: admin: is set at " + a + ":1:1 already; keep one of them",
		b + ":3:5: services[0].name: duplicate service name `a`; the first is at " + a + ":3:5",
	}
	if diff := cmp.Diff(want, lines(problems)); diff != "" {
		t.Error(diff)
	}
}

func TestMissingFile(t *testing.T) {
	_, problems := Load(Options{Path: filepath.Join(t.TempDir(), "none.yaml")})
	if len(problems) != 1 || !strings.HasSuffix(problems[0].String(), "none.yaml: there is no such file") {
		t.Error(lines(problems))
	}
}

func TestPrecedence(t *testing.T) {
	file := []byte(head + "limits: {max_headers: 99, max_connections: 1000}\n")
	env := map[string]string{
		"PINGORA_LIMITS_MAX_HEADERS": "100", "PINGORA_ADMIN_PPROF": "true", "WORKER_THREADS": "3", "PINGORA_METRICS_BIND_ADDRESS": "",
		"PINGORA_ACCESS_LOG_PATH": "stderr",
	}
	o := Options{
		Environment: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Flags:       map[string]Flag{"access_log.path": {Name: "--access-log", Value: "off"}},
	}
	l, problems := LoadBytes("f", file, o)
	if l == nil {
		t.Fatal(lines(problems))
	}
	for _, want := range []Setting{
		{"limits.max_headers", "PINGORA_LIMITS_MAX_HEADERS", "100", FromEnvironment, "PINGORA_LIMITS_MAX_HEADERS"},
		{"limits.max_connections", "PINGORA_LIMITS_MAX_CONNECTIONS", "1000", FromFile, "f:5:27"},
		{"limits.worker_threads", "PINGORA_LIMITS_WORKER_THREADS", "3", FromEnvironment, "WORKER_THREADS"},
		{"limits.max_header_bytes", "PINGORA_LIMITS_MAX_HEADER_BYTES", "65536", FromDefault, ""},
		{"access_log.path", "PINGORA_ACCESS_LOG_PATH", "off", FromFlag, "--access-log"},
		{"metrics.bind_address", "PINGORA_METRICS_BIND_ADDRESS", settings.DefaultMetricsAddress, FromDefault, ""},
		{"admin.pprof", "PINGORA_ADMIN_PPROF", "true", FromEnvironment, "PINGORA_ADMIN_PPROF"},
	} {
		if got := l.Setting(want.Key); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if l.Snapshot.Limits.MaxHeaders != 100 || *l.Globals.Limits.WorkerThreads != 3 {
		t.Errorf("%+v", l.Snapshot.Limits)
	}

	env["PINGORA_LIMITS_WORKER_THREADS"] = "4"
	if l, _ = LoadBytes("f", file, o); l.Setting("limits.worker_threads").Value != "4" {
		t.Error("the general variable must win")
	}
	env["PINGORA_LIMITS_MAX_HEADERS"] = "0"
	env["PINGORA_ADMIN_PPROF"] = "yes"
	env["WORKER_THREADS"] = "many" // hidden behind the general one
	o.Flags["limits.max_connections"] = Flag{Name: "--max-connections", Value: "x"}
	o.Flags["limits.nonsense"] = Flag{Name: "--nonsense", Value: "x"}
	_, problems = LoadBytes("f", file, o)
	want := []string{
		"command line: --max-connections: must be an integer, in decimal digits",
		"command line: --nonsense: there is no setting `limits.nonsense`",
		"environment: PINGORA_ADMIN_PPROF: must be true or false",
		"environment: PINGORA_LIMITS_MAX_HEADERS: must be greater than or equal to 8",
	}
	if diff := cmp.Diff(want, lines(problems)); diff != "" {
		t.Error(diff)
	}
}

func TestEveryGlobalHasItsVariable(t *testing.T) {
	s := &shape.Shapes{}
	var g settings.Globals
	for _, f := range s.Leaves(reflect.ValueOf(&g).Elem()) {
		env := func(name string) (string, bool) { return "7", name == f.Variable() }
		l, problems := LoadBytes("f", []byte(head), Options{Environment: env})
		reached := l != nil && l.Setting(f.Key).From == FromEnvironment
		for _, p := range problems {
			reached = reached || p.File == "environment" && p.Path == f.Variable()
		}
		if !reached {
			t.Errorf("%s has no effect: %q", f.Variable(), lines(problems))
		}
	}
}

func TestServicesOfFlags(t *testing.T) {
	l := mustLoad(t, Options{Services: []v1alpha1.ProxyServiceSpec{{Name: "default", BindAddress: ":8080", Upstreams: []string{"127.0.0.1:3002"}}}})
	if l.Snapshot.Listeners[0].Address != "[::]:8080" {
		t.Errorf("%+v", l.Snapshot.Listeners[0])
	}
	_, problems := Load(Options{Services: []v1alpha1.ProxyServiceSpec{{Name: "default", BindAddress: "8080", Upstreams: []string{"x"}}}})
	want := []string{
		"command line: --listen: must be an IP address and a port, such as `0.0.0.0:8080` or `[::1]:8080`",
		"command line: --upstream: must be `host:port`, such as `10.0.0.9:3002` or `shop.internal:3002`",
	}
	if diff := cmp.Diff(want, lines(problems)); diff != "" {
		t.Error(diff)
	}
}

func TestReport(t *testing.T) {
	_, problems := LoadBytes("f", []byte(head+"    tlss: false\n"), Options{})
	got, err := json.Marshal(NewReport(problems))
	want := `{"valid":false,"problems":[{"file":"f","line":5,"column":5,"path":"services[0].tlss","message":"unknown field; did you mean ` + "`tls`" + `?"}]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v)", got, err)
	}
	if got, _ := json.Marshal(NewReport(nil)); string(got) != `{"valid":true,"problems":[]}` {
		t.Errorf("got %s", got)
	}
	if got := (&InvalidError{Problems: problems}).Error(); !strings.HasSuffix(got, "did you mean `tls`?\ninvalid: 1 problem") {
		t.Errorf("got %s", got)
	}
}
