package peers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeApt plays apt, dpkg and ldd: a program whose package lacks libA, whose package in turn lacks libB.
type fakeApt struct {
	t *testing.T
	// lists says whether the system's package lists are there; private ones are after an update.
	lists    bool
	offline  bool
	empty    int // updates that say they went well and fetch nothing
	updates  int
	unpacked []string
}

func (f *fakeApt) run(_ context.Context, dir, name string, args ...string) (string, error) {
	private := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "Dir::State::lists=") })
	known := f.lists || private && f.updates > f.empty
	last := args[len(args)-1]
	switch {
	case name == "apt-get" && last == "update":
		if !private {
			f.t.Error("the system's lists were to be updated")
		}
		if f.offline {
			return "", errors.New("no network")
		}
		f.updates++
		return "", nil
	case name == "apt-get" && slices.Contains(args, "download"):
		if !known {
			return "", errors.New("unable to locate package " + last)
		}
		return "", os.WriteFile(filepath.Join(dir, last+"_1_all.deb"), nil, 0o600)
	case name == "apt-cache":
		return map[string]string{
			"tool":  "tool\n  Depends: libc6\n  Depends: adduser\n |Depends: liba1\n  Depends: liba1-alt\n",
			"liba1": "liba1\n  PreDepends: libb2\n",
		}[last], nil
	case name == "dpkg":
		pkg, _, _ := strings.Cut(filepath.Base(args[1]), "_")
		f.unpacked = append(f.unpacked, pkg)
		sub, mode, file := "usr/lib/x86_64-linux-gnu", os.FileMode(0o644), pkg+".so"
		if pkg == "tool" {
			sub, mode, file = "usr/sbin", 0o755, "tool"
		}
		if err := os.MkdirAll(filepath.Join(last, sub), 0o755); err != nil {
			return "", err
		}
		return "", os.WriteFile(filepath.Join(last, sub, file), nil, mode)
	case name == "env": // ldd
		switch {
		case !slices.Contains(f.unpacked, "liba1"):
			return "\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\tliba.so.1 => not found\n", nil
		case !slices.Contains(f.unpacked, "libb2"):
			return "\tlibb.so.2 => not found\n", nil
		}
		return "\tlibc.so.6 => /lib/libc.so.6 (0x1)\n", nil
	}
	f.t.Errorf("unexpected command %s %q", name, args)
	return "", errors.New("unexpected")
}

func TestDebianUnpacksOnceWithLibraries(t *testing.T) {
	for _, tc := range []struct {
		name    string
		lists   bool
		empty   int
		updates int
	}{
		{"package lists are there", true, 0, 0},
		{"package lists are missing", false, 0, 1},
		{"a server cannot be reached at first", false, 2, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			apt := &fakeApt{t: t, lists: tc.lists, empty: tc.empty}
			d := debian{dir: dir, run: apt.run}
			got, err := d.find(t.Context(), "tool", "tool")
			if err != nil {
				t.Fatal(err)
			}
			root := filepath.Join(dir, "tool")
			want := Program{
				Name: "tool", Path: filepath.Join(root, "usr/sbin/tool"), Origin: "Debian package",
				Env: []string{"LD_LIBRARY_PATH=" + root + "/usr/lib/x86_64-linux-gnu:" + root + "/usr/lib"},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"tool", "liba1", "liba1-alt", "libb2"}, apt.unpacked); diff != "" {
				t.Errorf("unpacked: %s", diff)
			}
			if apt.updates != tc.updates {
				t.Errorf("%d updates, want %d", apt.updates, tc.updates)
			}
			again, err := d.find(t.Context(), "tool", "tool")
			if err != nil || again.Path != want.Path || len(apt.unpacked) != 4 {
				t.Errorf("second time: %v, %v, unpacked %q", again, err, apt.unpacked)
			}
		})
	}
}

func TestDebianFailsWithTheReasonAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	apt := &fakeApt{t: t, offline: true}
	_, err := debian{dir: dir, run: apt.run}.find(t.Context(), "tool", "tool")
	if err == nil || !strings.Contains(err.Error(), "unable to locate package tool") || !strings.Contains(err.Error(), "no network") {
		t.Errorf("got %v", err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "tool*")); !slices.Equal(found, []string{filepath.Join(dir, "tool.lock")}) {
		t.Errorf("left behind: %q", found)
	}
}

func TestDebianWithoutTheProgram(t *testing.T) {
	apt := &fakeApt{t: t, lists: true}
	_, err := debian{dir: t.TempDir(), run: apt.run}.find(t.Context(), "other", "tool")
	if err == nil || !strings.Contains(err.Error(), "package tool has no program other") {
		t.Errorf("got %v", err)
	}
}
