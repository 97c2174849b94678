package matrix

import "testing"

// Shown is what Kubernetes shows of the cell, whose source is Object, beside what the objects' owner has written: what is
// said in their statuses, and Events and Leases.
func (c *Cell) Shown(t testing.TB) (statuses, others string) {
	t.Helper()
	s := c.namespace(t)
	return s.Kubectl(t, "-n", s.ns, "get", "proxyservices", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status}{"\n"}{end}`),
		s.Kubectl(t, "-n", s.ns, "get", "events,leases", "-o", "yaml")
}

// Kubernetes makes objects of other kinds in the namespace of the cell, whose source is Object: a Service, its
// EndpointSlices. ${host} stands for the cell's address.
func (c *Cell) Kubernetes(t testing.TB, objects string) {
	t.Helper()
	s := c.namespace(t)
	if out, err := s.TryKubectl(c.expand(t, objects), "-n", s.ns, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
