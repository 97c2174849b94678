package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLibraryLevels bounds how deep the dependencies of a package are followed.
const maxLibraryLevels = 6

// runner runs a command in a directory and returns its standard output; tests replace it.
type runner func(ctx context.Context, dir, name string, args ...string) (string, error)

// debian unpacks packages below dir, without privileges. Layout: dir/<package>/ holds the unpacked files of the package
// and of those libraries that the machine lacks; dir/apt/ holds package lists of our own where the system's are missing.
type debian struct {
	dir string
	run runner
}

// parts are packages that others need at once: the program of redis-server is a link to one of redis-tools.
var parts = map[string][]string{"redis-server": {"redis-tools"}}

// find returns the program out of the unpacked package pkg, and unpacks it first when that has not happened yet.
func (d debian) find(ctx context.Context, name, pkg string) (Program, error) {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return Program{}, err
	}
	unlock, err := lock(filepath.Join(d.dir, pkg+".lock"))
	if err != nil {
		return Program{}, err
	}
	defer unlock()

	root := filepath.Join(d.dir, pkg)
	if p, ok := programIn(root, name); ok {
		return p, nil
	}
	// Unpacked beside its final place and renamed there, so that an interrupted run leaves nothing that looks complete.
	tmp, err := os.MkdirTemp(d.dir, pkg+".new-")
	if err != nil {
		return Program{}, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := d.unpack(ctx, name, pkg, tmp); err != nil {
		return Program{}, err
	}
	if err := os.RemoveAll(root); err != nil {
		return Program{}, err
	}
	if err := os.Rename(tmp, root); err != nil {
		return Program{}, err
	}
	p, ok := programIn(root, name)
	if !ok {
		return Program{}, fmt.Errorf("package %s has no program %s", pkg, name)
	}
	return p, nil
}

// unpack fetches pkg into root, then level by level the libraries that it depends on, until the dynamic linker finds all.
func (d debian) unpack(ctx context.Context, name, pkg, root string) error {
	seen := map[string]bool{}
	level := append([]string{pkg}, parts[pkg]...)
	var missing []string
	for range maxLibraryLevels {
		for _, p := range level {
			seen[p] = true
			if err := d.fetch(ctx, p, root); err != nil {
				return err
			}
		}
		p, ok := programIn(root, name)
		if !ok {
			return fmt.Errorf("package %s has no program %s", pkg, name)
		}
		out, err := d.run(ctx, root, "env", append(slices.Clone(p.Env), "ldd", p.Path)...)
		if err != nil {
			return err
		}
		if missing = missingLibraries(out); len(missing) == 0 {
			return nil
		}
		var next []string
		for _, p := range level {
			out, err := d.apt(ctx, root, "apt-cache", "depends", "--no-recommends", "--no-suggests", "--no-conflicts",
				"--no-breaks", "--no-replaces", "--no-enhances", p)
			if err != nil {
				return err
			}
			for _, lib := range libraryPackages(out) {
				if !seen[lib] && !slices.Contains(next, lib) {
					next = append(next, lib)
				}
			}
		}
		if level = next; len(level) == 0 {
			break
		}
	}
	return fmt.Errorf("package %s needs libraries that its dependencies do not hold: %s", pkg, strings.Join(missing, ", "))
}

// fetch downloads one package and unpacks it into root.
func (d debian) fetch(ctx context.Context, pkg, root string) error {
	dir, err := os.MkdirTemp(d.dir, "download-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := d.apt(ctx, dir, "apt-get", "download", pkg); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("apt-get download %s left no .deb file", pkg)
	}
	for _, file := range files {
		if _, err := d.run(ctx, dir, "dpkg", "-x", file, root); err != nil {
			return err
		}
	}
	return nil
}

// tries is how often lists of our own are fetched until a command finds in them what it asks for: apt-get update takes it for a
// success, too, when a server could not be reached.
const tries = 3

// apt runs apt-get or apt-cache. When that fails (no package lists, or lists that are out of date), lists of our own are
// fetched, which needs no privileges, and the command is tried again with them.
func (d debian) apt(ctx context.Context, dir, name string, args ...string) (string, error) {
	private := append(d.privateLists(), args...)
	updated := filepath.Join(d.dir, "apt", "updated")
	if _, err := os.Stat(updated); err == nil {
		if out, err := d.run(ctx, dir, name, private...); err == nil {
			return out, nil
		}
	}
	out, err := d.run(ctx, dir, name, args...)
	if err == nil {
		return out, nil
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(d.dir, "apt", sub), 0o755); err != nil {
			return "", err
		}
	}
	unlock, lockErr := lock(filepath.Join(d.dir, "apt", "lock"))
	if lockErr != nil {
		return "", lockErr
	}
	defer unlock()
	for range tries {
		if _, updateErr := d.run(ctx, dir, "apt-get", append(d.privateLists(), "-q", "update")...); updateErr != nil {
			return "", fmt.Errorf("%w; then the package lists could not be fetched: %w", err, updateErr)
		}
		if out, err = d.run(ctx, dir, name, private...); err == nil {
			return out, os.WriteFile(updated, nil, 0o644)
		}
	}
	return "", err
}

// privateLists are the options that make apt keep its lists and its cache below d.dir, and ask a server again that fails.
func (d debian) privateLists() []string {
	apt := filepath.Join(d.dir, "apt")
	return []string{
		"-o", "Dir::State::lists=" + filepath.Join(apt, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(apt, "cache"),
		// As root, apt would drop to a user who cannot write there.
		"-o", "APT::Sandbox::User=root",
		"-o", "Acquire::Retries=3",
	}
}

// programIn looks for the program name in the unpacked package at root.
func programIn(root, name string) (Program, bool) {
	for _, dir := range []string{"usr/sbin", "usr/bin", "sbin", "bin"} {
		path := filepath.Join(root, dir, name)
		if !executable(path) {
			continue
		}
		libs := []string{}
		for _, pattern := range []string{"usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib/*-linux-*/systemd", "usr/lib", "lib"} {
			found, err := filepath.Glob(filepath.Join(root, pattern))
			if err == nil {
				libs = append(libs, found...)
			}
		}
		p := Program{Name: name, Path: path, Origin: "Debian package"}
		if len(libs) > 0 {
			p.Env = []string{"LD_LIBRARY_PATH=" + strings.Join(libs, ":")}
		}
		return p, true
	}
	return Program{}, false
}

// missingLibraries returns the libraries that ldd could not find.
func missingLibraries(ldd string) []string {
	var missing []string
	for line := range strings.Lines(ldd) {
		if lib, ok := strings.CutSuffix(strings.TrimSpace(line), "=> not found"); ok {
			missing = append(missing, strings.TrimSpace(lib))
		}
	}
	return missing
}

// libraryPackages returns the library packages named by `apt-cache depends`. The C library is left out: the machine's own
// must be used, because the dynamic linker belongs to it.
func libraryPackages(depends string) []string {
	var libs []string
	for line := range strings.Lines(depends) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "|")
		pkg, ok := strings.CutPrefix(line, "Depends: ")
		if !ok {
			pkg, ok = strings.CutPrefix(line, "PreDepends: ")
		}
		if !ok || !strings.HasPrefix(pkg, "lib") || pkg == "libc6" || pkg == "libgcc-s1" || slices.Contains(libs, pkg) {
			continue
		}
		libs = append(libs, pkg)
	}
	return libs
}

// lock takes an exclusive lock on a file, so that test processes which run at once unpack a package only once.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

func runCommand(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLine(stderr.String()))
	}
	return stdout.String(), nil
}

// lastLine returns the last line that is not blank: programs give their reason there.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
