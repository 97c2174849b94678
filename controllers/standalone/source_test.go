package standalone

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a source with what it has done.
type running struct {
	source  *Source
	applied chan *Loaded
	results chan bool
	logged  func() string
	stop    func() error
}

// follow starts a source and waits for its first configuration.
func follow(t *testing.T, path string, apply func(*Loaded) error) *running {
	t.Helper()
	var mu sync.Mutex
	var text strings.Builder
	log := funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		text.WriteString(args + "\n")
	}, funcr.Options{})
	r := &running{applied: make(chan *Loaded, 100), results: make(chan bool, 100)}
	r.logged = func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}
	r.source = NewSource(Options{Path: path}, log, func(err error) { r.results <- err == nil })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.source.Run(ctx, nil, func(l *Loaded) error {
			if apply != nil {
				if err := apply(l); err != nil {
					return err
				}
			}
			r.applied <- l
			return nil
		})
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = r.stop() })
	r.wait(t, "127.0.0.1:80")
	return r
}

// wait waits for a configuration that listens on an address, and skips others.
func (r *running) wait(t *testing.T, address string) {
	t.Helper()
	for {
		select {
		case l := <-r.applied:
			if l.Snapshot.Listeners[0].Address == address {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s was never applied; log:\n%s", address, r.logged())
		}
	}
}

// refused waits for a reload that failed.
func (r *running) refused(t *testing.T) {
	t.Helper()
	for {
		select {
		case ok := <-r.results:
			if !ok {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no reload failed; log:\n%s", r.logged())
		}
	}
}

// write puts a file there whole, as careful editors do.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func listening(port string) string { return strings.Replace(head, ":80'\n", ":"+port+"'\n", 1) }

func TestSourceFollowsWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head)
	r := follow(t, path, nil)
	if err := os.WriteFile(path, []byte(listening("81")), 0o600); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "127.0.0.1:81")
	for !<-r.results { // a look at the half-written file fails and changes nothing
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestSourceFollowsRenames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	write(t, path, head)
	r := follow(t, path, nil)
	for _, port := range []string{"81", "82"} {
		write(t, path+".swp", listening(port))
		if err := os.Rename(path, path+"~"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".swp", path); err != nil {
			t.Fatal(err)
		}
		r.wait(t, "127.0.0.1:"+port)
	}
}

// Kubernetes writes a new folder and swaps the link ..data, through which all files of a volume lead.
func TestSourceFollowsKubernetesVolumes(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "c.yaml"), text)
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", head)
	path := filepath.Join(dir, "c.yaml")
	if err := os.Symlink(filepath.Join("..data", "c.yaml"), path); err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]string{"file": path, "folder": dir} {
		t.Run(name, func(t *testing.T) {
			r := follow(t, config, nil)
			for _, port := range []string{"81", "82"} {
				publish("..2"+name+port, listening(port))
				r.wait(t, "127.0.0.1:"+port)
			}
			publish("..3"+name, head)
			r.wait(t, "127.0.0.1:80")
		})
	}
}

func TestSourceFollowsLinksOutOfTheFolder(t *testing.T) {
	target, path := filepath.Join(t.TempDir(), "real.yaml"), filepath.Join(t.TempDir(), "c.yaml")
	write(t, target, head)
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	r := follow(t, path, nil)
	write(t, target, listening("81"))
	r.wait(t, "127.0.0.1:81")
}

func TestSourceFollowsFolders(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), head)
	r := follow(t, dir, nil)
	write(t, filepath.Join(dir, "a.yaml"), strings.Replace(listening("81"), "name: a", "name: b", 1))
	r.wait(t, "127.0.0.1:81")
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "127.0.0.1:80")
}

func TestSourceFollowsReplacedFolders(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "conf")
	for name, text := range map[string]string{"conf": head, "next": listening("81")} {
		if err := os.Mkdir(filepath.Join(parent, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(parent, name, "c.yaml"), text)
	}
	r := follow(t, dir, nil)
	if err := os.Rename(dir, filepath.Join(parent, "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(parent, "next"), dir); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "127.0.0.1:81")
}

func TestBadConfigurationKeepsTheLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head)
	r := follow(t, path, nil)
	write(t, path, head+"    tlss: false\n    hosts: 1\n")
	r.refused(t)
	log := r.logged()
	for _, want := range []string{
		path + ":5:5: services[0].tlss: unknown field; did you mean `tls`?",
		path + ":6:5: services[0].hosts: must be a list",
		`"line"=5`, "the last good one keeps serving",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if len(r.applied) != 0 {
		t.Error("a bad configuration was applied")
	}
	write(t, path, listening("81"))
	r.wait(t, "127.0.0.1:81")
}

func TestMissingFileKeepsTheLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head)
	r := follow(t, path, nil)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.refused(t)
	write(t, path, listening("81"))
	r.wait(t, "127.0.0.1:81")
}

func TestReloadAppliesWhatIsUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head)
	r := follow(t, path, nil)
	r.source.Reload()
	r.wait(t, "127.0.0.1:80")
}

func TestRefusedByApply(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head)
	r := follow(t, path, func(l *Loaded) error {
		if l.Snapshot.Listeners[0].Address == "127.0.0.1:81" {
			return errors.New("address already in use")
		}
		return nil
	})
	write(t, path, listening("81"))
	r.refused(t)
	if !strings.Contains(r.logged(), "address already in use") {
		t.Error(r.logged())
	}
	write(t, path, listening("82"))
	r.wait(t, "127.0.0.1:82")
}

func TestFirstConfigurationMustBeGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, "services: []\n")
	s := NewSource(Options{Path: path}, logr.Discard(), nil)
	err := s.Run(t.Context(), nil, func(*Loaded) error { return nil })
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(invalid.Problems) != 1 {
		t.Errorf("got %v", err)
	}
	write(t, path, head)
	want := errors.New("no")
	if err := s.Run(t.Context(), nil, func(*Loaded) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

// What changed between the caller's load and Run is not missed.
func TestChangeBeforeRunIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head)
	first := mustLoad(t, Options{Path: path})
	write(t, path, listening("81"))
	applied := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- NewSource(Options{Path: path}, logr.Discard(), nil).Run(ctx, first, func(l *Loaded) error {
			applied <- l.Snapshot.Listeners[0].Address
			return nil
		})
	}()
	if a, b := <-applied, <-applied; a != "127.0.0.1:80" || b != "127.0.0.1:81" {
		t.Errorf("applied %s, then %s", a, b)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Without events from the system the files are looked at again and again.
func TestRecheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head)
	applied := make(chan string, 10)
	s := NewSource(Options{Path: path}, logr.Discard(), nil)
	s.recheck = time.Millisecond
	s.deaf = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- s.Run(ctx, nil, func(l *Loaded) error {
			applied <- l.Snapshot.Listeners[0].Address
			return nil
		})
	}()
	<-applied
	write(t, path, listening("81"))
	for a := range applied {
		if a == "127.0.0.1:81" {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
