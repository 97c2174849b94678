package e2e

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// expectation is the annotation that says which condition an object of broken.yaml gets: `Accepted=False/Invalid`.
const expectation = "e2e.test/expect"

// testObjects applies ProxyServices that want what the site has, or cannot be served.
func testObjects(t *testing.T, c *cluster) {
	c.site(t)
	c.kubectl(t, "delete", "--filename", "testdata/broken.yaml", "--ignore-not-found")
	l := c.load(t, c.through(c.workers[0]))
	c.clean(t, "kubectl", "delete", "--filename", "testdata/broken.yaml", "--ignore-not-found")
	c.apply(t, "broken.yaml")
	var all v1alpha1.ProxyServiceList
	if err := c.client.List(t.Context(), &all, client.InNamespace(space), client.MatchingLabels{"e2e.test/broken": "true"}); err != nil {
		t.Fatal(err)
	}
	if len(all.Items) == 0 {
		t.Fatal("broken.yaml has no objects with the label e2e.test/broken")
	}
	for i := range all.Items {
		name := all.Items[i].Name
		kind, rest, _ := strings.Cut(all.Items[i].Annotations[expectation], "=")
		status, reason, _ := strings.Cut(rest, "/")
		eventually(t, time.Minute, func() error {
			s, err := c.proxyService(t.Context(), name)
			if err != nil {
				return err
			}
			return s.condition(kind, status, reason)
		})
	}
	// The site keeps what it has, and says that others want it.
	eventually(t, time.Minute, func() error {
		s, err := c.proxyService(t.Context(), "site")
		if err != nil {
			return err
		}
		return s.condition(v1alpha1.ConditionConflicted, "False", v1alpha1.ReasonHolds)
	})
	l.await(t, 500)
	c.kubectl(t, "delete", "--filename", "testdata/broken.yaml")
	eventually(t, time.Minute, func() error {
		s, err := c.proxyService(t.Context(), "site")
		if err != nil {
			return err
		}
		return s.condition(v1alpha1.ConditionConflicted, "False", v1alpha1.ReasonNoConflict)
	})
	l.stop(t, "ProxyServices that conflict or are broken come and go", loss{})

	// What the schema refuses never becomes an object.
	if _, stderr, err := c.try(t.Context(), "", "kubectl", "apply", "--filename", "testdata/refused.yaml"); err == nil ||
		!strings.Contains(stderr, "spec.bindAddress") {
		t.Errorf("refused.yaml: %v: %s", err, stderr)
	}
}
