package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]string{
		"": "info", "trace": "trace", "DEBUG": "debug", " warn ": "warn", "error": "error", "info,x=debug": "info",
		"x=debug": "info", "x=debug,y::z=trace,warn": "warn", "debug,": "debug", "info,error": "error",
	} {
		if got, err := ParseLevel(in); got != want || err != nil {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"loud", "x=info,loud", "off", "4"} {
		_, err := ParseLevel(in)
		if err == nil || !strings.Contains(err.Error(), "must be one of trace, debug, info, warn, error") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// writeAll writes a message of each severity.
func writeAll(log logr.Logger) {
	log.V(2).Info("trace message")
	log.V(1).Info("debug message")
	log.Info("info message")
	Warn(log, "warn message")
	log.Error(errors.New("cause"), "error message")
}

func TestLevelChangesAtRunTime(t *testing.T) {
	all := []string{"trace", "debug", "info", "warn", "error"}
	var out bytes.Buffer
	level := NewLevel()
	log, err := NewLogger(LogOptions{Level: level, Writer: &out})
	if err != nil {
		t.Fatal(err)
	}
	if level.Get() != "info" {
		t.Errorf("the first level is %s", level.Get())
	}
	for i, name := range all {
		out.Reset()
		if err := level.Set(strings.ToUpper(name)); err != nil || level.Get() != name {
			t.Fatalf("%s became %s, %v", name, level.Get(), err)
		}
		writeAll(log)
		var got []string
		for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			var entry struct{ Level, Msg, Error, TS, Stack string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if entry.Msg != entry.Level+" message" || entry.TS == "" || entry.Stack != "" {
				t.Error(line)
			}
			if (entry.Error == "cause") != (entry.Level == "error") {
				t.Error(line)
			}
			got = append(got, entry.Level)
		}
		if strings.Join(got, " ") != strings.Join(all[i:], " ") {
			t.Errorf("%s shows %v", name, got)
		}
	}
	if err := level.Set("loud"); err == nil || level.Get() != "error" {
		t.Errorf("%v, %s", err, level.Get())
	}
}

// From V(8) on Kubernetes' client writes down what the API server has said, Secrets too.
func TestNoLevelShowsWhatTheClusterSays(t *testing.T) {
	level := NewLevel()
	log, err := NewLogger(LogOptions{Level: level, Writer: &bytes.Buffer{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := level.Set("trace"); err != nil {
		t.Fatal(err)
	}
	if log = log.WithName("client"); !log.V(6).Enabled() || log.V(8).Enabled() {
		t.Errorf("V(6): %v, V(8): %v", log.V(6).Enabled(), log.V(8).Enabled())
	}
}

func TestLogKeepsOneLineForOneMessage(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(LogOptions{Writer: &out})
	if err != nil {
		t.Fatal(err)
	}
	Warn(log.WithName("listener").WithValues("address", "a\nb"), "forged\n{}", "host", "x\r\n\x1b[31m")
	if n := strings.Count(out.String(), "\n"); n != 1 || strings.ContainsAny(out.String(), "\r\x1b") {
		t.Errorf("%q", out.String())
	}
	var entry map[string]any
	if err := json.Unmarshal(out.Bytes(), &entry); err != nil {
		t.Fatal(err)
	}
	if entry["logger"] != "listener" || entry["address"] != "a\nb" || entry["level"] != "warn" || entry["v"] != nil {
		t.Error(entry)
	}
}

func TestLogConsoleAndStacks(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(LogOptions{Writer: &out, Console: true, Stacks: true})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello", "port", 6188)
	line := strings.Split(strings.TrimSpace(out.String()), "\t")
	if len(line) != 4 || line[1] != "info" || line[2] != "hello" || line[3] != `{"port": 6188}` {
		t.Errorf("%q", line)
	}
	out.Reset()
	writeAll(log)
	if _, stack, _ := strings.Cut(out.String(), "error message"); !strings.Contains(stack, "writeAll") {
		t.Errorf("no stack in %s", out.String())
	}
	if before, _, _ := strings.Cut(out.String(), "error message"); strings.Contains(before, "writeAll") {
		t.Error("a stack where none belongs")
	}
}

func TestWarnWithAnotherLogger(t *testing.T) {
	var seen []string
	log := funcr.New(func(_, args string) { seen = append(seen, args) }, funcr.Options{})
	Warn(log, "message", "key", 1)
	if len(seen) != 1 || !strings.Contains(seen[0], "message") {
		t.Error(seen)
	}
	Warn(logr.Discard(), "message")
}

func TestLogToStderr(t *testing.T) {
	stderr := os.Stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = w
	log, err := NewLogger(LogOptions{})
	os.Stderr = stderr
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	text := make([]byte, 200)
	n, err := r.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), `"msg":"hello"`) {
		t.Errorf("%q %v", text[:n], err)
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	log.Info("nobody reads this") // and nothing ends
}
