package inspect

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane/admin"
)

// NewExplain is the command that says which route takes a request, and why.
func NewExplain(config DefaultConfig, stdout io.Writer) *cobra.Command {
	var file, address, output string
	var q admin.Question
	cmd := &cobra.Command{
		Use:   "explain [flags] [METHOD] URL",
		Short: "Say which route takes a request, and why the others do not",
		Long: `explain says what would become of a request, without sending it: which route takes it, why each of the others does not,
which filters run in which order, and where it goes.

It reads a configuration, or asks a running proxy with --admin, which then tells of the health of the endpoints too. The
port of the URL says which listener is meant, --listener where it does not. Values of headers are compared and never
printed.

Exit code: 0 a route (or the health path) takes the request, 1 none does, 2 the question cannot be answered.`,
		Example: `  # which route of a file takes it?
  pingora-proxy explain --config shop.yaml GET https://shop.example.com/api/v2/items

  # the same with a header, of the proxy that runs here
  pingora-proxy explain --admin http://127.0.0.1:9901 https://shop.example.com/api -H 'X-Beta: 1'

  # a listener that something in front of the proxy forwards to; for a program
  pingora-proxy explain -c shop.yaml --listener :8443 -o json POST https://shop.example.com/login`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			q.Method, q.URL = http.MethodGet, args[len(args)-1]
			if len(args) == 2 {
				q.Method = args[0]
			}
			var e *admin.Explanation
			if address != "" {
				query := url.Values{"method": {q.Method}, "url": {q.URL}, "header": q.Headers, "listener": {q.Listener}}
				e = &admin.Explanation{}
				if err := fetch(cmd.Context(), address, "/api/v1/explain?"+query.Encode(), e); err != nil {
					return err
				}
			} else {
				if file == "" {
					file = config()
				}
				loaded, err := load(standalone.Options{Path: file, Environment: environment})
				if err != nil {
					return err
				}
				if e, err = admin.Explain(loaded.Snapshot, nil, nil, q); err != nil {
					return err
				}
			}
			return printExplanation(stdout, output, e)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	configFlag(cmd, &file, "configuration to look into: a file, or a folder (CONFIG_PATH)")
	adminFlag(cmd, &address, "", "ask the proxy whose admin API this is, such as http://"+admin.DefaultAddress)
	f.StringArrayVarP(&q.Headers, "header", "H", nil, "header of the request, 'Name: value'; may be repeated")
	f.StringVar(&q.Listener, "listener", "", "listener that the request comes to: an address or a port (default: the URL's port)")
	outputFlag(cmd, &output)
	cmd.MarkFlagsMutuallyExclusive("config", "admin")
	_ = cmd.RegisterFlagCompletionFunc("header", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("listener", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		if file == "" {
			file = config()
		}
		return listeners(file), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// listeners are those of a configuration, for completion; a bad one has none.
func listeners(file string) (all []string) {
	loaded, err := load(standalone.Options{Path: file, Environment: environment})
	if err != nil {
		return nil
	}
	for _, l := range loaded.Snapshot.Listeners {
		all = append(all, l.Address)
	}
	return all
}

func printExplanation(w io.Writer, output string, e *admin.Explanation) error {
	if output == asJSON {
		if err := printJSON(w, e); err != nil {
			return err
		}
	} else if _, err := io.WriteString(w, explanation(e)); err != nil {
		return trouble(err)
	}
	if e.Outcome == admin.OutcomeRoute || e.Outcome == admin.OutcomeHealth {
		return nil
	}
	return &Exit{Code: exitNo}
}

// explanation is what people read.
func explanation(e *admin.Explanation) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s %s\n", e.Method, e.URL)
	speaks := "plain HTTP"
	if e.TLS {
		speaks = "TLS"
	}
	line("listener", "%s (%s)", e.Listener, speaks)
	if e.Path != "" && !strings.Contains(e.URL, e.Path) {
		line("path", "%s", e.Path)
	}
	switch e.Outcome {
	case admin.OutcomeHealth:
		line("answer", "the health of the service %s; no endpoint is asked", e.Service)
	case admin.OutcomeNone:
		line("answer", "404: no route takes the request")
		if e.Service != "" {
			line("service", "%s, whose host it is", e.Service)
		}
	case admin.OutcomeRefused:
		line("answer", "refused before a route is looked for")
	default:
		route(e, line)
	}
	for _, note := range e.Notes {
		line("note", "%s", note)
	}
	lost := false
	for _, c := range e.Candidates {
		if c.Won {
			continue
		}
		if !lost {
			b.WriteString("\nother routes, in the order in which they are tried:\n")
			lost = true
		}
		fmt.Fprintf(&b, "  %s: %s\n", c.Route, c.Why)
	}
	return b.String()
}

func route(e *admin.Explanation, line func(label, format string, args ...any)) {
	r := e.Route
	name := r.Service + "/" + r.Name
	if r.Namespace != "" {
		name = r.Namespace + "/" + name
	}
	line("route", "%s", name)
	if e.Host == "*" {
		line("because", "it takes every host")
	} else {
		line("because", "the host is %s", e.Host)
	}
	line("", "%s", conditions(e.Match))
	for i, f := range r.Filters {
		label := ""
		if i == 0 {
			label = "filters"
		}
		line(label, "%d. %s", i+1, f)
	}
	if len(r.Filters) == 0 {
		line("filters", "none")
	}
	if len(e.Clusters) == 0 {
		line("goes to", "no endpoint: a filter answers")
	}
	for _, c := range e.Clusters {
		about := []string{c.Algorithm, fmt.Sprintf("weight %d", c.Weight)}
		if c.Backup {
			about = append(about, "backup")
		}
		if c.Override != "" {
			about = append(about, "the "+c.Override+" sends requests here")
		}
		if c.DNS != "" {
			about = append(about, "addresses of "+c.DNS)
		}
		if c.Origin != "" {
			about = append(about, "endpoints of "+c.Origin)
		}
		line("cluster", "%s (%s)", c.ID, strings.Join(about, ", "))
		for _, end := range c.Endpoints {
			line("", "%s, weight %d%s", end.Address, end.Weight, health(end))
		}
	}
}

func conditions(m *admin.Match) string {
	if m == nil {
		return "it takes every request"
	}
	all := []string{map[string]string{
		"Prefix": "the path is %s or below it", "Exact": "the path is %s", "Regex": "the path matches %s",
	}[m.PathType]}
	all[0] = strings.Replace(all[0], "%s", m.Path, 1)
	if len(m.Methods) > 0 {
		all = append(all, "the method is "+strings.Join(m.Methods, " or "))
	}
	for _, name := range m.Headers {
		all = append(all, "the header "+name+" has the value")
	}
	for _, name := range m.Query {
		all = append(all, "the query parameter "+name+" has the value")
	}
	return strings.Join(all, ", ")
}

func health(e admin.ExplainedEndpoint) string {
	switch {
	case e.Serving == nil:
		return ""
	case *e.Serving:
		return ", serving"
	case e.EjectedUntil != nil:
		return fmt.Sprintf(", ejected until %s: %s", e.EjectedUntil.Format(time.RFC3339), e.LastError)
	case e.LastError != "":
		return ", not serving: " + e.LastError
	}
	return ", not serving"
}
