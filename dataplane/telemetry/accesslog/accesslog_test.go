package accesslog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// messages is a process log that a test reads.
type messages struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newMessages() (*messages, logr.Logger) {
	m := &messages{more: make(chan struct{}, 100)}
	return m, funcr.New(func(_, args string) {
		m.mu.Lock()
		m.lines = append(m.lines, args)
		m.mu.Unlock()
		m.more <- struct{}{}
	}, funcr.Options{})
}

func (m *messages) count(part string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, line := range m.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func newLog(t testing.TB, config Config) (*Log, *telemetry.Metrics, *messages) {
	t.Helper()
	seen, logger := newMessages()
	m := telemetry.NewMetrics("test")
	l := New(logger, m)
	t.Cleanup(func() { _ = l.Close() })
	if err := l.Apply(config); err != nil {
		t.Fatal(err)
	}
	return l, m, seen
}

// paths reads the lines of a log, each of which must be whole.
func paths(t *testing.T, name string) (all []string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct{ Path string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		all = append(all, line.Path)
	}
	return all
}

func logPath(l *Log, path string) {
	x := served()
	x.Request.Path = []byte(path)
	l.Log(x, "hash")
}

func TestLogIsOffAtFirst(t *testing.T) {
	l := New(logr.Discard(), telemetry.NewMetrics("test"))
	if l.Enabled() {
		t.Error("it is on")
	}
	l.Log(served(), "hash")
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	l.Log(served(), "hash")
	if l.Apply(Config{Path: "stdout", SamplePercent: 100}) == nil || l.Reopen() == nil {
		t.Error("it opens after its end")
	}
}

func TestLogWritesEveryLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	l, m, _ := newLog(t, Config{Path: name, Format: "json", SamplePercent: 100})
	if !l.Enabled() {
		t.Error("it is off")
	}
	const each = 1500
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			for i := range each {
				logPath(l, fmt.Sprintf("/%d/%d", g, i))
			}
		})
	}
	wait.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	next := [4]int{}
	for _, path := range paths(t, name) {
		var g, i int
		if _, err := fmt.Sscanf(path, "/%d/%d", &g, &i); err != nil || next[g] != i {
			t.Fatalf("%s comes where %v was due", path, next)
		}
		next[g]++
	}
	if next != [4]int{each, each, each, each} || m.AccessLogDropped.Value() != 0 || l.waiting.Load() != 0 {
		t.Errorf("%v are written, %d dropped, %d wait", next, m.AccessLogDropped.Value(), l.waiting.Load())
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode is %v %v", info.Mode(), err)
	}
}

// A quiet log is written without Close, before its memory is full.
func TestLogIsFlushedInTime(t *testing.T) {
	r, name := fifo(t)
	l, _, _ := newLog(t, Config{Path: name, SamplePercent: 100})
	lines := bufio.NewScanner(r)
	for range 3 {
		logPath(l, "/one")
		if !lines.Scan() || !strings.Contains(lines.Text(), `"path":"/one"`) {
			t.Fatal(lines.Text(), lines.Err())
		}
	}
}

// fifo makes a named pipe and opens it for reading.
func fifo(t *testing.T) (*os.File, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, name
}

func TestFullMemoryDropsAndCounts(t *testing.T) {
	r, name := fifo(t)
	l, m, _ := newLog(t, Config{Path: name, SamplePercent: 100})
	logged := uint64(0)
	for m.AccessLogDropped.Value() < 100 { // nobody reads: this ends only if lines are dropped, and nothing blocks
		logPath(l, "/x")
		logged++
	}
	if n := l.waiting.Load(); n > maxWaiting {
		t.Errorf("%d bytes wait", n)
	}
	read := make(chan uint64)
	go func() {
		var n uint64
		for lines := bufio.NewScanner(r); lines.Scan(); n++ {
		}
		read <- n
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := <-read; n+m.AccessLogDropped.Value() != logged {
		t.Errorf("%d lines were read and %d dropped of %d", n, m.AccessLogDropped.Value(), logged)
	}
}

// A pipe that nobody reads takes neither the next file nor the end of the program with it.
func TestStuckPipeIsLeftBehind(t *testing.T) {
	r, stuck := fifo(t)
	l, m, _ := newLog(t, Config{Path: stuck, SamplePercent: 100})
	for m.AccessLogDropped.Value() == 0 {
		logPath(l, "/x")
	}
	name := filepath.Join(t.TempDir(), "access.log")
	if err := l.Apply(Config{Path: name, SamplePercent: 100}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l.waiting.Load() != 0 {
		t.Errorf("%d bytes still count as waiting", l.waiting.Load())
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	name, old := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1")
	l, _, _ := newLog(t, Config{Path: name, SamplePercent: 100})
	logPath(l, "/1")
	writer := l.current.Load().writer
	if err := l.Reopen(); err != nil || l.current.Load().writer != writer {
		t.Fatal("a file that is in its place was opened again", err)
	}
	logPath(l, "/2")
	if err := os.Rename(name, old); err != nil {
		t.Fatal(err)
	}
	logPath(l, "/3")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	logPath(l, "/4")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(paths(t, old), paths(t, name)); got != "[/1 /2 /3] [/4]" {
		t.Error(got)
	}
}

func TestNoLineIsLostWhileFilesChange(t *testing.T) {
	dir := t.TempDir()
	config := func(i int) Config {
		return Config{Path: filepath.Join(dir, fmt.Sprint(i%3)), SamplePercent: 100}
	}
	l, m, _ := newLog(t, config(0))
	const each = 3000
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range each {
				logPath(l, "/x")
			}
		})
	}
	changes := 0
	for i := range 60 {
		if l.Apply(config(i)) == nil { // it may refuse while earlier files are still written
			changes++
		}
	}
	wait.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for i := range 3 {
		if _, err := os.Stat(config(i).Path); err == nil {
			lines += len(paths(t, config(i).Path))
		}
	}
	if lines != 4*each || m.AccessLogDropped.Value() != 0 || changes == 0 {
		t.Errorf("%d lines of %d, %d dropped, %d changes", lines, 4*each, m.AccessLogDropped.Value(), changes)
	}
}

func TestApplyRefuses(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "access.log")
	l, _, _ := newLog(t, Config{Path: name, SamplePercent: 100})
	fifo := filepath.Join(dir, "unread")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Path: dir, SamplePercent: 100}, "access_log.path: open " + dir},
		{Config{Path: filepath.Join(dir, "no", "such"), SamplePercent: 100}, "no such file"},
		{Config{Path: fifo, SamplePercent: 100}, "access_log.path: open " + fifo},
		{Config{Path: name, Format: "xml", SamplePercent: 100}, `access_log.format: "xml"`},
		{Config{Path: name, SamplePercent: 100.5}, "access_log.sample_percent: 100.5"},
		{Config{Path: name, SamplePercent: -1}, "access_log.sample_percent: -1"},
		{Config{Path: name, SamplePercent: math.NaN()}, "access_log.sample_percent: NaN"},
	} {
		if err := l.Apply(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
	logPath(l, "/still")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(paths(t, name)); got != "[/still]" {
		t.Error(got)
	}
}

func TestOffAndSampling(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	l, _, _ := newLog(t, Config{Path: name, SamplePercent: 100})
	logPath(l, "/1")
	for _, off := range []Config{{Path: "off", SamplePercent: 100}, {Path: name, SamplePercent: 0}} {
		if err := l.Apply(off); err != nil {
			t.Fatal(err)
		}
		if l.Enabled() {
			t.Errorf("%+v is on", off)
		}
		logPath(l, "/no")
	}
	if err := l.Apply(Config{Path: name, SamplePercent: 25}); err != nil {
		t.Fatal(err)
	}
	for range 4000 {
		logPath(l, "/some")
	}
	if err := l.Apply(Config{Path: name, Format: "Console", SamplePercent: 0}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := paths(t, name)
	// Lines of different goroutines, or of one that changed its processor, may change places: the order is not promised.
	count := make(map[string]int)
	for _, path := range got {
		count[path]++
	}
	if n := count["/some"]; count["/1"] != 1 || count["/no"] != 0 || n < 800 || n > 1200 { // 7 standard deviations
		t.Errorf("lines: %v", count)
	}
}

func TestFullDisk(t *testing.T) {
	l, m, seen := newLog(t, Config{Path: "/dev/full", SamplePercent: 100})
	logPath(l, "/1")
	<-seen.more
	for m.AccessLogWriteErrors.Value() < 2 { // it tries again
		time.Sleep(10 * time.Millisecond)
	}
	if n := seen.count("cannot write the access log"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	name := filepath.Join(t.TempDir(), "access.log")
	if err := l.Apply(Config{Path: name, SamplePercent: 100}); err != nil {
		t.Fatal(err)
	}
	logPath(l, "/2")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(paths(t, name)); got != "[/2]" {
		t.Error(got)
	}
	if m.AccessLogDropped.Value() != 1 || l.waiting.Load() != 0 {
		t.Errorf("%d dropped, %d wait", m.AccessLogDropped.Value(), l.waiting.Load())
	}
}

// A file that was left in the middle of a line goes on with a new one.
func TestTornFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	for _, before := range []string{"{\"path\":\"/0\"}\n", "{\"path\":\"/0\"}\n{\"pa"} {
		if err := os.WriteFile(name, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		l, _, _ := newLog(t, Config{Path: name, SamplePercent: 100})
		logPath(l, "/1")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rest, ok := strings.CutPrefix(string(text), strings.TrimSuffix(before, "\n")+"\n")
		if !ok || strings.Count(rest, "\n") != 1 || !json.Valid([]byte(rest)) || l.waiting.Load() != 0 {
			t.Errorf("%q became %q, %d bytes wait", before, text, l.waiting.Load())
		}
	}
}

// Lines that are dropped while a write takes for ever are told of, though nothing has failed, and so is the end of it.
func TestStuckPipeIsToldOf(t *testing.T) {
	r, name := fifo(t)
	l, m, seen := newLog(t, Config{Path: name, SamplePercent: 100})
	for m.AccessLogDropped.Value() < 100 {
		logPath(l, "/x")
	}
	<-seen.more
	if n := seen.count("cannot write the access log"); n != 1 || m.AccessLogWriteErrors.Value() != 0 {
		t.Errorf("told of %d times, %d errors", n, m.AccessLogWriteErrors.Value())
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	<-seen.more
	if n := seen.count("can be written again"); n != 1 {
		t.Errorf("the end was told of %d times", n)
	}
}

// A pipe whose reader is gone fails, and works again with the next reader.
func TestClosedPipe(t *testing.T) {
	r, name := fifo(t)
	l, m, seen := newLog(t, Config{Path: name, SamplePercent: 100})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	logPath(l, "/1")
	<-seen.more
	again, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	<-seen.more
	if seen.count("cannot write") != 1 || seen.count("can be written again") != 1 || m.AccessLogDropped.Value() != 0 {
		t.Errorf("%v, %d dropped", seen.lines, m.AccessLogDropped.Value())
	}
	line, err := bufio.NewReader(again).ReadString('\n')
	if err != nil || !strings.Contains(line, `"path":"/1"`) {
		t.Errorf("%q %v", line, err)
	}
}

func TestStandardStreams(t *testing.T) {
	stdout := os.Stdout
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	os.Stdout = w
	l, _, _ := newLog(t, Config{Path: "stdout", Format: "console", SamplePercent: 100})
	os.Stdout = stdout
	logPath(l, "/1")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("end\n"); err != nil {
		t.Fatal("the stream itself was closed: ", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(text), "shop.example/1 ") || !strings.HasSuffix(string(text), "\nend\n") {
		t.Errorf("%q %v", text, err)
	}
	if err := l.Reopen(); err == nil || errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func BenchmarkLog(b *testing.B) {
	l, m, _ := newLog(b, Config{Path: os.DevNull, SamplePercent: 100}) // a disk would be what is measured
	x := served()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Log(x, "9f3c2a51")
		if i%64 == 0 { // a proxy waits for its sockets again and again, and the writer runs then
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64(m.AccessLogDropped.Value())/float64(b.N), "dropped/op")
}
