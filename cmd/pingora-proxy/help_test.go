package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// each calls yield with every command of ours.
func each(cmd *cobra.Command, yield func(*cobra.Command)) {
	yield(cmd)
	for _, c := range cmd.Commands() {
		each(c, yield)
	}
}

// Help teaches: every command says what it is for, and shows how it is used; every flag says what it does.
func TestHelpTeaches(t *testing.T) {
	each(newRoot(io.Discard, io.Discard), func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || !strings.HasPrefix(cmd.Example, "  ") || !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: short %q, long %q, example %q", cmd.CommandPath(), cmd.Short, cmd.Long, cmd.Example)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s does not say what it does", cmd.CommandPath(), f.Name)
			}
		})
	})
}

// The flags of examples exist.
func TestExamplesAreOfThisProgram(t *testing.T) {
	root := newRoot(io.Discard, io.Discard)
	root.InitDefaultCompletionCmd()
	each(root, func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			for _, part := range strings.Split(line, "|") {
				_, arguments, ok := strings.Cut(part, "pingora-proxy ")
				if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") || strings.Contains(line, "<(") {
					continue
				}
				arguments, _, _ = strings.Cut(strings.ReplaceAll(arguments, "'X-Beta: 1'", "X"), "||")
				called, rest, err := root.Find(strings.Fields(arguments))
				if err == nil {
					err = called.ParseFlags(rest)
				}
				if err != nil {
					t.Errorf("%s: %q: %v", cmd.CommandPath(), line, err)
				}
			}
		}
	})
}

func TestWrongUsagePointsToItsHelp(t *testing.T) {
	for arguments, want := range map[string]string{
		"--bad":            "Run 'pingora-proxy --help'",
		"controller --bad": "Run 'pingora-proxy controller --help'",
		"explain --bad":    "Run 'pingora-proxy explain --help'",
		"diff extra":       "Run 'pingora-proxy diff --help'",
		"convert":          "Run 'pingora-proxy convert --help'",
		"probe":            "Run 'pingora-proxy probe --help'",
		"nothing":          "Run 'pingora-proxy --help'",
		"controller --host-ownership x --namespace n": "Run 'pingora-proxy controller --help'",
	} {
		var stderr bytes.Buffer
		if code := run(strings.Fields(arguments), io.Discard, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %d %s", arguments, code, stderr.String())
		}
	}
}

func TestKubeconfigIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte("no: [kubeconfig"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, "/nowhere"} {
		var stderr bytes.Buffer
		code := run([]string{"controller", "--namespace", "n", "--kubeconfig", name}, io.Discard, &stderr)
		if code != exitFailure || !strings.Contains(stderr.String(), "--kubeconfig "+name+": ") {
			t.Errorf("%s: %d %s", name, code, stderr.String())
		}
	}
}

func complete(t *testing.T, arguments ...string) []string {
	t.Helper()
	var stdout bytes.Buffer
	if code := run(append([]string{cobra.ShellCompNoDescRequestCmd}, arguments...), &stdout, io.Discard); code != exitOK {
		t.Fatalf("%q: %d", arguments, code)
	}
	return strings.Split(strings.TrimSpace(stdout.String()), "\n")
}

func TestCompletion(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(config, []byte("services: [{name: a, bind_address: '127.0.0.1:8181', upstreams: ['127.0.0.1:1']}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		arguments []string
		want      []string // in this order, among others; the last line is cobra's directive
	}{
		{[]string{""}, []string{"completion", "controller", "convert", "demo", "diff", "explain", "probe", "version"}},
		{[]string{"--output", ""}, []string{"text", "json", ":4"}},
		{[]string{"--access-log-format", ""}, []string{"JSON", "Console", ":4"}},
		{[]string{"--admin-pprof", ""}, []string{"true", "false", ":4"}},
		{[]string{"--config", ""}, []string{"yaml", "yml", ":8"}},
		{[]string{"--listen", ""}, []string{":4"}},
		{[]string{"controller", "--host-ownership", ""}, []string{"Shared", "Strict", ":4"}},
		{[]string{"controller", "--access-log-format", ""}, []string{"JSON", "Console", ":4"}},
		{[]string{"explain", ""}, []string{"GET", "POST", ":4"}},
		{[]string{"explain", "--output", ""}, []string{"text", "json", ":4"}},
		{[]string{"explain", "--config", config, "--listener", ""}, []string{"127.0.0.1:8181", ":4"}},
		{[]string{"explain", "--admin", ""}, []string{"http://127.0.0.1:9901", ":4"}},
		{[]string{"diff", "--output", ""}, []string{"text", "json", ":4"}},
		{[]string{"convert", "--to", ""}, []string{"cr", "file", ":4"}},
		{[]string{"convert", ""}, []string{"yaml", "yml", ":8"}},
	} {
		got := complete(t, c.arguments...)
		for _, word := range c.want {
			i := slices.Index(got, word)
			if i < 0 {
				t.Errorf("%q: %q has no %q in its place", c.arguments, got, word)
				break
			}
			got = got[i+1:]
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var stdout bytes.Buffer
		if code := run([]string{"completion", shell}, &stdout, io.Discard); code != exitOK || !strings.Contains(stdout.String(), "pingora-proxy") {
			t.Errorf("%s: %d", shell, code)
		}
	}
}

// What completion knows of globals is of globals that there are.
func TestChoicesAreOfGlobals(t *testing.T) {
	known := choices()
	for _, s := range standalone.Settings() {
		delete(known, s.Key)
	}
	if len(known) > 0 {
		t.Errorf("there are no such globals: %v", known)
	}
}
