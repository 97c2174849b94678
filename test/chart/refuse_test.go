package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ set, says string }{
		// Unknown, at every depth.
		{"replica=2", "additional properties 'replica' not allowed"},
		{"image.name=x", "additional properties 'name' not allowed"},
		{"service.placeholder.ports=80", "additional properties 'ports' not allowed"},
		{"config.service=x", "additional properties 'service' not allowed"},
		{"config.limits.max_connection=5", "additional properties 'max_connection' not allowed"},
		{"config.limits.maxConnections=5", "additional properties 'maxConnections' not allowed"},
		{"resources.limit.cpu=1", "additional properties 'limit' not allowed"},
		{"tolerations[0].keys=x", "additional properties 'keys' not allowed"},
		{"securityContext.capability=x", "additional properties 'capability' not allowed"},
		{"metrics.serviceMonitor.period=30s", "additional properties 'period' not allowed"},
		{"extraEnv[0].name=A,extraEnv[0].val=x", "additional properties 'val' not allowed"},
		{"networkPolicy.from[0].namespace=x", "additional properties 'namespace' not allowed"},
		// Wrong.
		{"kind=StatefulSet", "value must be one of 'Deployment', 'DaemonSet'"},
		{"replicas=two", "got string, want integer"},
		{"service.type=Headless", "/service/type"},
		{"service.placeholder.port=65536", "maximum: got 65,536, want 65,535"},
		{"config.limits.max_headers=1001", "maximum: got 1,001, want 1,000"},
		{"config.access_log.format=json", "value must be one of 'JSON', 'Console'"},
		{"allowedPorts={http}", "/allowedPorts/0"},
		{"allowedPorts={0}", "/allowedPorts/0"},
		{"watchNamespaces={Shop}", "/watchNamespaces/0"},
		{"className=", "/className"},
		{"hostOwnership=strict", "value must be one of 'Shared', 'Strict'"},
		{"image.digest=latest", "/image/digest"},
		// Possible alone, but not together.
		{"terminationGracePeriodSeconds=39", "a pod needs at least 40 seconds to stop"},
		{"config.limits.drain_timeout_secs=60,terminationGracePeriodSeconds=60", "a pod needs at least 70 seconds to stop"},
		{"config.metrics.bind_address=off", "probes need an address with a port"},
		{"config.metrics.bind_address=0.0.0.0:0", "probes need an address with a port"},
		{"config.metrics.bind_address=127.0.0.1:9102", "do not reach loopback"},
		{"config.metrics.bind_address='[::1]:9102'", "do not reach loopback"},
		{"kind=DaemonSet,autoscaling.enabled=true", "a DaemonSet has a pod on every node"},
		{"service.placeholder.port=9102", "the Service would expose the metrics"},
		{"service.placeholder.port=9901", "the Service would expose the admin API"},
		{"service.placeholder.port=9000,config.metrics.bind_address=0.0.0.0:9000", "the Service would expose the metrics"},
		{"service.placeholder.port=9000,config.admin.bind_address='[::]:9000'", "the Service would expose the admin API"},
		{"networkPolicy.enabled=true,config.admin.bind_address=0.0.0.0:0", "a NetworkPolicy cannot keep clients from a port that is chosen at the start"},
		{"allowedPorts={80,9000-8000}", "allowedPorts has 9000-8000: must be a port"},
		{"allowedPorts={8000-70000}", "allowedPorts has 8000-70000: must be a port"},
		{"service.placeholder.nodePort=30080", "needs service.type NodePort or LoadBalancer"},
		{"service.externalTrafficPolicy=Local", "needs service.type NodePort or LoadBalancer"},
	} {
		t.Run(c.set, func(t *testing.T) {
			t.Parallel()
			out, said, ok := newHelm(t, "").try(t, "template", release, directory, "--set", strings.ReplaceAll(c.set, "'", ""))
			if ok {
				t.Fatalf("it was rendered:\n%.300s", out)
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("it says %q, want %q in it", said, c.says)
			}
		})
	}
}

// document reads a JSON or YAML file of the chart.
func document(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(directory, name))
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if filepath.Ext(name) == ".json" {
		err = json.Unmarshal(text, &d)
	} else {
		err = yaml.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return d
}

// What the schema leaves open is Kubernetes' own, and refused by the API server, or a map whose keys are free.
func TestSchemaRefusesUnknownValuesEverywhere(t *testing.T) {
	t.Parallel()
	open := map[string]bool{
		"/properties/extraVolumes/items": true, // some thirty kinds of volumes
	}
	objects := 0
	var visit func(path string, node any)
	visit = func(path string, node any) {
		switch n := node.(type) {
		case []any:
			for _, item := range n {
				visit(path, item)
			}
		case map[string]any:
			if _, ok := n["properties"].(map[string]any); ok && n["type"] == "object" {
				objects++
				if n["additionalProperties"] != false && !open[path] {
					t.Errorf("%s takes unknown values", path)
				}
			}
			for key, child := range n {
				visit(path+"/"+key, child)
			}
		}
	}
	visit("", document(t, "values.schema.json"))
	if objects < 30 {
		t.Errorf("only %d objects found in the schema: the test looks at the wrong place", objects)
	}
}

// Each value of the schema stands in values.yaml, and so in the README, unless an example in the place of many does.
func TestSchemaAndValuesNameTheSame(t *testing.T) {
	t.Parallel()
	schema := document(t, "values.schema.json")
	definitions := schema["$defs"].(map[string]any)
	var visit func(path string, schema, values map[string]any)
	visit = func(path string, schema, values map[string]any) {
		if ref, ok := schema["$ref"].(string); ok {
			schema = definitions[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			at := path + "." + name
			value, ok := values[name]
			if !ok {
				t.Errorf("%s is in the schema but not in values.yaml", at)
			}
			switch at {
			case ".config", ".podSecurityContext", ".securityContext", ".resources":
				continue // described as a whole
			}
			if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
				visit(at, property.(map[string]any), inner)
			}
		}
	}
	delete(schema["properties"].(map[string]any), "global")
	visit("", schema, document(t, "values.yaml"))
}
