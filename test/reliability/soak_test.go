package reliability

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/origin"
)

// Requests of all kinds at once, for long, in rounds that are all alike, while the configuration is reloaded, the access
// log rotated and the metrics scraped. What the process holds meanwhile must not grow.
var soak = scenario{
	name:  "soak",
	title: "requests of mixed kinds, while the configuration is reloaded, the access log rotated and the metrics scraped",
	may:   "requests that were to fail: for what is not there, to who does not listen, and those that their clients give up",
	alone: true,
	run: func(t *testing.T, r *run) {
		wanted, round, pause := r.of(20_000, 5_000_000), 2*time.Second, time.Second
		if r.long {
			round, pause = 15*time.Second, 2*time.Second
		}
		s := startSoak(t)
		s.pause = pause
		if !r.long {
			s.few = 1000
		}
		watch := watchProcess(t, s.proxy)
		row := row{mayFail: -1}
		for n := 0; row.sent < wanted || n < 6; n++ {
			s.round(t, round, &row)
		}
		resources := watch.stop()
		row.seen = resources.String()
		r.report(t, row)
		for _, complaint := range resources.complaints(r.long) {
			t.Error(complaint)
		}
	},
}

// A soaked is a proxy under all kinds of load, and what stands behind it.
type soaked struct {
	proxy                *harness.Proxy
	configure            func(n int) string
	log                  string
	chores               int
	pause                time.Duration // between two chores
	few                  int           // requests of h2load in a round; 0: as many as it can. It never ends where its time is over before it has connected
	plain, secure        string        // addresses
	programs             map[string]peers.Program
	script, post, upload string // wrk's
}

func startSoak(t *testing.T) *soaked {
	t.Helper()
	s := &soaked{programs: map[string]peers.Program{}}
	for _, name := range []string{"wrk", "h2load"} {
		program, err := peers.Find(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		s.programs[name] = program
	}
	bulk, err := origin.Start(t.Context(), peers.AnyCPU)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bulk.Stop(); err != nil {
			t.Error(err)
		}
	})
	odd := harness.NewLedger(t).StartOriginProcess(t, "odd")
	gone := harness.NewLedger(t).StartOriginProcess(t, "gone")
	gone.Kill(t)
	dir := t.TempDir()
	s.writeScripts(t, dir)
	var log string
	s.log, log = logged(t)
	certificate, _ := secured(t, "load")
	s.configure = func(n int) string {
		routes := fmt.Sprintf(`    timeouts: {idle_secs: %d}
    routes:
      - {name: bulk, matches: [{path: {value: /tiny}}, {path: {value: /100k}}], filters: [{response_headers: {set: {X-Reload: '%d'}}}], backends: [{address: '%s'}]}
      - {name: odd, matches: [{path: {value: /load}}, {path: {value: /socket}}], backends: [{address: '%s'}]}
      - {name: gone, matches: [{path: {value: /gone}}], backends: [{address: '%s'}]}
    health_check: {type: Disabled}
`, 60+n%60, n, bulk.Addr, odd.Addr, gone.Addr)
		return log + "services:\n  - name: plain\n    bind_address: '127.0.0.1:0'\n" + routes +
			"  - name: secure\n    bind_address: '127.0.0.2:0'\n    tls: true\n    tls_config: " + certificate + "\n" + routes
	}
	s.proxy = harness.Start(t, s.configure(0), harness.Options{})
	s.plain, s.secure = s.proxy.Addr(t, "plain"), s.proxy.Addr(t, "secure")
	return s
}

// chore is what is done to a proxy now and then: its log is rotated, and its configuration reloaded.
func (s *soaked) chore(t *testing.T) {
	t.Helper()
	s.chores++
	// The old log goes: millions of lines would fill the disk.
	if err := os.Rename(s.log, s.log+".old"); err != nil {
		t.Error(err)
	}
	if s.chores%3 == 0 {
		s.proxy.WriteConfig(t, s.configure(s.chores)) // which opens the log again, too
	} else {
		s.proxy.Signal(t, syscall.SIGUSR1)
	}
	harness.Eventually(t, "the log is open again", func() bool {
		_, err := os.Stat(s.log)
		return err == nil
	})
}

// writeScripts writes those of wrk: what it prints at its end, and requests with bodies.
func (s *soaked) writeScripts(t *testing.T, dir string) {
	t.Helper()
	write := func(name, more string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, slices.Concat(wrkScript(), []byte(more)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s.script = write("get.lua", "")
	s.post = write("post.lua", "wrk.method = 'POST'\nwrk.body = string.rep('x', 1024)\n")
	s.upload = write("upload.lua", "wrk.method = 'PUT'\nwrk.body = string.rep('x', 100 * 1024)\n")
}

// A sample is what the process holds at a moment.
type sample struct {
	at                     time.Duration
	resident, live         float64 // bytes; live is what was left by the last collection of garbage
	goroutines, descriptor float64
}

// A watch takes samples of a process.
type watch struct {
	stopped chan struct{}
	done    chan struct{}
	samples []sample
}

func watchProcess(t *testing.T, p *harness.Proxy) *watch {
	t.Helper()
	w := &watch{stopped: make(chan struct{}), done: make(chan struct{})}
	began, metrics := time.Now(), p.MetricsAddr(t)
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.stopped:
				return
			case <-time.After(250 * time.Millisecond):
			}
			now, err := held(p.PID())
			if err == nil {
				now.at = time.Since(began)
				now.goroutines, now.live, err = scraped(metrics)
			}
			if err != nil {
				t.Error(err)
				return
			}
			w.samples = append(w.samples, now)
		}
	}()
	return w
}

func (w *watch) stop() resources {
	close(w.stopped)
	<-w.done
	return w.samples
}

// scraped is what the metrics say of a process. The next collection of garbage is due when there is twice as much as
// what the last one has left.
func scraped(addr string) (goroutines, live float64, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Patience}
	response, err := client.Get("http://" + addr + "/metrics") //nolint:noctx // the client has a time-out
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "go_goroutines":
			goroutines, err = strconv.ParseFloat(value, 64)
		case "go_memstats_next_gc_bytes":
			live, err = strconv.ParseFloat(value, 64)
			live /= 2
		}
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", line, err)
		}
	}
	if goroutines == 0 || live == 0 {
		return 0, 0, errors.New("the metrics do not tell of goroutines, or of memory")
	}
	return goroutines, live, nil
}

// held is what the kernel says of a process.
func held(pid int) (sample, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return sample{}, err
	}
	var s sample
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &s.resident); err == nil {
			s.resident *= 1 << 10
		}
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	s.descriptor = float64(len(descriptors))
	return s, err
}

// resources are the samples of a run, in their order.
type resources []sample

func (r resources) third(n int) resources { return r[len(r)*n/3 : len(r)*(n+1)/3] }

func (r resources) mean(of func(sample) float64) float64 {
	sum := 0.0
	for _, s := range r {
		sum += of(s)
	}
	return sum / float64(max(1, len(r)))
}

// rise is how much something rises over the samples, by the line that fits them best.
func (r resources) rise(of func(sample) float64) float64 {
	if len(r) < 2 {
		return 0
	}
	x := func(s sample) float64 { return s.at.Seconds() }
	meanX, meanY, above, below := r.mean(x), r.mean(of), 0.0, 0.0
	for _, s := range r {
		above += (x(s) - meanX) * (of(s) - meanY)
		below += (x(s) - meanX) * (x(s) - meanX)
	}
	return above / below * (x(r[len(r)-1]) - x(r[0]))
}

func resident(s sample) float64    { return s.resident }
func live(s sample) float64        { return s.live }
func goroutines(s sample) float64  { return s.goroutines }
func descriptors(s sample) float64 { return s.descriptor }

func (r resources) String() string {
	last := r.third(2)
	return fmt.Sprintf("resident %.1f, %.1f, %.1f MiB in the three thirds of %.0f s, %+.2f %% over the last one; heap after a collection %.1f, %.1f, %.1f MiB; goroutines %.0f, %.0f, %.0f; descriptors %.0f, %.0f, %.0f",
		r.third(0).mean(resident)/(1<<20), r.third(1).mean(resident)/(1<<20), last.mean(resident)/(1<<20), r[len(r)-1].at.Seconds(),
		100*last.rise(resident)/last.mean(resident),
		r.third(0).mean(live)/(1<<20), r.third(1).mean(live)/(1<<20), last.mean(live)/(1<<20),
		r.third(0).mean(goroutines), r.third(1).mean(goroutines), last.mean(goroutines),
		r.third(0).mean(descriptors), r.third(1).mean(descriptors), last.mean(descriptors))
}

// complaints say what grows. A short run has seen too few collections of garbage for a slope: there the last third is
// compared with the one before, with room for them.
func (r resources) complaints(long bool) []string {
	if len(r) < 12 {
		return []string{fmt.Sprintf("%d samples: nothing is shown", len(r))}
	}
	var all []string
	middle, last := r.third(1), r.third(2)
	if rise := last.rise(resident) / last.mean(resident); long && rise > 0.01 {
		all = append(all, fmt.Sprintf("resident memory rises by %.2f %% over the last third", 100*rise))
	}
	room := 1.25
	if long {
		room = 1.05
	}
	for _, c := range []struct {
		name string
		of   func(sample) float64
		room float64
	}{{"resident memory", resident, 0}, {"the heap", live, 1 << 20}, {"goroutines", goroutines, 10}, {"descriptors", descriptors, 10}} {
		if was, is := middle.mean(c.of), last.mean(c.of); is > was*room+c.room {
			all = append(all, fmt.Sprintf("%s: %.0f on average in the middle third, %.0f in the last one", c.name, was, is))
		}
	}
	return all
}

// What grows is seen, and what goes up and down is not taken for growth.
func TestGrowthIsSeen(t *testing.T) {
	made := func(change func(i int, s *sample)) resources {
		var r resources
		for i := range 120 {
			s := sample{at: time.Duration(i) * time.Second, resident: 50 << 20, live: 20 << 20, goroutines: 100, descriptor: 200}
			s.resident += float64(i*7%10) * (1 << 18) // as garbage does
			change(i, &s)
			r = append(r, s)
		}
		return r
	}
	for name, c := range map[string]struct {
		change func(i int, s *sample)
		want   string
	}{
		"nothing":       {func(int, *sample) {}, ""},
		"at first only": {func(i int, s *sample) { s.resident += float64(min(i, 30)) * (1 << 20) }, ""},
		"it shrinks":    {func(i int, s *sample) { s.resident -= float64(i) * (1 << 16) }, ""},
		"memory":        {func(i int, s *sample) { s.resident += float64(i) * (1 << 15) }, "resident memory rises"},
		"heap":          {func(i int, s *sample) { s.live += float64(i) * (1 << 16) }, "the heap"},
		"goroutines":    {func(i int, s *sample) { s.goroutines += float64(i) }, "goroutines"},
		"descriptors":   {func(i int, s *sample) { s.descriptor += float64(i) }, "descriptors"},
	} {
		all := strings.Join(made(c.change).complaints(true), "; ")
		if c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s: %q, want %q", name, all, c.want)
		}
	}
}
