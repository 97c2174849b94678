package matrix

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// objects makes custom resources of services in the spelling of the file.
func objects(t testing.TB, services, namespace string) []*unstructured.Unstructured {
	t.Helper()
	var list []any
	if err := yaml.Unmarshal([]byte(services), &list); err != nil {
		t.Fatalf("the services of the test: %v\n%s", err, services)
	}
	var out []*unstructured.Unstructured
	for _, one := range list {
		spec := convert(one, reflect.TypeFor[v1alpha1.ProxyServiceSpec]()).(map[string]any)
		name := fmt.Sprint(spec["name"])
		spec["className"] = namespace
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "pingora-proxy.dev/v1alpha1", "kind": "ProxyService", "spec": spec,
		}}
		u.SetNamespace(namespace)
		u.SetName(name)
		out = append(out, u)
	}
	return out
}

// convert spells a value of the file as an object of type t has it.
func convert(v any, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case map[string]any:
		if t.Kind() != reflect.Struct {
			return v
		}
		if file, ok := v["file"].(string); ok && t == reflect.TypeFor[v1alpha1.Reference]() {
			return map[string]any{"name": secretName(file), "key": contentKey}
		}
		if file, ok := v["cert_file"].(string); ok && t == reflect.TypeFor[v1alpha1.CertificateSource]() {
			return map[string]any{"secretRef": map[string]any{"name": pairName(file)}}
		}
		out := map[string]any{}
		for key, value := range v {
			json, typ := field(t, key)
			out[json] = convert(value, typ)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			if t.Kind() == reflect.Slice {
				out[i] = convert(v[i], t.Elem())
			} else {
				out[i] = v[i]
			}
		}
		return out
	case uint64:
		return int64(v)
	case int:
		return int64(v)
	}
	return v
}

// field is what a key of the file is called in an object, and its type. An unknown one stays as it is.
func field(t reflect.Type, key string) (string, reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if json, _, _ := strings.Cut(f.Tag.Get("json"), ","); syntax.FileKey(json) == key || json == key {
			return json, f.Type
		}
	}
	return key, reflect.TypeFor[any]()
}

// contentKey is the key of every Secret of a content.
const contentKey = "content"

// secretName is the Secret of a content.
func secretName(file string) string { return "content-" + dnsName(filepath.Base(file)) }

// pairName is the Secret of a certificate and its key, whose files have the same name but for the extension.
func pairName(file string) string {
	base := filepath.Base(file)
	return "pair-" + dnsName(strings.TrimSuffix(base, filepath.Ext(base)))
}

func dnsName(s string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(s))
}
