package lastgood

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// disk records what a Keeper writes, and fails while it is full.
type disk struct {
	mu    sync.Mutex
	full  bool
	tries int
	wrote []string
}

func (d *disk) write(_ string, payload []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	if d.full {
		return errors.New("no space left on device")
	}
	d.wrote = append(d.wrote, string(payload))
	return nil
}

func (d *disk) look() (tries int, wrote []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tries, slices.Clone(d.wrote)
}

func keeper(t *testing.T, d *disk, interval time.Duration, log logr.Logger) *Keeper {
	t.Helper()
	k := newKeeper("file", log)
	k.interval, k.retry, k.write = interval, time.Millisecond, d.write
	go k.run()
	t.Cleanup(k.Close)
	return k
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestKeeperWritesTheFileAndFlushesAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last-good")
	k := NewKeeper(path, logr.Discard())
	for n := range 10 {
		k.Keep(map[string]int{"n": n})
	}
	k.Close()
	k.Close() // does nothing
	got, _, err := Read(path)
	if err != nil || string(got) != `{"n":9}` {
		t.Errorf("read %q, %v; want the newest value", got, err)
	}
}

func TestKeeperWritesAtMostOnceAnInterval(t *testing.T) {
	d := &disk{}
	k := keeper(t, d, time.Hour, logr.Discard())
	k.Keep(0)
	eventually(t, "the first write", func() bool { tries, _ := d.look(); return tries == 1 })
	for n := range 1000 {
		k.Keep(n)
	}
	if _, wrote := d.look(); len(wrote) != 1 {
		t.Errorf("wrote %v before the interval ended", wrote)
	}
	k.Close()
	if _, wrote := d.look(); !slices.Equal(wrote, []string{"0", "999"}) {
		t.Errorf("wrote %v; want the first and the newest", wrote)
	}
}

func TestKeeperDoesNotWriteWhatIsWritten(t *testing.T) {
	d := &disk{}
	k := keeper(t, d, 0, logr.Discard())
	for _, v := range []string{"a", "a", "b", "b", "a"} {
		k.Keep(v)
		eventually(t, "the value is taken", func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return !k.fresh
		})
	}
	k.Close()
	if _, wrote := d.look(); !slices.Equal(wrote, []string{`"a"`, `"b"`, `"a"`}) {
		t.Errorf("wrote %v", wrote)
	}
}

func TestKeeperReportsOnceAndGoesOn(t *testing.T) {
	d := &disk{full: true}
	var mu sync.Mutex
	var lines []string
	k := keeper(t, d, 0, funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, args)
	}, funcr.Options{}))
	k.Keep("old")
	eventually(t, "several tries", func() bool { tries, _ := d.look(); return tries > 3 })
	k.Keep("new")
	d.mu.Lock()
	d.full = false
	d.mu.Unlock()
	eventually(t, "the value is written", func() bool { _, wrote := d.look(); return slices.Contains(wrote, `"new"`) })
	k.Close()
	mu.Lock()
	defer mu.Unlock()
	if len(lines) != 2 || !strings.Contains(lines[0], "no space left") || !strings.Contains(lines[1], "again") {
		t.Errorf("logged:\n%s\nwant one error and one line that it is over", strings.Join(lines, "\n"))
	}
}

func TestKeeperReportsWhatHasNoJSON(t *testing.T) {
	var lines []string
	k := keeper(t, &disk{}, 0, funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	k.Keep(func() {})
	k.Close()
	if len(lines) != 1 || !strings.Contains(fmt.Sprint(lines), "unsupported type") {
		t.Errorf("logged %q", lines)
	}
}
