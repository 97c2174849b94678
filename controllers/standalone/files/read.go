package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Read reads a file, and of one that has more than most bytes one more than that: who reads it can tell, also where a file
// grows for ever.
func Read(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("is a folder")
	}
	return io.ReadAll(io.LimitReader(f, most+1))
}

// Reason is an error of the file system without the name of the file.
func Reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no such file"
	}
	return err.Error()
}

// In lists the *.yaml files of a folder in the order of their names. Hidden ones are left out.
func In(folder string) ([]string, error) {
	escaped := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(folder)
	names, err := filepath.Glob(filepath.Join(escaped, "*.yaml"))
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(filepath.Base(n), ".") }), err
}
