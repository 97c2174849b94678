package lastgood

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadReturnsWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last-good")
	before := time.Now()
	for _, payload := range []string{`{"a":1}`, "", "two\nlines <&>\n", strings.Repeat("x", 1<<20)} {
		if err := Write(path, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		got, written, err := Read(path)
		if err != nil || string(got) != payload {
			t.Fatalf("read %d bytes, %v; wrote %d", len(got), err, len(payload))
		}
		if written.Before(before.Add(-time.Second)) || written.After(time.Now().Add(time.Second)) {
			t.Errorf("written at %v, want about %v", written, before)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Fatalf("the file has the mode %v, %v; want 0600", info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v; want the file alone", entries, err)
	}
}

func TestWriteReplacesALinkAndWhatAnEarlierProcessLeft(t *testing.T) {
	dir := t.TempDir()
	path, target := filepath.Join(dir, "last-good"), filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{path, path + ".tmp"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Read(path); err != nil || string(got) != "new" {
		t.Errorf("read %q, %v", got, err)
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "mine" {
		t.Errorf("what the links pointed at is now %q, %v", got, err)
	}
}

func TestWriteFailsAndLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last-good")
	if err := Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	err := Write(path, make([]byte, MaxSize+1))
	if err == nil || !strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("a payload over the bound: %v", err)
	}
	if got, _, err := Read(path); err != nil || string(got) != "old" {
		t.Errorf("read %q, %v", got, err)
	}

	err = Write(filepath.Join(path, "below-a-file"), []byte("x"))
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a path below a file: %v", err)
	}
	folder := filepath.Join(filepath.Dir(path), "folder")
	if err := os.MkdirAll(filepath.Join(folder, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(folder, []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if _, err := os.Stat(folder + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed write left its file behind: %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	good := written(t, []byte(`{"services":[]}`))
	header, payload, _ := bytes.Cut(good, []byte("\n"))
	replace := func(old, changed string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("%q is not in %q", old, good)
		}
		return bytes.Replace(good, []byte(old), []byte(changed), 1)
	}
	for name, c := range map[string]struct {
		content []byte
		mode    fs.FileMode
		want    string
	}{
		"group may read":       {good, 0o640, "chmod 600"},
		"others may read":      {good, 0o604, "chmod 600"},
		"others may write":     {good, 0o602, "chmod 600"},
		"changed payload":      {replace(`{"services"`, `{"Services"`), 0o600, "checksum"},
		"changed checksum":     {replace(`"sha256":"`, `"sha256":"0`), 0o600, "checksum"},
		"no checksum":          {[]byte(`{"version":1,"size":1}` + "\nx"), 0o600, "checksum"},
		"other version":        {replace(`"version":1`, `"version":2`), 0o600, "has the version 2, and this program knows 1"},
		"cut off":              {good[:len(good)-1], 0o600, "cut off or was added to"},
		"added to":             {append(bytes.Clone(good), 'x'), 0o600, "cut off or was added to"},
		"header alone":         {append(bytes.Clone(header), '\n'), 0o600, "cut off or was added to"},
		"header without end":   {header, 0o600, "first line"},
		"payload alone":        {append(bytes.Clone(payload), '\n'), 0o600, "version 0"},
		"no JSON":              {[]byte("services: []\n"), 0o600, "first line is not of this program"},
		"rest behind header":   {replace("\n", "{}\n"), 0o600, "first line is not of this program"},
		"empty":                {nil, 0o600, "first line"},
		"very long first line": {bytes.Repeat([]byte("{"), 1<<16), 0o600, "first line"},
		"negative size":        {replace(`"size":15`, `"size":-1`), 0o600, "cut off or was added to"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "last-good")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			refused(t, path, c.want)
		})
	}
}

func TestReadRefusesWhatIsNoPlainFile(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := Write(target, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	refused(t, link, "symbolic link")

	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, pipe, "not a regular file")
	refused(t, dir, "not a regular file")

	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, MaxSize+maxHeader+1); err != nil {
		t.Fatal(err)
	}
	refused(t, huge, "more than 256 MiB")

	_, _, err := Read(filepath.Join(dir, "none"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v; want fs.ErrNotExist", err)
	}
}

func FuzzRead(f *testing.F) {
	good := written(f, []byte(`{"services":[]}`))
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append(bytes.Clone(good), good...))
	f.Add([]byte("{\"version\":1,\"size\":-1}\n"))
	f.Add([]byte("{\"version\":1,\"size\":9223372036854775807}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		payload, at, err := decode(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			if payload != nil || !at.IsZero() {
				t.Errorf("an error and %q of %v", payload, at)
			}
			return
		}
		if _, rest, _ := bytes.Cut(content, []byte("\n")); !bytes.Equal(rest, payload) {
			t.Errorf("read %q of %q", payload, content)
		}
		path := filepath.Join(t.TempDir(), "last-good")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if again, _, err := Read(path); err != nil || !bytes.Equal(again, payload) {
			t.Errorf("from a file: %q, %v", again, err)
		}
	})
}

func written(t testing.TB, payload []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "last-good")
	if err := Write(path, payload); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func refused(t *testing.T, path, want string) {
	t.Helper()
	payload, _, err := Read(path)
	if err == nil {
		t.Fatalf("read %q, want an error with %q", payload, want)
	}
	for _, words := range []string{want, path} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%v; want %q in it", err, words)
		}
	}
}
