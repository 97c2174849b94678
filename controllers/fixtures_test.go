package controllers_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const fixtures = "../test/fixtures/config/"

// A refusal is an object that must be refused, at a field, with words.
type refusal struct{ document, field, words string }

// fixture reads the documents of invalid.yaml. Its words begin with the field where they name one.
func refusedFixtures(t *testing.T) map[string]refusal {
	t.Helper()
	text, err := os.ReadFile(fixtures + "invalid.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]refusal{}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		expect := regexp.MustCompile(`(?m)^# expect: (.*)$`).FindStringSubmatch(document)
		name := regexp.MustCompile(`metadata: \{name: (.*)\}`).FindStringSubmatch(document)
		if expect == nil || name == nil {
			t.Fatalf("a document without name or expectation:\n%s", document)
		}
		r := refusal{document: document, words: expect[1]}
		if at, words, ok := strings.Cut(expect[1], ": "); ok && strings.HasPrefix(at, "spec") {
			r.field, r.words = at, words
		}
		all[name[1]] = r
	}
	return all
}

// refusals are more of them: each rule of the CRD is broken at least once, each in the ways that it has.
func refusals() map[string]refusal {
	const (
		backends = ", backends: [{service: {name: a, port: 80}}]"
		port     = "port must be between 1 and 65535"
		forward  = "set `upstreams` or `backends`, or give every route its own backends or a redirect"
		bind     = "must be an IP address and a port"
		target   = "exactly one of `service` or `address` must be set"
		least    = "must be greater than or equal to 1"
		filter   = "exactly one filter must be set per list entry"
	)
	route := func(text string) string {
		return "bindAddress: ':80'" + backends + ", routes: [{name: r, " + text + "}]"
	}
	all := map[string]refusal{}
	for name, r := range map[string]refusal{
		"port-zero":         {"bindAddress: '0.0.0.0:0'" + backends, "spec.bindAddress", port},
		"port-zero-6":       {"bindAddress: '[::]:0'" + backends, "spec.bindAddress", port},
		"port-six-digits":   {"bindAddress: ':100000'" + backends, "spec.bindAddress", port},
		"port-huge":         {"bindAddress: ':99999999999999999999'" + backends, "spec.bindAddress", port},
		"port-alone":        {"bindAddress: '80'" + backends, "spec.bindAddress", bind},
		"bind-bare-6":       {"bindAddress: '::1:80'" + backends, "spec.bindAddress", bind},
		"bind-missing":      {"hosts: [a.example]" + backends, "spec.bindAddress", ""},
		"one-route-without": {"bindAddress: ':80', routes: [{name: a, filters: [{redirect: {port: 1}}]}, {name: b}]", "spec", forward},
		"empty-upstreams":   {"bindAddress: ':80', upstreams: []", "spec", forward},
		"rewrite-alone":     {"bindAddress: ':80', routes: [{name: a, filters: [{rewrite: {path: /}}]}]", "spec", forward},
		"tls-false":         {"bindAddress: ':80', tls: false, tlsConfig: {minVersion: '1.3'}" + backends, "spec.tlsConfig", "`tls` must be true when `tlsConfig` is set"},
		"exact-path":        {route("matches: [{path: {type: Exact, value: a/}}]"), "spec.routes[0].matches[0].path.value", "must start with '/'"},
		"prefix-path":       {route("matches: [{path: {value: ''}}]"), "spec.routes[0].matches[0].path.value", "must start with '/'"},
		"no-filter":         {route("filters: [{}]"), "spec.routes[0].filters[0]", filter},
		"three-filters":     {route("filters: [{rewrite: {path: /}}, {requestHeaders: {remove: [a]}, responseHeaders: {remove: [a]}, rewrite: {path: /}}]"), "spec.routes[0].filters[1]", filter},
		"route-target":      {route("backends: [{weight: 3}]"), "spec.routes[0].backends[0]", target},
		"route-two-targets": {route("backends: [{service: {name: a, port: 80}, address: 'a:1'}]"), "spec.routes[0].backends[0]", target},
		"route-port":        {route("backends: [{service: {name: a, port: 65536}}]"), "spec.routes[0].backends[0].service.port", port + ", or the name of a port"},
		"port-negative":     {"bindAddress: ':80', backends: [{service: {name: a, port: -1}}]", "spec.backends[0].service.port", port + ", or the name of a port"},
		"zero-frequency":    {"bindAddress: ':80', healthCheck: {frequencySecs: 0}" + backends, "spec.healthCheck.frequencySecs", least},
		"key-file":          {"bindAddress: ':80', tls: true, tlsConfig: {certificates: [{secretRef: {name: c}, keyFile: /k}]}" + backends, "spec.tlsConfig.certificates[0]", "only allowed in the standalone file"},
		"third-route-again": {"bindAddress: ':80'" + backends + ", routes: [{name: a}, {name: b}, {name: a}]", "spec.routes[2]", "duplicate"},

		"no-certificate":  {"bindAddress: ':80', tls: true, tlsConfig: {certificates: [{}]}" + backends, "spec.tlsConfig.certificates[0]", "set `secretRef`"},
		"tcp-auth":        {"bindAddress: ':80', protocol: TCP, auth: {mode: None}" + backends, "spec.protocol", "may only be set when `protocol` is 'HTTP'"},
		"hash-elsewhere":  {"bindAddress: ':80', loadBalancing: {hashOn: {type: Path}}" + backends, "spec.loadBalancing.hashOn", "may only be set when `algorithm` is 'ConsistentHash'"},
		"hash-name":       {"bindAddress: ':80', loadBalancing: {algorithm: ConsistentHash, hashOn: {type: Path, name: x}}" + backends, "spec.loadBalancing.hashOn", "`name` is for the types"},
		"hash-no-name":    {"bindAddress: ':80', loadBalancing: {algorithm: ConsistentHash, hashOn: {type: Cookie}}" + backends, "spec.loadBalancing.hashOn", "`name` is for the types"},
		"reference-half":  {"bindAddress: ':80', tls: true, tlsConfig: {clientAuth: {caRef: {name: a}}}" + backends, "spec.tlsConfig.clientAuth.caRef", "set `name` and `key`"},
		"reference-file":  {"bindAddress: ':80', requestSigning: {algorithm: Ed25519, keyID: a, keyRef: {file: /k}}" + backends, "spec.requestSigning.keyRef", "only allowed in the standalone file"},
		"limit-key-name":  {"bindAddress: ':80', rateLimits: [{name: a, requests: 1, key: Header}]" + backends, "spec.rateLimits[0]", "`keyName` is for the keys"},
		"override-both":   {"bindAddress: ':80', backends: [{service: {name: a, port: 80}}, {service: {name: b, port: 80}, override: {header: A, cookie: b, value: c}}]", "spec.backends[1].override", "exactly one of `header` or `cookie` must be set"},
		"auth-two":        {"bindAddress: ':80', auth: {mode: None, basic: {usersRef: {name: a, key: b}}}" + backends, "spec.auth", "exactly one of `jwt`"},
		"auth-none":       {route("auth: {}"), "spec.routes[0].auth", "exactly one of `jwt`"},
		"jwks-two":        {route("auth: {jwt: [{name: a, issuer: b, jwksURL: 'https://c', jwks: '{}'}]}"), "spec.routes[0].auth.jwt[0]", "exactly one of `jwksURL`"},
		"redirect-from":   {"bindAddress: ':443', tls: true, tlsConfig: {redirectHTTPFrom: '80'}" + backends, "spec.tlsConfig.redirectHTTPFrom", bind},
		"redirect-port-0": {"bindAddress: ':443', tls: true, tlsConfig: {redirectHTTPFrom: ':0'}" + backends, "spec.tlsConfig.redirectHTTPFrom", port},

		// What the schema itself says is said in the words of Kubernetes there.
		"enum":             {"bindAddress: ':80', loadBalancing: {algorithm: Fastest}" + backends, "spec.loadBalancing.algorithm", ""},
		"tls-version":      {"bindAddress: ':80', tls: true, tlsConfig: {minVersion: '1.1'}" + backends, "spec.tlsConfig.minVersion", ""},
		"redirect-code":    {route("filters: [{redirect: {code: 200, port: 1}}]"), "spec.routes[0].filters[0].redirect.code", ""},
		"weight":           {"bindAddress: ':80', backends: [{address: 'a:1', weight: -1}]", "spec.backends[0].weight", ""},
		"type":             {"bindAddress: ':80', tls: 'yes'" + backends, "spec.tls", ""},
		"no-name":          {"bindAddress: ':80'" + backends + ", routes: [{matches: [{path: {value: /}}]}]", "spec.routes[0].name", ""},
		"long-host":        {"bindAddress: ':80', hosts: [" + strings.Repeat("a", 254) + "]" + backends, "spec.hosts[0]", ""},
		"many-hosts":       {"bindAddress: ':80', hosts: [" + strings.Repeat("a, ", 128) + "a]" + backends, "spec.hosts", ""},
		"unknown-in-route": {route("match: []"), "spec.routes[0].match", "unknown field"},
		"snake-case":       {route("backends: [{service: {name: a, port: 80, name_space: b}}]"), "spec.routes[0].backends[0].service.name_space", "unknown field"},
	} {
		r.document = proxyService(name, r.document)
		all[name] = r
	}
	return all
}

// said is one complaint, of the API server or of the standalone loader.
type said struct{ field, words string }

// server is what the API server says of an object under strict field validation.
func (s *site) server(t *testing.T, document string) []said {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(document), &u.Object); err != nil {
		t.Fatal(err)
	}
	u.SetNamespace(s.ns)
	err := client.WithFieldValidation(s.Client(), metav1.FieldValidationStrict).Create(t.Context(), u)
	if err == nil {
		return nil
	}
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		t.Fatal(err)
	}
	var all []said
	for _, field := range regexp.MustCompile(`unknown field "([^"]*)"`).FindAllStringSubmatch(err.Error(), -1) {
		all = append(all, said{field[1], field[0]})
	}
	if d := status.ErrStatus.Details; d != nil {
		for _, c := range d.Causes {
			all = append(all, said{c.Field, c.Message})
		}
	}
	return all
}

// loader is what the loader of standalone files says of it.
func loader(document string) []said {
	var all []said
	_, problems := standalone.LoadBytes("object.yaml", []byte(document), standalone.Options{CheckOnly: true})
	for _, p := range problems {
		all = append(all, said{p.Path, p.Message})
	}
	return all
}

// The same documents are refused on both sides, at the same field, with the same words.
func TestRefusedByTheServerAndTheLoader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	words := map[string]bool{}
	for source, table := range map[string]map[string]refusal{"invalid.yaml": refusedFixtures(t), "rules": refusals()} {
		for name, r := range table {
			server, loader := s.server(t, r.document), loader(r.document)
			for _, c := range server {
				words[strings.ToLower(c.words)] = true
			}
			met := false
			for _, a := range server {
				for _, b := range loader {
					// Of an entry of a list by key the API server names the list, or the entry, and the loader its key.
					same := a.field == b.field || strings.Contains(b.words, "duplicate") && strings.HasPrefix(b.field, a.field)
					at := r.field == "" || a.field == r.field
					met = met || same && at && says(a.words, r.words) && says(b.words, r.words)
				}
			}
			if !met {
				t.Errorf("%s: %s: want %q at %q\nAPI server: %q\nloader:     %q", source, name, r.words, r.field, server, loader)
			}
		}
	}
	for _, rule := range celRules(t) {
		told := false
		for w := range words {
			told = told || strings.HasSuffix(w, strings.ToLower(rule))
		}
		if !told {
			t.Errorf("no document breaks the rule %q", rule)
		}
	}
}

// says compares without regard to case: what Kubernetes says itself begins with a capital.
func says(sentence, words string) bool {
	return strings.Contains(strings.ToLower(sentence), strings.ToLower(words))
}

// celRules are the messages of all rules of the CRD.
func celRules(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../config/crd/bases/pingora-proxy.dev_proxyservices.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	var all []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if rules, ok := v["x-kubernetes-validations"].([]any); ok {
				for _, r := range rules {
					all = append(all, fmt.Sprint(r.(map[string]any)["message"]))
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(crd)
	if len(all) < 10 {
		t.Fatalf("only %d rules found", len(all))
	}
	return all
}

// inSecrets puts Secrets in the place of the files that a spec names.
func inSecrets(spec *v1alpha1.ProxyServiceSpec) {
	v1alpha1.References(spec, func(_ string, r *v1alpha1.Reference) {
		*r = v1alpha1.Reference{Kind: new(v1alpha1.ReferenceSecret), Name: new("material"), Key: new("content")}
	})
	secret := v1alpha1.CertificateSource{SecretRef: &v1alpha1.SecretReference{Name: "certificate"}}
	if c := spec.TLSConfig; c != nil {
		for i := range c.Certificates {
			c.Certificates[i] = secret
		}
	}
	if u := spec.UpstreamTLS; u != nil && u.Certificate != nil {
		*u.Certificate = secret
	}
}

// What is shipped as good is good on both sides, and what the API server gives back is, too.
func TestAcceptedByTheServerAndTheLoader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	samples, err := filepath.Glob("../config/samples/*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatal("no samples", err)
	}
	want := 0
	for _, sample := range samples {
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		want += strings.Count(string(text), "kind: ProxyService\n")
		if _, err := s.TryKubectl(string(text), "-n", s.ns, "apply", "--validate=strict", "-f", "-"); err != nil {
			t.Errorf("%s: %v", sample, err)
		}
	}
	seed, err := os.ReadFile(fixtures + "seed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"full.yaml": harness.FullConfig(t), "seed.yaml": string(seed)} {
		loaded, problems := standalone.LoadBytes(file, []byte(text), standalone.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		want += len(loaded.Services)
		for _, service := range loaded.Services {
			inSecrets(&service.Spec)
			object := &v1alpha1.ProxyService{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: service.Spec.Name + "-of-a-file"}, Spec: service.Spec}
			if err := client.WithFieldValidation(s.Client(), metav1.FieldValidationStrict).Create(t.Context(), object); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	var list v1alpha1.ProxyServiceList
	if err := s.Client().List(t.Context(), &list, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != want {
		t.Errorf("%d ProxyServices, want %d", len(list.Items), want)
	}
	for _, p := range list.Items {
		complaints := slices.DeleteFunc(loader(s.Kubectl(t, "-n", s.ns, "get", "pxs", p.Name, "-o", "yaml")), func(c said) bool {
			return strings.HasSuffix(c.words, "cannot be read: it exists in a cluster alone") // a Secret, which no file has
		})
		if len(complaints) > 0 {
			t.Errorf("%s, as kubectl prints it: %q", p.Name, complaints)
		}
	}
}
