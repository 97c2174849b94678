package files

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// A folder of files, of which events tell.
func TestAgain(t *testing.T) {
	const most = 100
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		happen func(dir string) []fsnotify.Event
		sure   bool
		want   string // of b.yaml, where it is sure
	}{
		{"nothing", func(string) []fsnotify.Event { return nil }, true, "b"},
		{"a file is written", func(dir string) []fsnotify.Event {
			put(dir+"/b.yaml", "new")
			return []fsnotify.Event{{Name: dir + "/b.yaml", Op: fsnotify.Write}}
		}, true, "new"},
		{"a file is put into its place", func(dir string) []fsnotify.Event {
			put(dir+"/.next", "new")
			if err := os.Rename(dir+"/.next", dir+"/b.yaml"); err != nil {
				t.Fatal(err)
			}
			return []fsnotify.Event{{Name: dir + "/.next", Op: fsnotify.Rename}, {Name: dir + "/b.yaml", Op: fsnotify.Create}}
		}, true, "new"},
		{"a file that is none of ours", func(dir string) []fsnotify.Event {
			return []fsnotify.Event{{Name: dir + "/notes.txt", Op: fsnotify.Create}}
		}, true, "b"},
		{"a link is put into its place", func(dir string) []fsnotify.Event {
			if err := os.Remove(dir + "/b.yaml"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("a.yaml", dir+"/b.yaml"); err != nil {
				t.Fatal(err)
			}
			return []fsnotify.Event{{Name: dir + "/b.yaml", Op: fsnotify.Create}}
		}, false, ""},
		{"a file is gone", func(dir string) []fsnotify.Event {
			return []fsnotify.Event{{Name: dir + "/b.yaml", Op: fsnotify.Remove}}
		}, false, ""},
		{"a file has another name", func(dir string) []fsnotify.Event {
			return []fsnotify.Event{{Name: dir + "/b.yaml", Op: fsnotify.Rename}}
		}, false, ""},
		{"a file is gone, and nobody has told", func(dir string) []fsnotify.Event {
			if err := os.Remove(dir + "/b.yaml"); err != nil {
				t.Fatal(err)
			}
			return []fsnotify.Event{{Name: dir + "/b.yaml", Op: fsnotify.Chmod}}
		}, false, ""},
		{"a new file", func(dir string) []fsnotify.Event {
			return []fsnotify.Event{{Name: dir + "/c.yaml", Op: fsnotify.Create}}
		}, false, ""},
		{"something beside the folder", func(dir string) []fsnotify.Event {
			return []fsnotify.Event{{Name: filepath.Dir(dir) + "/notes.yaml", Op: fsnotify.Create}}
		}, true, "b"},
		{"something elsewhere", func(dir string) []fsnotify.Event {
			return []fsnotify.Event{{Name: dir + "/of/links.yaml", Op: fsnotify.Create}}
		}, false, ""},
		{"another folder in its place", func(dir string) []fsnotify.Event {
			return []fsnotify.Event{{Name: dir, Op: fsnotify.Create}}
		}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"a", "b", "d"} {
				put(filepath.Join(dir, name+".yaml"), name)
			}
			var f Folder
			f.Watch()
			first, _, err := f.Read(dir, most)
			if err != nil || len(first) != 3 || !f.Sure() {
				t.Fatalf("%v, %v, %t", first, err, f.Sure())
			}
			for _, e := range c.happen(dir) {
				f.Told(e)
			}
			opened := f.Opened()
			got, ok := f.Again(most)
			if ok != c.sure || f.Sure() != c.sure {
				t.Fatalf("it is sure: %t, and %t afterwards", ok, f.Sure())
			}
			if !ok {
				if again, _, err := f.Read(dir, most); err != nil || slices.Equal(again, first) != (len(again) == 3 && string(again[1].Data) == "b") {
					t.Errorf("%v, %v", again, err)
				}
				return
			}
			if string(got[1].Data) != c.want || got[0] != first[0] || got[2] != first[2] || (got[1] == first[1]) != (c.want == "b") {
				t.Errorf("it read %v, and %v at first", got, first)
			}
			if n := f.Opened() - opened; n > 1 {
				t.Errorf("%d files were opened", n)
			}
			put(dir+"/b.yaml", "newer") // and nobody tells
			if again, ok := f.Again(most); !ok || !slices.Equal(again, got) {
				t.Errorf("nothing was told, and it read %v", again)
			}
			f.Doubt()
			if _, ok := f.Again(most); ok {
				t.Error("it is sure, in spite of a doubt")
			}
			if all, _, err := f.Read(dir, most); err != nil || string(all[1].Data) != "newer" {
				t.Errorf("%v, %v", all, err)
			}
		})
	}
}

// What a link leads to changes without an event in the folder.
func TestFolderWithLinksIsNeverSure(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		if err := os.WriteFile(fmt.Sprintf("%s/%d.yaml", dir, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var f Folder
	if _, _, err := f.Read(dir, 1); err != nil || f.Sure() {
		t.Errorf("unwatched: %v, %t", err, f.Sure())
	}
	f.Watch()
	if _, _, err := f.Read(dir, 1); err != nil || !f.Sure() {
		t.Errorf("%v, %t", err, f.Sure())
	}
	if _, _, err := f.Read(dir+"/0.yaml", 1); err != nil || f.Sure() {
		t.Errorf("of one file: %v, %t", err, f.Sure())
	}
	link := t.TempDir() + "/link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Read(link, 1); err != nil || f.Sure() {
		t.Errorf("through a link: %v, %t", err, f.Sure())
	}
	if err := os.Symlink("0.yaml", dir+"/2.yaml"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Read(dir, 1); err != nil || f.Sure() {
		t.Errorf("with a link: %v, %t", err, f.Sure())
	}
	if _, _, err := f.Read(dir+"/none", 1); err == nil || f.Sure() {
		t.Errorf("of nothing: %v, %t", err, f.Sure())
	}
}

// A folder that was emptied is read again, whatever is told next: what is wrong with it is said by whoever reads it.
func TestEmptiedFolderIsNeverSure(t *testing.T) {
	dir := t.TempDir()
	var f Folder
	f.Watch()
	if _, _, err := f.Read(dir, 1); err != nil || f.Sure() {
		t.Errorf("%v, and it is sure: %t", err, f.Sure())
	}
	f.Told(fsnotify.Event{Name: dir + "/notes.txt", Op: fsnotify.Create})
	if _, ok := f.Again(1); ok {
		t.Error("nothing is taken for everything")
	}
}

// The folder that the process works in is one like others.
func TestFolderByARelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("conf", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{".", "conf", "./conf/"} {
		name := filepath.Join(path, "a.yaml")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		var f Folder
		f.Watch()
		if _, _, err := f.Read(path, 10); err != nil || !f.Sure() {
			t.Fatalf("%s: %v, %t", path, err, f.Sure())
		}
		if err := os.WriteFile(name, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		f.Told(fsnotify.Event{Name: filepath.Clean(path) + "/a.yaml", Op: fsnotify.Write})
		if read, ok := f.Again(10); !ok || string(read[0].Data) != "new" {
			t.Errorf("%s: %v, %t", path, read, ok)
		}
	}
}
