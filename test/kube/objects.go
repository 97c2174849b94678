package kube

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Namespace makes a namespace of the test's own and returns its name. It is deleted when the test ends, which nothing
// waits for.
func (p *ControlPlane) Namespace(t testing.TB) string {
	t.Helper()
	// A label of DNS: 63 characters at most.
	base := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-"), "-")
	name := strings.TrimRight(base[:min(len(base), 50)], "-") + fmt.Sprintf("-%d", p.spaces.Add(1))
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := p.client.Create(t.Context(), space); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := client.IgnoreNotFound(p.client.Delete(ctx, space)); err != nil {
			t.Errorf("deleting the namespace: %v", err)
		}
	})
	return name
}

// Port is a port of a Service; the target is the name or the number of a container's port.
func Port(name string, port int32, target string) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: port, TargetPort: intstr.Parse(target)}
}

// Service makes a Service with ports, of which it has one at least. Without a selector nobody makes its EndpointSlices.
// For what is special about it, see ServiceWith.
func (p *ControlPlane) Service(t testing.TB, ns, name string, selector map[string]string, ports ...corev1.ServicePort) *corev1.Service {
	t.Helper()
	return p.ServiceWith(t, ns, name, corev1.ServiceSpec{Selector: selector, Ports: ports})
}

// ServiceWith makes a Service as the specification says.
func (p *ControlPlane) ServiceWith(t testing.TB, ns, name string, spec corev1.ServiceSpec) *corev1.Service {
	t.Helper()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec}
	if err := p.client.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	return service
}

// Endpoints are those of all EndpointSlices of a Service, in the order of their addresses.
func (p *ControlPlane) Endpoints(ctx context.Context, ns, service string) ([]discoveryv1.Endpoint, error) {
	var list discoveryv1.EndpointSliceList
	err := p.client.List(ctx, &list, client.InNamespace(ns), client.MatchingLabels{discoveryv1.LabelServiceName: service})
	if err != nil {
		return nil, err
	}
	var all []discoveryv1.Endpoint
	for _, slice := range list.Items {
		all = append(all, slice.Endpoints...)
	}
	slices.SortFunc(all, func(a, b discoveryv1.Endpoint) int { return slices.Compare(a.Addresses, b.Addresses) })
	return all, nil
}
