// Command peer runs a program that the project is tried with: from PATH, or out of its Debian package, which it unpacks first
// and without privileges (package peers). Scripts use it where they need such a program.
//
//	go run ./test/benchmarks/cmd/peer systemd-analyze --version
package main

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: peer PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	program, err := peers.Find(context.Background(), os.Args[1])
	if err == nil {
		// In place of this process: its exit code and its signals are the program's.
		err = syscall.Exec(program.Path, append([]string{program.Path}, os.Args[2:]...), append(os.Environ(), program.Env...))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
