package scale

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// policy lets the API server write down what the controller writes, and nothing else.
const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:` + home + ":" + account + `"]
  verbs: [create, update, patch, delete, deletecollection]
- level: None
`

// An audit is the API server's own record of the controller's writes.
type audit struct{ path string }

func newAudit() (audit, error) {
	dir, err := os.MkdirTemp("", "audit-") // it is written to for longer than a test takes
	if err != nil {
		return audit{}, err
	}
	return audit{filepath.Join(dir, "audit.log")}, os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(policy), 0o600)
}

func (a audit) configure(arguments *envtest.Arguments) {
	arguments.Set("audit-policy-file", filepath.Join(filepath.Dir(a.path), "policy.yaml")).Set("audit-log-path", a.path)
}

// A write is one request of the controller that changes something.
type write struct {
	Verb      string
	ObjectRef struct{ Resource, Subresource, Namespace, Name string }
}

func (w write) what() string {
	if w.ObjectRef.Subresource != "" {
		return w.ObjectRef.Resource + "/" + w.ObjectRef.Subresource
	}
	return w.ObjectRef.Resource
}

func (w write) key() client.ObjectKey {
	return client.ObjectKey{Namespace: w.ObjectRef.Namespace, Name: w.ObjectRef.Name}
}

// since reads the writes after a position, and the position behind the last of them.
func (a audit) since(t *testing.T, position int) ([]write, int) {
	t.Helper()
	text, err := os.ReadFile(a.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // there is none before the first write
		t.Fatal(err)
	}
	end := bytes.LastIndexByte(text, '\n') + 1
	var all []write
	for line := range bytes.Lines(text[position:end]) {
		var w write
		if err := json.Unmarshal(line, &w); err != nil {
			t.Fatal(fmt.Errorf("%s: %w: %q", a.path, err, line))
		}
		all = append(all, w)
	}
	return all, end
}
