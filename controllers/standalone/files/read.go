package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Read reads a file, and of one that has more than most bytes one more than that: who reads it can tell, also where a file
// grows for ever.
func Read(name string, most int64) ([]byte, error) {
	data, _, err := read(name, most)
	return data, err
}

// read also says what the file was before its content was read.
func read(name string, most int64) ([]byte, os.FileInfo, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		return nil, nil, errors.New("is a folder")
	}
	// As much as there is, and a byte that shows the end: it may be kept, all of it.
	data := make([]byte, min(info.Size(), most)+1)
	from := io.LimitReader(f, most+1)
	n, err := io.ReadFull(from, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return data[:n], info, nil
	}
	if err != nil {
		return nil, nil, err
	}
	rest, err := io.ReadAll(from) // it has grown, or is one whose size is not known
	return slices.Concat(data, rest), info, err
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

// list lists the *.yaml files of a folder in the order of their names. Hidden ones are left out.
func list(folder string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(folder)
	return slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return !listed(e.Name())
	}), err
}

// listed says whether a file of that name belongs to a folder's.
func listed(name string) bool {
	return strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, ".")
}
