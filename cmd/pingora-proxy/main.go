package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/inspect"
)

// version is set when a release is linked.
var version = "dev"

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // an invalid configuration, an address that is taken, …
	exitUsage   = 2 // a flag or an argument that does not exist
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings as arguments.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	var failed *failure
	var exit *inspect.Exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.Err != nil {
			fmt.Fprintln(stderr, "pingora-proxy:", exit.Err)
		}
		return exit.Code
	case errors.As(err, &failed):
		if failed.err != nil {
			fmt.Fprintln(stderr, "pingora-proxy:", failed.err)
		}
		return exitFailure
	default:
		fmt.Fprintf(stderr, "pingora-proxy: %v\nRun '%s --help' for usage.\n", err, cmd.CommandPath())
		return exitUsage
	}
}

// A failure is an error of what was asked for, not of how it was asked.
type failure struct{ err error } // nil: it was printed already

// Error implements error.
func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

func fail(err error) error { return &failure{err} }
