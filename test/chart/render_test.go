package chart

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	valuesEnd = ".values.yaml"
	goldenEnd = ".golden.yaml"
	release   = "edge"
	namespace = "web"
)

// arguments of `helm template` that a set of values needs besides.
var arguments = map[string][]string{
	"monitors": {"--api-versions", "monitoring.coreos.com/v1/ServiceMonitor", "--api-versions", "monitoring.coreos.com/v1/PodMonitor", "--api-versions", "monitoring.coreos.com/v1/PrometheusRule"},
}

// sets are the names of the sets of values in testdata.
func sets(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*" + valuesEnd)
	if err != nil || len(files) < 10 {
		t.Fatalf("%d sets of values in testdata: %v", len(files), err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), valuesEnd))
	}
	return names
}

// render is what the chart makes of a set of values.
func render(t *testing.T, set string, more ...string) string {
	t.Helper()
	args := []string{"template", release, directory, "--namespace", namespace, "--values", filepath.Join("testdata", set+valuesEnd)}
	return newHelm(t, "").run(t, slices.Concat(args, arguments[set], more)...)
}

// An object of Kubernetes.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	text string
}

// separator is the line between two documents.
var separator = regexp.MustCompile(`(?m)^---\n`)

// objects splits what Helm renders.
func objects(t *testing.T, rendered string) []object {
	t.Helper()
	var all []object
	for _, text := range separator.Split(rendered, -1) {
		o := object{text: text}
		if err := yaml.UnmarshalStrict([]byte(text), &map[string]any{}); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if o.Kind != "" {
			all = append(all, o)
		}
	}
	return all
}

// find returns the one object of a kind.
func find(t *testing.T, all []object, kind string) object {
	t.Helper()
	of := slices.DeleteFunc(slices.Clone(all), func(o object) bool { return o.Kind != kind })
	if len(of) != 1 {
		t.Fatalf("%d objects of kind %s, want one", len(of), kind)
	}
	return of[0]
}

// The CRD is left out: it is the generated file and has a test of its own.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, set := range sets(t) {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			var got strings.Builder
			for _, o := range objects(t, render(t, set)) {
				if o.Kind != "CustomResourceDefinition" {
					got.WriteString("---\n" + strings.TrimRight(o.text, "\n") + "\n")
				}
			}
			golden := filepath.Join("testdata", set+goldenEnd)
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("rendered otherwise (-golden +now); if that is meant: go test ./test/chart -run TestGolden -update\n%s", diff)
			}
		})
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	for _, set := range sets(t) {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			newHelm(t, "").run(t, "lint", "--strict", directory, "--values", filepath.Join("testdata", set+valuesEnd))
		})
	}
}

func TestCRD(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(directory, "files/proxyservices.yaml"))
	if err != nil {
		t.Fatalf("%v: 'make manifests' writes it", err)
	}
	var want map[string]any
	if err := yaml.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	rendered := find(t, objects(t, render(t, "default")), "CustomResourceDefinition")
	var got map[string]any
	if err := yaml.Unmarshal([]byte(rendered.text), &got); err != nil {
		t.Fatal(err)
	}
	if rendered.Metadata.Annotations["helm.sh/resource-policy"] != "keep" {
		t.Error("helm uninstall would delete the CRD, and every ProxyService with it")
	}
	delete(rendered.Metadata.Annotations, "helm.sh/resource-policy")
	metadata, _ := want["metadata"].(map[string]any)
	for name, value := range rendered.Metadata.Annotations {
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations[name] != value {
			t.Errorf("annotation %s: %q is not in the file", name, value)
		}
	}
	if metadata["name"] != rendered.Metadata.Name {
		t.Errorf("name %q, in the file %q", rendered.Metadata.Name, metadata["name"])
	}
	delete(want, "metadata")
	delete(got, "metadata")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the CRD differs from its file (-file +rendered):\n%s", diff)
	}
	for _, o := range objects(t, render(t, "policy")) {
		if o.Kind == "CustomResourceDefinition" {
			t.Error("crds.install: false renders the CRD")
		}
	}
}
