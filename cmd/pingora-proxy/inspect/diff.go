package inspect

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane/admin"
	"github.com/pingora-proxy/pingora-proxy/dataplane/admin/outline"
)

// NewDiff is the command that shows what a reload would change.
func NewDiff(config DefaultConfig, stdout io.Writer) *cobra.Command {
	var file, address, output string
	cmd := &cobra.Command{
		Use:   "diff [flags]",
		Short: "Show what a reload would change in a running proxy",
		Long: `diff compares a configuration with the one that a running proxy serves, and prints what a reload would change: listeners,
services, routes with their filters, clusters with their endpoints, and the settings of the process. It compares what
follows from the configuration, not its text: comments, defaults that are spelt out and the order of keys make no
difference. Secrets are compared by digests and never printed.

A setting that the running proxy has from a flag or from its environment stays what it is, as in a reload.

Exit code: 0 nothing would change, 1 something would, 2 the configuration is bad or the proxy does not answer.`,
		Example: `  # before a reload: is it what I mean?
  pingora-proxy diff --config /etc/pingora-proxy/config.yaml

  # reload only where something changes
  pingora-proxy diff -c new.yaml --admin http://127.0.0.1:9901 || cp new.yaml /etc/pingora-proxy/config.yaml

  # the routes alone, for a program
  pingora-proxy diff -c new.yaml -o json | jq '.changes[] | select(.path | contains(".routes["))'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			if file == "" {
				file = config()
			}
			var running admin.Outline
			if err := fetch(cmd.Context(), address, "/api/v1/snapshot", &running); err != nil {
				return err
			}
			loaded, err := load(standalone.Options{Path: file, Environment: overrides(running.Settings)})
			if err != nil {
				return err
			}
			return printChanges(stdout, output, compare(&running, loaded), running.Hash, loaded.Snapshot.Hash)
		},
	}
	cmd.Flags().SortFlags = false
	configFlag(cmd, &file, "the new configuration: a file, or a folder (CONFIG_PATH)")
	adminFlag(cmd, &address, "http://"+admin.DefaultAddress, "admin API of the running proxy")
	outputFlag(cmd, &output)
	return cmd
}

// overrides is the environment of the running proxy, as far as it is known: what a reload would read again.
func overrides(settings []admin.Setting) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, s := range settings {
			if s.Variable != name {
				continue
			}
			if from := standalone.From(s.From); from != standalone.FromEnvironment && from != standalone.FromFlag {
				return "", false
			}
			if outline.Hidden(s.Value) { // a password in it is not told: perhaps this process has the same
				return environment(name)
			}
			return s.Value, true
		}
		return "", false
	}
}

// compare lists what must change to make the loaded configuration of the running one.
func compare(running *admin.Outline, loaded *standalone.Loaded) []outline.Change {
	parts := outline.Of(loaded.Snapshot, running.Salt)
	changes := outline.Diff(running.Parts, parts)
	made := madeKeys(loaded)
	changes = slices.DeleteFunc(changes, func(c outline.Change) bool {
		return c.Op == outline.Changed && slices.ContainsFunc(made, func(at string) bool { return strings.Contains(c.Path, at) })
	})
	shown := map[string]bool{} // settings that the outline has, in other words
	for _, p := range slices.Concat(running.Parts, parts) {
		shown[p.Name] = true
	}
	for _, old := range running.Settings {
		group, _, _ := strings.Cut(old.Key, ".")
		value := outline.Public(loaded.Setting(old.Key).Value, running.Salt)
		if !shown[group] && value != old.Value {
			changes = append(changes, outline.Change{Op: outline.Changed, Path: old.Key, Old: old.Value, New: value})
		}
	}
	return changes
}

// madeKeys are the places of keys that every process makes for itself, because nobody has configured one.
func madeKeys(loaded *standalone.Loaded) (places []string) {
	made := func(b *v1alpha1.LoadBalancing) bool { return b != nil && b.Sticky != nil && b.Sticky.KeyRef == nil }
	for _, s := range loaded.Services {
		names := []string{"default"}
		if made(s.Spec.LoadBalancing) {
			places = append(places, "["+s.Owner()+"].balance.sticky.key")
		}
		for _, r := range s.Spec.Routes {
			if made(r.LoadBalancing) || r.LoadBalancing == nil && made(s.Spec.LoadBalancing) {
				names = append(names, r.Name)
			}
		}
		if !made(s.Spec.LoadBalancing) {
			names = names[1:]
		}
		for _, name := range names {
			places = append(places, "["+s.Owner()+"/"+name+"].balance.sticky.key")
		}
	}
	return places
}

func printChanges(w io.Writer, output string, changes []outline.Change, running, next string) error {
	var err error
	if output == asJSON {
		err = printJSON(w, struct {
			Running string           `json:"running"` // hash of the configuration that serves
			New     string           `json:"new"`     // hash of the other one
			Changes []outline.Change `json:"changes"`
		}{running, next, append([]outline.Change{}, changes...)})
	} else if err = outline.Write(w, changes); err != nil {
		err = trouble(err)
	}
	if err == nil && len(changes) > 0 {
		return &Exit{Code: exitNo}
	}
	return err
}
