package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/inspect"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/pidfile"
	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/succession"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

const defaultConfig = "config/default.yaml"

// options are the flags of the root command.
type options struct {
	config   string
	validate bool
	verbose  bool
	output   string
	daemon   bool
	pidFile  string
	upgrade  succession.Options
	listen   []string
	upstream []string
	globals  map[string]*string // flags that stand for a global of the file, by its key
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "pingora-proxy [flags]",
		Short: "A reverse proxy that is driven by one YAML file",
		Long: `pingora-proxy serves the services of a YAML file, and follows the file when it changes.

A flag beats the environment, the environment beats the file, and the file beats the default.
'pingora-proxy --validate -v' prints where each setting came from.

Signals: SIGHUP reloads, SIGUSR1 opens the access log anew, SIGTERM and SIGINT finish what runs and stop; a second one
stops at once. SIGQUIT hands the listening sockets over to a process that was started with --upgrade and then finishes
what runs; SIGUSR2 starts that process itself, from the same path with the same arguments.`,
		Example: `  # serve a file, and follow it when it changes
  pingora-proxy --config /etc/pingora-proxy/config.yaml

  # is the file good? where does each setting come from?
  pingora-proxy --validate -v --config config.yaml

  # a new version takes the place of the one that runs, and no connection is lost
  pingora-proxy --config /etc/pingora-proxy/config.yaml --upgrade &
  kill -QUIT "$OLD_PID"

  # no file at all
  pingora-proxy --listen :8080 --upstream 127.0.0.1:3002

  # completion for this shell: bash, zsh, fish or powershell
  source <(pingora-proxy completion bash)`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			source, err := o.source(cmd.Flags().Changed("config"))
			if err == nil {
				err = o.upgrade.Complete(cmd.Flags())
			}
			if err != nil {
				return err
			}
			switch {
			case o.output != "text" && o.output != "json":
				return fmt.Errorf("--output %s: must be text or json", o.output)
			case o.validate:
				return validate(source, o.output, o.verbose, stdout, stderr)
			case o.daemon && !isDaemon() && !o.upgrade.Inherited():
				return daemonize(source, o.pidFile, o.upgrade.Wanted, stderr)
			default:
				return serve(source, o, stderr)
			}
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.config, "config", "c", "", "configuration: a file, or a folder whose *.yaml files are read together (CONFIG_PATH; default "+defaultConfig+")")
	f.BoolVarP(&o.validate, "validate", "t", false, "check the configuration and exit: 0 good, 1 bad")
	f.StringVarP(&o.output, "output", "o", "text", "how --validate reports: text or json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "with --validate: print where each setting came from")
	f.BoolVarP(&o.daemon, "daemon", "d", false, "run detached from the terminal")
	f.StringVar(&o.pidFile, "pid-file", "", "where the process id is written (with --daemon by default "+pidfile.Default()+")")
	o.upgrade.AddFlags(f)
	f.StringArrayVar(&o.listen, "listen", nil, "serve this address without a file, such as :8080; may be repeated")
	f.StringArrayVar(&o.upstream, "upstream", nil, "where --listen forwards to, host:port; may be repeated")
	o.globals = addGlobals(f)
	completeGlobals(cmd)
	completeFlags(cmd, []string{"config"}, map[string][]string{"output": {"text", "json"}}, "listen", "upstream", "upgrade-timeout")
	cmd.AddCommand(newController(stderr), inspect.NewExplain(configPath, stdout), inspect.NewDiff(configPath, stdout),
		inspect.NewConvert(os.Stdin, stdout, stderr), newDemo(stderr), newProbe(stdout), newVersion(stdout))
	cmd.CompletionOptions.HiddenDefaultCmd = false
	return cmd
}

func newVersion(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Long:    "version prints the version of this program in one line, as --version does.",
		Example: "  pingora-proxy version",
		Run:     func(*cobra.Command, []string) { fmt.Fprintln(stdout, "pingora-proxy", version) },
	}
}

// flagName is the flag of a global: admin.bind_address becomes --admin-bind-address.
func flagName(key string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(key)
}

// addGlobals adds a flag for every global of the file, and returns their values by the key of the global.
func addGlobals(f *pflag.FlagSet) map[string]*string {
	values := make(map[string]*string)
	for _, setting := range standalone.Settings() {
		values[setting.Key] = f.String(flagName(setting.Key), "", "the file's "+setting.Key+" ("+setting.Variable+")")
	}
	return values
}

// globalFlags are the flags that were given for globals.
func globalFlags(values map[string]*string) map[string]standalone.Flag {
	flags := make(map[string]standalone.Flag)
	for key, value := range values {
		if *value != "" {
			flags[key] = standalone.Flag{Name: "--" + flagName(key), Value: *value}
		}
	}
	return flags
}

// source says what the configuration is made of. Flags that name services need no file.
func (o *options) source(configGiven bool) (standalone.Options, error) {
	s := standalone.Options{Path: o.config, Environment: os.LookupEnv, Flags: globalFlags(o.globals)}
	if len(o.listen) > 0 || len(o.upstream) > 0 {
		if len(o.listen) == 0 || len(o.upstream) == 0 {
			return s, errors.New("--listen and --upstream go together")
		}
		for i, address := range o.listen {
			name := "command-line"
			if i > 0 {
				name = fmt.Sprintf("command-line-%d", i+1)
			}
			s.Services = append(s.Services, v1alpha1.ProxyServiceSpec{
				Name: name, BindAddress: everyAddress(address), Upstreams: o.upstream,
			})
		}
		return s, nil
	}
	if !configGiven {
		s.Path = configPath()
	}
	return s, nil
}

// configPath is the configuration where no flag names one.
func configPath() string { return cmp.Or(os.Getenv("CONFIG_PATH"), defaultConfig) }

// everyAddress gives an address without a host the one that stands for all: ":8080" is what people type.
func everyAddress(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "" {
		return net.JoinHostPort("0.0.0.0", port)
	}
	return address
}
