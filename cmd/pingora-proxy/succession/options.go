package succession

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// inheritedMark tells a process that one has started to take its own place; its value is the descriptor to it.
const inheritedMark = "PINGORA_UPGRADE_FD"

const (
	defaultTimeout = time.Minute
	// checkPatience and resolvePatience are what a process that takes another one's place spends on learning what that one
	// knows, before it accepts: which endpoints are down, and the addresses of names.
	checkPatience   = 5 * time.Second
	resolvePatience = 10 * time.Second
)

// Options say how a process takes another one's place, or gives its own.
type Options struct {
	Wanted  bool          // the process takes another one's place
	Socket  string        // where the two meet
	Timeout time.Duration // how long one waits for the other
}

// AddFlags adds the flags of the options.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.Wanted, "upgrade", "u", false, "take the place of the process that runs: it hands its sockets over on SIGQUIT")
	f.StringVar(&o.Socket, "upgrade-socket", "", "where the two processes meet (PINGORA_UPGRADE_SOCKET; default "+defaultSocket()+")")
	f.DurationVar(&o.Timeout, "upgrade-timeout", 0, "how long one waits for the other, such as 90s (PINGORA_UPGRADE_TIMEOUT; default 1m)")
}

// Complete fills in what the environment says.
func (o *Options) Complete(f *pflag.FlagSet) error {
	if o.Socket == "" {
		o.Socket = os.Getenv("PINGORA_UPGRADE_SOCKET")
	}
	if o.Socket == "" {
		o.Socket = defaultSocket()
	}
	name := "--upgrade-timeout"
	if text := os.Getenv("PINGORA_UPGRADE_TIMEOUT"); text != "" && !f.Changed("upgrade-timeout") {
		name = "PINGORA_UPGRADE_TIMEOUT"
		var err error
		if o.Timeout, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%s %s: must be a time, such as 90s", name, text)
		}
	} else if !f.Changed("upgrade-timeout") {
		o.Timeout = defaultTimeout
	}
	if o.Timeout < time.Second || o.Timeout > time.Hour {
		return fmt.Errorf("%s %v: must be from 1s to 1h", name, o.Timeout)
	}
	return nil
}

// Inherited says whether the process was started by the one whose place it takes.
func (o *Options) Inherited() bool { return os.Getenv(inheritedMark) != "" }

// defaultSocket is in a folder of this user alone, or of root: that of the service, as systemd says; /run; the user's own in
// /run/user or below his home. It does not hang on who has logged in how: both processes must find the same.
func defaultSocket() string {
	const name = "pingora-proxy-upgrade.sock"
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, name)
	}
	uid := os.Geteuid()
	if uid == 0 {
		return filepath.Join("/run", name)
	}
	dir := filepath.Join("/run/user", strconv.Itoa(uid))
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return filepath.Join(dir, name)
	}
	if home := os.Getenv("HOME"); home != "" {
		return filepath.Join(home, "."+name)
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("%d-%s", uid, name))
}
