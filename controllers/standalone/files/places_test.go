package files

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPlaces: what a link goes through is watched, too, also where a folder is the link, and one folder under one name.
func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"conf", "real", "other", "releases/1", "circle"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range [][2]string{
		{"../other/b.yaml", "real/a.yaml"},
		{dir + "/real/a.yaml", "conf/a.yaml"},
		{"releases/1", "current"},
		{dir + "/conf", "same"},
		{"two", "circle/one"},
		{"one", "circle/two"},
	} {
		if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		paths   []string
		want    []string // folders
		matter  []string
		nothing []string
	}{
		{
			"links of files",
			[]string{"/conf", "/alone.crt"},
			[]string{"", "/conf", "/real", "/other"},
			[]string{"/conf", "/alone.crt", "/conf/new.yaml", "/real/a.yaml", "/other/b.yaml"},
			[]string{"/real/b.yaml"},
		},
		{
			"a link of a folder",
			[]string{"/current/tls.crt"},
			[]string{"/current", ""},
			[]string{"/current", "/current/tls.crt", "/current/..data"},
			[]string{"/releases", "/alone.crt"},
		},
		{
			"two names",
			[]string{"/conf/b.crt", "/same/b.key"},
			[]string{"/conf", ""},
			[]string{"/conf/b.key", "/same"},
			[]string{"/alone.crt"},
		},
		{
			"a circle",
			[]string{"/circle/one/x"},
			[]string{"/circle/one", "/circle"},
			[]string{"/circle/one", "/circle/two"},
			[]string{"/circle/three"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var paths, got []string
			for _, p := range c.paths {
				paths = append(paths, dir+p)
			}
			at := placesOf(paths)
			for _, f := range at.names {
				if rest, below := strings.CutPrefix(f, dir); below {
					got = append(got, rest)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("folders %q, want %q", got, c.want)
			}
			for _, name := range c.matter {
				if !at.concern(dir + name) {
					t.Errorf("%s does not matter", name)
				}
			}
			for _, name := range c.nothing {
				if at.concern(dir + name) {
					t.Errorf("%s matters", name)
				}
			}
		})
	}
}
