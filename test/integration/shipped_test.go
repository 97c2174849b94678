package integration_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// The files under config/ are what people copy: each is valid, and none needs the environment.
func TestShippedConfigurationsAreValid(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	services := map[string][]string{}
	for _, file := range files {
		loaded, problems := standalone.Load(standalone.Options{Path: file})
		for _, problem := range problems {
			t.Error(problem)
		}
		if loaded == nil {
			continue
		}
		for _, service := range loaded.Services {
			at := service.Name + " " + service.Spec.BindAddress
			services[filepath.Base(file)] = append(services[filepath.Base(file)], at)
		}
	}
	want := map[string][]string{
		"default.yaml":     {"admin-portal 0.0.0.0:6188", "oauth-service 0.0.0.0:6189"},
		"development.yaml": {"development 127.0.0.1:8080"},
		"production.yaml":  {"shop 127.0.0.1:6188"},
	}
	if diff := cmp.Diff(want, services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}
