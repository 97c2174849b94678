package matrix

import "testing"

// Kubernetes makes objects of other kinds in the namespace of the cell, whose source is Object: a Service, its
// EndpointSlices. ${host} stands for the cell's address.
func (c *Cell) Kubernetes(t testing.TB, objects string) {
	t.Helper()
	s := c.namespace(t)
	if out, err := s.TryKubectl(c.expand(t, objects), "-n", s.ns, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
