package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
)

// The ProxyServices of the scenarios are what they are taken for, without a cluster: good ones are, the one that the API
// server refuses is not, and those of broken.yaml say what is expected of them.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, file := range files {
		for _, s := range proxyServices(t, file) {
			name := filepath.Base(file)
			found[name]++
			s.Spec.Name = s.Name
			defaults.Service(&s.Spec, v1alpha1.FromCluster)
			errs := validation.Service(&s.Spec, nil, v1alpha1.FromCluster)
			switch refused := name == "refused.yaml" || s.Name == "bad-regex"; {
			case refused && len(errs) == 0:
				t.Errorf("%s: %s is valid", file, s.Name)
			case !refused && len(errs) > 0:
				t.Errorf("%s: %s: %v", file, s.Name, errs.ToAggregate())
			}
			if expect := s.Annotations[expectation]; name == "broken.yaml" {
				kind, rest, is := strings.Cut(expect, "=")
				_, reason, has := strings.Cut(rest, "/")
				if !is || !has || kind == "" || reason == "" || s.Labels["e2e.test/broken"] != "true" {
					t.Errorf("%s: %s expects %q", file, s.Name, expect)
				}
			}
		}
	}
	for _, file := range []string{"site.yaml", "second.yaml", "tls.yaml", "broken.yaml", "refused.yaml"} {
		if found[file] == 0 {
			t.Errorf("%s has no ProxyService", file)
		}
	}
}

// proxyServices are those of a file, whose fields must be known.
func proxyServices(t *testing.T, file string) []*v1alpha1.ProxyService {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []*v1alpha1.ProxyService
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	defer documents.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		document := buffer[:n]
		if !bytes.Contains(document, []byte("kind: ProxyService")) {
			continue
		}
		s := &v1alpha1.ProxyService{}
		if err := strict.UnmarshalStrict(document, s); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		found = append(found, s)
	}
}
