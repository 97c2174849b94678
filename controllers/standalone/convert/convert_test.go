package convert

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

const fixtures = "../../../test/fixtures/config/"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(fixtures, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func convert(t *testing.T, text string, o Options) *Result {
	t.Helper()
	r, problems := Convert("in.yaml", []byte(text), o)
	if len(problems) > 0 {
		t.Fatalf("%s\n%s", (&standalone.InvalidError{Problems: problems}).Error(), text)
	}
	if r.YAML == nil {
		t.Fatalf("there are things left: %+v", r.Left)
	}
	return r
}

// services are those of a text, by their names, as they are written.
func services(t *testing.T, text string) map[string]v1alpha1.ProxyServiceSpec {
	t.Helper()
	documents, problems := standalone.Documents("x.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatalf("%v in\n%s", problems, text)
	}
	out := map[string]v1alpha1.ProxyServiceSpec{}
	for _, d := range documents {
		for _, s := range d.Config.Services {
			if s.Name == "" {
				s.Name = d.Name
			}
			out[s.Name] = s
		}
	}
	return out
}

// portable is a file that says everything that both forms can say.
const portable = `
services:
  - name: shop
    bind_address: '0.0.0.0:8080'
    hosts: [shop.example.com, '*.shop.example.com']
    backends:
      - {address: 'shop-a.internal:3002', weight: 90}
      - {address: '10.0.0.9:3002', role: Backup}
    health_check: {timeout_ms: 800, type: HTTP, path: /healthz, passive: {consecutive_errors: 5}}
    health_path: 'off'
    client_ip: {trusted_proxies: [10.0.0.0/8]}
    retry: {}
    routes:
      - name: api
        matches:
          - path: {type: Prefix, value: /api}
            headers: [{name: X-Beta, type: Exact, value: '1'}, {name: X-Empty, value: ''}]
            methods: [GET, POST]
          - {}
        filters:
          - rewrite: {replace_prefix: /}
          - request_headers: {set: {X-Env: prod, 'on': 'off', X-Odd: "a'b: \"c\" # é ☃ 'x'"}, remove: [X-Debug]}
        timeouts: {request_ms: 5000}
      - name: old
        matches: [{path: {type: Regex, value: '^/v1/(.*)'}}]
        filters: [{redirect: {path: '/api/v2/$1', code: 308}}]
`

// TestThereAndBack: a file that becomes objects and a file again says what it said.
func TestThereAndBack(t *testing.T) {
	for name, text := range map[string]string{"seed": read(t, "seed.yaml"), "portable": portable} {
		t.Run(name, func(t *testing.T) {
			objects := convert(t, text, Options{Namespace: "shop"})
			again := convert(t, string(objects.YAML), Options{})
			if diff := cmp.Diff(services(t, text), services(t, string(again.YAML))); diff != "" {
				t.Errorf("%s\n%s\n%s", diff, objects.YAML, again.YAML)
			}
			if !strings.HasPrefix(string(objects.YAML), "apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata:\n  name: ") {
				t.Errorf("%s", objects.YAML)
			}
			// And a third time: the form is settled.
			once := convert(t, string(again.YAML), Options{Namespace: "shop"})
			if diff := cmp.Diff(string(objects.YAML), string(once.YAML)); diff != "" {
				t.Error(diff)
			}
			if out := convert(t, text, Options{To: File}); !cmp.Equal(services(t, text), services(t, string(out.YAML))) {
				t.Errorf("a file that stays one has changed:\n%s", out.YAML)
			}
		})
	}
}

// TestFullThereAndBack: of the whole schema, what objects cannot say is left out, and the rest survives.
func TestFullThereAndBack(t *testing.T) {
	for _, name := range []string{"full.yaml", "full-cr.yaml"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			full(t, string(text))
		})
	}
}

func full(t *testing.T, text string) {
	t.Helper()
	r, problems := Convert("full.yaml", []byte(text), Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if r.YAML != nil || len(r.Left) == 0 {
		t.Fatalf("nothing is left out: %+v", r)
	}
	for _, p := range r.Left {
		if p.Line == 0 || p.Path == "" || p.Message == "" {
			t.Errorf("%+v has no place", p)
		}
	}
	partial := convert(t, text, Options{Partial: true})
	if n := strings.Count(string(partial.YAML), "left out: "); n+globals(r.Left) != len(r.Left) {
		t.Errorf("%d comments, %d things left", n, len(r.Left))
	}
	want, got := services(t, text), services(t, string(partial.YAML))
	but := []cmp.Option{ // what only one of the forms can say
		cmp.Comparer(func(v1alpha1.BackendService, v1alpha1.BackendService) bool { return true }),
		cmp.Comparer(func(v1alpha1.CertificateSource, v1alpha1.CertificateSource) bool { return true }),
		cmp.Comparer(func(v1alpha1.Reference, v1alpha1.Reference) bool { return true }),
	}
	for name, spec := range want {
		if diff := cmp.Diff(spec, got[name], but...); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func globals(left []standalone.Problem) (n int) {
	for _, p := range left {
		if !strings.HasPrefix(p.Path, "services[") && !strings.HasPrefix(p.Path, "spec.") {
			n++
		}
	}
	return n
}

func TestWhatIsLeft(t *testing.T) {
	object := func(spec string) string {
		return "apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: a, namespace: n}\nspec:\n" + spec
	}
	for _, c := range []struct {
		name, text string
		o          Options
		left       []string // path: a part of the message
		partial    string   // a part of what comes out nevertheless
	}{
		{
			"globals", "admin: {bind_address: 'off'}\nservices: [{name: a, bind_address: '0.0.0.0:80', upstreams: ['h:1']}]\n",
			Options{},
			[]string{"admin: has no place in an object"},
			"upstreams: ['h:1']",
		},
		{
			"globals that stay", "admin: {bind_address: 'off'}\nservices: [{name: a, bind_address: '0.0.0.0:80', upstreams: ['h:1']}]\n",
			Options{To: File},
			nil, "admin:\n  bind_address: 'off'\n",
		},
		{
			"port 0", "services: [{name: a, bind_address: '0.0.0.0:0', upstreams: ['h:1']}]\n",
			Options{},
			[]string{"services[0].bind_address: port must be between"},
			"# left out: services[0].bind_address",
		},
		{
			"certificate files", "services: [{name: a, bind_address: '0.0.0.0:80', upstreams: ['h:1'], tls: true, tls_config: {certificates: [{cert_file: /a, key_file: /b}]}}]\n",
			Options{},
			[]string{"services[0].tls_config.certificates[0]: file paths are only allowed"},
			"    certificates:\n      - {}\n",
		},
		{
			"a Service", object("  bindAddress: 0.0.0.0:80\n  backends: [{service: {name: s, port: http}, weight: 3}]\n"),
			Options{},
			[]string{"spec.backends[0].service: is only allowed in a custom resource"},
			"- service: {}\n        weight: 3\n",
		},
		{
			"a Service that stays", object("  bindAddress: 0.0.0.0:80\n  backends: [{service: {name: s, port: http}, weight: 3}]\n"),
			Options{To: Objects},
			nil, "    - service:\n        name: s\n        port: 'http'\n      weight: 3\n",
		},
		{
			"a Secret", object("  bindAddress: 0.0.0.0:80\n  upstreams: ['h:1']\n  tls: true\n  tlsConfig: {certificates: [{secretRef: {name: s}}]}\n"),
			Options{},
			[]string{"spec.tlsConfig.certificates[0].secretRef: is only allowed in a custom resource"},
			"- secret_ref: {}\n",
		},
		{
			"a class", object("  bindAddress: 0.0.0.0:80\n  upstreams: ['h:1']\n  className: edge\n"),
			Options{},
			[]string{"spec.className: is only allowed in a custom resource"},
			"# a: left out: spec.className: is only allowed",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, problems := Convert("in.yaml", []byte(c.text), c.o)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if len(r.Left) != len(c.left) {
				t.Fatalf("%+v, want %q", r.Left, c.left)
			}
			for i, p := range r.Left {
				if p.Line == 0 || !strings.HasPrefix(p.Path+": "+p.Message, c.left[i]) {
					t.Errorf("%+v, want %s", p, c.left[i])
				}
			}
			if (r.YAML == nil) != (len(c.left) > 0) {
				t.Errorf("%s", r.YAML)
			}
			c.o.Partial = true
			if out := convert(t, c.text, c.o); !strings.Contains(string(out.YAML), c.partial) {
				t.Errorf("%s, want %s", out.YAML, c.partial)
			}
		})
	}
}

// What was left out makes what is left be refused, where it would else mean less than it did.
func TestPartialFailsClosed(t *testing.T) {
	for _, name := range []string{"full.yaml", "full-cr.yaml"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		out := convert(t, string(text), Options{Partial: true})
		if _, problems := Convert("out.yaml", out.YAML, Options{}); len(problems) < 5 {
			t.Errorf("%s: only these are refused: %v", name, problems)
		}
	}
}

func TestNotes(t *testing.T) {
	r := convert(t, "services: [{name: a, bind_address: '0.0.0.0:80', upstreams: ['h:1'], tls: true}]\n", Options{})
	if len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "healthPath") || !strings.Contains(r.Notes[1], "self-signed") {
		t.Errorf("%q", r.Notes)
	}
	r = convert(t, "apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: a, namespace: n}\nspec: {name: b, bindAddress: '0.0.0.0:80', upstreams: ['h:1'], healthPath: 'off'}\n", Options{})
	if len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "called b") || !strings.Contains(r.Notes[1], "no namespaces") {
		t.Errorf("%q", r.Notes)
	}
}

func TestProblems(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "holds no service",
		"services: [{nam: a}]":  "unknown field",
		"services: [{name: a}]": "must be set",
		"a: b: c":               "YAML",
		"admin: {}\n---\nadmin: {bind_address: 'off'}\n---\nadmin: {bind_address: 'off'}\n": "another document",
	} {
		r, problems := Convert("in.yaml", []byte(text), Options{To: File})
		if len(problems) == 0 || !strings.Contains((&standalone.InvalidError{Problems: problems}).Error(), want) {
			t.Errorf("%q: %+v %v, want %s", text, r, problems, want)
		}
	}
}

func TestScalars(t *testing.T) {
	for in, want := range map[string]string{
		"": "''", "a": "a", "/x/y": "/x/y", "off": "'off'", "Yes": "'Yes'", "1": "'1'", "0x1": "'0x1'", "1e3": "'1e3'", "10.0.0.0/8": "'10.0.0.0/8'",
		"~": "'~'", "a b": "'a b'", "it's": "'it''s'", "a\nb": `"a\nb"`, "é": `"é"`, "*": "'*'", "-": "'-'", "a: b": "'a: b'", "<&>\t": `"<&>\t"`,
	} {
		if got := scalar(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got, _ := inline(reflect.ValueOf(intstr.FromInt32(80))); got != "80" {
		t.Error(got)
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(portable)
	f.Add("services: [{name: a, bind_address: '0.0.0.0:0', upstreams: ['h:1'], routes: [{name: \"\\u2028\"}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		for _, to := range []Form{Objects, File} {
			r, problems := Convert("in.yaml", []byte(text), Options{To: to, Partial: true})
			for _, p := range problems {
				if strings.Contains(p.Message, "cannot be written") {
					t.Errorf("%s: %v", text, p)
				}
			}
			if (r == nil) == (len(problems) == 0) {
				t.Error(r, problems)
			}
		}
	})
}
