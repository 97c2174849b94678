package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is an executable and the environment that it needs.
type Program struct {
	Name string
	Path string
	// Env is added to the environment of the process (LD_LIBRARY_PATH of an unpacked package), nil for a program of PATH.
	Env []string
	// Origin says where the program came from, for reports: "PATH" or "Debian package".
	Origin string
}

// packages names the Debian package of a program where the two differ.
var packages = map[string]string{
	"ab":       "apache2-utils",
	"h2load":   "nghttp2-client",
	"promtool": "prometheus",

	"systemd-analyze": "systemd",
}

// Find returns the program called name: from PATH (and the sbin directories, which are often missing from an
// unprivileged user's PATH), else from the user's cache, into which its Debian package is unpacked when it is not there
// yet. The error says what was tried and what to install.
func Find(ctx context.Context, name string) (Program, error) {
	if path, err := lookPath(name); err == nil {
		return Program{Name: name, Path: path, Origin: "PATH"}, nil
	}
	pkg := name
	if p, ok := packages[name]; ok {
		pkg = p
	}
	cache, err := CacheDir()
	if err != nil {
		return Program{}, err
	}
	p, err := debian{dir: filepath.Join(cache, "debian"), run: runCommand}.find(ctx, name, pkg)
	if err != nil {
		return Program{}, fmt.Errorf("%s is not on PATH and its Debian package %s could not be unpacked (install it, e.g. apt-get install %s): %w", name, pkg, pkg, err)
	}
	return p, nil
}

// CacheDir is the directory for unpacked and built programs: pingora-proxy below XDG_CACHE_HOME, else below ~/.cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pingora-proxy"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no directory for unpacked programs: set XDG_CACHE_HOME or HOME: %w", err)
	}
	return filepath.Join(home, ".cache", "pingora-proxy"), nil
}

// Command returns the program with its environment, ready to be started.
func (p Program) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.Path, args...)
	cmd.Env = append(os.Environ(), p.Env...)
	return cmd
}

// FirstLine runs the program with args and returns the first line that it prints on either stream; programs print their
// version so. The exit code is ignored: wrk prints its version and exits 1.
func (p Program) FirstLine(ctx context.Context, args ...string) (string, error) {
	out, err := p.Command(ctx, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return "", fmt.Errorf("%s %s printed nothing: %w", p.Path, strings.Join(args, " "), errors.Join(err, errSilent))
	}
	return line, nil
}

var errSilent = errors.New("no output")

func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); executable(path) {
			return path, nil
		}
	}
	return "", err
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
