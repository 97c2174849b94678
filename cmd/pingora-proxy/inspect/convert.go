package inspect

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/convert"
)

const maxInput = 4 << 20 // bytes, more than any file of a configuration may have

// NewConvert is the command that makes objects of a file, and a file of objects.
func NewConvert(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	var o convert.Options
	var to, out string
	cmd := &cobra.Command{
		Use:   "convert [flags] FILE",
		Short: "Make ProxyService objects of a file, or a file of objects",
		Long: `convert makes ProxyService objects of a standalone file, and a standalone file of objects, such as kubectl get -o yaml
prints them. What is not set stays unset and every value stays as it is; comments and the order of keys do not survive.

What one side alone can say is printed with its place, and nothing is converted: files that are named, port 0 and the
globals of a file; Services, Secrets and the class of objects. --partial converts the rest. What was left out stands in
comments then, and what is incomplete without it is refused until somebody completes it.

Exit code: 0 everything is converted (or, with --partial, all that can be), 1 something cannot be, 2 wrong usage.`,
		Example: `  # to Kubernetes
  pingora-proxy convert shop.yaml --namespace shop | kubectl apply -f -

  # out of Kubernetes
  kubectl get proxyservices -n shop -o yaml shop | pingora-proxy convert -o shop.yaml -

  # what can be converted, with comments on what cannot
  pingora-proxy convert --partial shop.yaml`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(_ *cobra.Command, args []string) error {
			o.To = convert.Form(to)
			if to != "" && o.To != convert.Objects && o.To != convert.File {
				return fmt.Errorf("--to %s: must be %s or %s", to, convert.Objects, convert.File)
			}
			return runConvert(args[0], out, o, stdin, stdout, stderr)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&to, "to", "", "cr or file (default: what FILE is not)")
	f.StringVarP(&out, "output", "o", "", "file to write to (default: print it)")
	f.StringVar(&o.Namespace, "namespace", "", "namespace of objects that have none")
	f.BoolVar(&o.Partial, "partial", false, "leave out what has no place on the other side")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"cr", "file"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions)
	_ = cmd.MarkFlagFilename("output", "yaml", "yml")
	return cmd
}

func runConvert(name, out string, o convert.Options, stdin io.Reader, stdout, stderr io.Writer) error {
	data, err := readInput(name, stdin)
	if err != nil {
		return &Exit{exitNo, err}
	}
	r, problems := convert.Convert(name, data, o)
	if len(problems) > 0 {
		return &Exit{exitNo, &standalone.InvalidError{Problems: problems}}
	}
	for _, p := range r.Left {
		fmt.Fprintln(stderr, p.String())
	}
	for _, note := range r.Notes {
		fmt.Fprintln(stderr, "note:", note)
	}
	if r.YAML == nil {
		return &Exit{exitNo, errors.New("nothing is converted: this has no place on the other side; --partial leaves it out")}
	}
	if out == "" || out == "-" {
		_, err = stdout.Write(r.YAML)
	} else if same(name, out) {
		err = fmt.Errorf("--output %s: is the file that is read", out)
	} else {
		err = os.WriteFile(out, r.YAML, 0o600) // it may hold keys
	}
	if err != nil {
		return &Exit{exitNo, err}
	}
	return nil
}

func readInput(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(filepath.Clean(name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, maxInput)) // what is longer than a configuration may be is refused as such
}

// same reports whether both names are of one file.
func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
