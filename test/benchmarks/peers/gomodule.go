package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// mostFailures is how many lines of the go command an error has.
const mostFailures = 4

// A GoModule is a program that is built from a Go module.
type GoModule struct {
	// Name is the program's, Path that of its module and Package that of its main package below.
	Name, Path, Package, Version string
}

// Find returns the program, built once into the user's cache.
func (m GoModule) Find(ctx context.Context) (Program, error) {
	cache, err := CacheDir()
	if err != nil {
		return Program{}, err
	}
	p := Program{Name: m.Name, Path: filepath.Join(cache, "go", m.Name+"-"+m.Version, m.Name), Origin: "Go module"}
	if _, err := os.Stat(p.Path); err == nil {
		return p, nil
	}
	dir, err := os.MkdirTemp("", "go-module-")
	if err != nil {
		return Program{}, err
	}
	if err := errors.Join(m.build(ctx, dir, p.Path), os.RemoveAll(dir)); err != nil {
		return Program{}, fmt.Errorf("building %s@%s: %w", m.Path, m.Version, err)
	}
	return p, nil
}

// build builds the module as its authors do, with what its go.mod replaces, which go install refuses.
func (m GoModule) build(ctx context.Context, dir, into string) error {
	// In an empty directory, so that our own go.mod has no say.
	out, err := goCommand(ctx, dir, "mod", "download", "-json", m.Path+"@"+m.Version)
	if err != nil {
		return err
	}
	var source struct{ Dir string }
	if err := json.Unmarshal(out, &source); err != nil {
		return err
	}
	return m.buildFrom(ctx, source.Dir, into)
}

// buildFrom builds the module whose source lies in a directory that nothing may be written to.
func (m GoModule) buildFrom(ctx context.Context, source, into string) error {
	_, err := goCommand(ctx, source, "build", "-mod=readonly", "-trimpath", "-o", into, "./"+m.Package)
	return err
}

// goCommand runs the go command and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, failures(stderr.String()))
	}
	return out, nil
}

// failures are the lines of the go command that are not about its progress; of many, the first ones.
func failures(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "go: downloading ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if more := len(lines) - mostFailures; more > 0 {
		lines = append(lines[:mostFailures], fmt.Sprintf("and %d lines more", more))
	}
	return strings.Join(lines, "\n")
}
