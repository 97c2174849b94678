package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks"
)

// Where the proxies, the origin and the clients meet.
const (
	// networkOwn is a network namespace that has nothing but its loopback.
	networkOwn = "own"
	// networkHost is that of whoever starts the program.
	networkHost = "host"
	// networkInside is networkOwn for the program that was started there.
	networkInside = "inside"
)

// control is the file that says which congestion control connections of a network namespace have when they are made.
const control = "/proc/sys/net/ipv4/tcp_congestion_control"

// inside runs the measurement once more, in a network namespace of its own. Everything that has to be fetched is there by
// then, as nothing can be reached from within.
//
// With BBR, which some hosts have for a default, the origin and the clients send by a timer on the loopback device, too,
// and much of what is measured then is that. cubic is Linux's own default.
func inside(ctx context.Context, f flags, args []string) error {
	bench, err := benchmarks.New(ctx, f.opt)
	if err != nil {
		return err
	}
	if err := bench.Close(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, append(args, "-network", networkInside)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return cmd.Run()
}

// furnish makes a fresh network namespace what inside says.
func furnish() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("the loopback of the benchmark's network namespace: %w", err)
	}
	// A namespace may choose what its host allows everybody; reno is always among that.
	err = os.WriteFile(control, []byte("cubic"), 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(control, []byte("reno"), 0)
	}
	return err
}

// network says where it is measured, for the report.
func network(f flags) string {
	name, err := os.ReadFile(control)
	if err != nil {
		name = []byte("unknown")
	}
	place := "the host's network"
	if f.network == networkInside {
		place = "a network namespace of its own"
	}
	return fmt.Sprintf("%s, TCP's congestion control: %s", place, strings.TrimSpace(string(name)))
}
