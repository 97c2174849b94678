package memory

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(root, name), text)
	}
	return root
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGroupLimit(t *testing.T) {
	const v1 = "12:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/ignored\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no control groups", nil, 0},
		{"version 2, in a namespace of its own", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20},
		{"version 2, no limit", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0},
		{"version 2, the limit is above", map[string]string{
			"proc/self/cgroup": "0::/pod/container\n", "sys/fs/cgroup/pod/container/memory.max": "max\n", "sys/fs/cgroup/pod/memory.max": "1000000\n",
		}, 1000000},
		{"version 2, a smaller one above, and a high one", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "3000000\n", "sys/fs/cgroup/a/memory.max": "2000000\n",
			"sys/fs/cgroup/a/b/memory.high": "2500000\n",
		}, 2000000},
		{"version 1", map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "134217728\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 128 << 20},
		{"version 1, with the machine's path in a container", map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
		}, 128 << 20},
		{"version 1, no limit", map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		{"both, the groups of version 2 aside", map[string]string{
			"proc/self/cgroup": "5:memory:/a\n0::/b\n", "sys/fs/cgroup/unified/b/memory.max": "1000\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2000\n",
		}, 1000},
	} {
		if got := GroupLimit(tree(t, c.files)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// The limit follows the group's while the process runs, and GOMEMLIMIT beats it.
func TestLimitFollowsTheGroup(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	debug.SetMemoryLimit(math.MaxInt64)
	root := tree(t, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "10000000000\n"})
	k := &Keeper{log: logr.Discard(), root: root, own: true}
	for _, step := range []struct {
		text string
		want int64
	}{{"10000000000", 9000000000}, {"5000000000", 4500000000}, {"max", math.MaxInt64}} {
		write(t, filepath.Join(root, "sys/fs/cgroup/memory.max"), step.text)
		k.follow()
		if got := debug.SetMemoryLimit(-1); got != step.want {
			t.Errorf("of %s it is %d, want %d", step.text, got, step.want)
		}
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	NewKeeper(logr.Discard())
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("with GOMEMLIMIT it was set to %d", got)
	}
}

// What a peak has left is given back when it is over, and not again so soon.
func TestPeakIsGivenBack(t *testing.T) {
	k := &Keeper{log: logr.Discard()}
	now := time.Now()
	peak := func() {
		const chunk = 1 << 20
		var all [][]byte
		for range 128 {
			b := make([]byte, chunk)
			for i := 0; i < chunk; i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
		runtime.KeepAlive(all)
	}
	held := func() int { n, _ := usage(); return int(n >> 20) }
	looks := func(n int) {
		for range n {
			now = now.Add(look)
			k.giveBack(now)
		}
	}
	debug.FreeOSMemory() // what other tests have left would be the peak's
	looks(1)
	before := held()
	peak()
	if n := held(); n < before+100 {
		t.Fatalf("%d MiB are held after the peak, %d before", n, before)
	}
	looks(calm)
	if n := held(); n < before+100 {
		t.Errorf("%d MiB are held after %d looks: it gave back too early", n, calm)
	}
	looks(1) // the first one saw the peak
	if n := held(); n > before+32 {
		t.Errorf("%d MiB are held after %d looks", n, calm+1)
	}
	peak()
	looks(calm + 1)
	if n := held(); n < before+100 {
		t.Errorf("%d MiB are held: it gave back twice in %s", n, between)
	}
	looks(int(between / look))
	if n := held(); n > before+32 {
		t.Errorf("%d MiB are held after %s", n, between)
	}
	collections := k.collections
	for i := range 20 {
		k.giveBack(now.Add(time.Duration(1+i) * time.Hour))
	}
	if _, n := usage(); n > collections+2 {
		t.Errorf("%d collections for nothing", n-collections)
	}
}

// Beside much that lives there is less garbage, unless GOGC says otherwise.
func TestPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	pace := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	t.Setenv("GOMEMLIMIT", "off")
	t.Setenv("GOGC", "")
	k := NewKeeper(logr.Discard())
	runtime.GC()
	k.setPace()
	if p := pace(); p != 100 {
		t.Errorf("of nothing: %d %%", p)
	}
	much := make([]byte, 128<<20)
	runtime.GC()
	k.setPace()
	if p := pace(); p < leastPercent || p > 50 {
		t.Errorf("beside 128 MiB: %d %%", p)
	}
	t.Setenv("GOGC", "200")
	other := NewKeeper(logr.Discard())
	debug.SetGCPercent(200)
	other.setPace()
	if p := pace(); p != 200 {
		t.Errorf("with GOGC it was set to %d %%", p)
	}
	runtime.KeepAlive(much)
	runtime.GC()
	k.setPace()
	if p := pace(); p != 100 {
		t.Errorf("when it is gone: %d %%", p)
	}
}
