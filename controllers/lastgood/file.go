package lastgood

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// MaxSize is the most bytes that a payload may have.
	MaxSize = 256 << 20
	// version is of the file's form. A payload has to carry its own.
	version = 1
	// maxHeader bounds the first line.
	maxHeader = 1 << 10
)

// A header is the first line of the file, as JSON. The payload follows, byte by byte.
type header struct {
	Version int       `json:"version"`
	Written time.Time `json:"written"`
	Size    int64     `json:"size"`
	SHA256  string    `json:"sha256"` // of the payload, in hexadecimal
}

// Write replaces the file by one with the payload and the permissions 0600. Whatever happens, the file is either the old or the new
// one.
func Write(path string, payload []byte) error {
	if len(payload) > MaxSize {
		return fmt.Errorf("last good configuration %s: not written: it has %d bytes, more than %d MiB", path, len(payload), MaxSize>>20)
	}
	if err := write(path, payload); err != nil {
		return fmt.Errorf("last good configuration %s: not written: %w", path, err)
	}
	return nil
}

func write(path string, payload []byte) (err error) {
	sum := sha256.Sum256(payload)
	head, err := json.Marshal(header{
		Version: version, Written: time.Now().UTC(), Size: int64(len(payload)), SHA256: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		return err
	}
	// One name, so that a process that is killed here leaves one file at most, which the next one removes.
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(temp)
		}
	}()
	if _, err = file.Write(append(head, '\n')); err != nil {
		return err
	}
	if _, err = file.Write(payload); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	if err = file.Close(); err != nil {
		return err
	}
	if err = os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Read returns what Write wrote, and when. It refuses a file that others may read, that is no plain file, or that is not whole and
// unchanged. Where there is none the error is fs.ErrNotExist.
func Read(path string) (payload []byte, written time.Time, err error) {
	payload, written, err = read(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("last good configuration %s: not used: %w", path, err)
	}
	return payload, written, nil
}

func read(path string) ([]byte, time.Time, error) {
	// Without waiting, which opening a named pipe would do.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, time.Time{}, errors.New("it is a symbolic link; name the file itself")
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, time.Time{}, errors.New("it is not a regular file")
	case info.Mode().Perm()&0o077 != 0:
		return nil, time.Time{}, fmt.Errorf("others than its owner may access it (mode %#o) and it holds secrets; chmod 600 it",
			info.Mode().Perm())
	case info.Size() > MaxSize+maxHeader:
		return nil, time.Time{}, fmt.Errorf("it has %d bytes, more than %d MiB; remove it", info.Size(), MaxSize>>20)
	}
	return decode(file, info.Size())
}

// decode reads the file's contents, of size bytes.
func decode(r io.Reader, size int64) ([]byte, time.Time, error) {
	none := time.Time{}
	buffered := bufio.NewReaderSize(r, maxHeader)
	line, err := buffered.ReadSlice('\n')
	if err != nil {
		return nil, none, errors.New("its first line is missing or not of this program; remove it")
	}
	var head header
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, none, fmt.Errorf("its first line is not of this program: %w; remove it", err)
	}
	if head.Version != version {
		return nil, none, fmt.Errorf("it has the version %d, and this program knows %d; remove it", head.Version, version)
	}
	if rest := size - int64(len(line)); rest != head.Size {
		return nil, none, fmt.Errorf("it is cut off or was added to: %d bytes of %d; remove it", rest, head.Size)
	}
	if head.Size > MaxSize {
		return nil, none, fmt.Errorf("it has %d bytes, more than %d MiB; remove it", head.Size, MaxSize>>20)
	}
	payload := make([]byte, head.Size)
	if _, err := io.ReadFull(buffered, payload); err != nil {
		return nil, none, fmt.Errorf("it changed while it was read: %w", err)
	}
	if sum := sha256.Sum256(payload); hex.EncodeToString(sum[:]) != head.SHA256 {
		return nil, none, errors.New("its contents do not have the checksum that was written with them; remove it")
	}
	return payload, head.Written, nil
}
