package files

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	if err := os.WriteFile(name, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]string{3: "1234", 4: "12345", 5: "12345", 100: "12345"} {
		if got, err := Read(name, most); string(got) != want || err != nil {
			t.Errorf("of at most %d bytes: %q, %v", most, got, err)
		}
	}
	if _, err := Read(dir, 1); err == nil || Reason(err) != "is a folder" {
		t.Error(err)
	}
	if _, err := Read(name+"b", 1); err == nil || Reason(err) != "there is no such file" {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd [name]*")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b.yaml", "a.yaml", ".hidden.yaml", "c.yml"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var f Folder
	got, failures, err := f.Read(dir, 1)
	if len(got) != 2 || got[0].Name != filepath.Join(dir, "a.yaml") || got[1].Name != filepath.Join(dir, "b.yaml") || len(failures) > 0 || err != nil {
		t.Errorf("%v, %v, %v", got, failures, err)
	}
}
