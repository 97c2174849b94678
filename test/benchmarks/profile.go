package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profileTop is how many functions of a profile are printed.
const profileTop = 30

// profile saves a CPU profile of ours under the load of a row, and prints its top. It runs after the measurements, which
// profiling would disturb.
func (b *Bench) profile(ctx context.Context, row Row, c *contender) error {
	if err := os.MkdirAll(b.opt.Profile, 0o755); err != nil {
		return err
	}
	path := filepath.Join(b.opt.Profile, row.Name+".pprof")
	seconds := max(1, int(b.opt.Duration.Seconds()))
	loaded := make(chan error, 1)
	go func() {
		_, err := b.wrk(ctx, row, b.opt.Duration+time.Second, c.addr)
		loaded <- err
	}()
	err := download(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.admin, seconds), path)
	if err := errors.Join(err, <-loaded); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	top, err := goTool(ctx, "tool", "pprof", "-top", fmt.Sprintf("-nodecount=%d", profileTop), path)
	if err != nil {
		return err
	}
	b.progress("%s\n%s", path, top)
	return nil
}

// download saves the answer to a GET in a file.
func download(ctx context.Context, url, path string) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, res.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, res.Body)
	return errors.Join(err, file.Close())
}
