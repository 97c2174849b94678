package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane/admin"
)

// The exit codes of the commands: those of diff and grep.
const (
	exitNo      = 1 // no route, a difference, something that cannot be converted
	exitTrouble = 2 // nobody knows: a bad configuration, no answer
)

// An Exit ends the program with a code. Err is printed first, nil where everything is said.
type Exit struct {
	Code int
	Err  error
}

// Error implements error.
func (e *Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func trouble(err error) error { return &Exit{exitTrouble, err} }

// DefaultConfig is the file that is read where none is named.
type DefaultConfig func() string

const (
	asText = "text"
	asJSON = "json"

	askTimeout = 10 * time.Second
	maxAnswer  = 256 << 20 // bytes: a configuration with tens of thousands of routes
)

func checkOutput(output string) error {
	if output != asText && output != asJSON {
		return fmt.Errorf("--output %s: must be %s or %s", output, asText, asJSON)
	}
	return nil
}

// outputFlag adds --output.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", asText, "how to print: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{asText, asJSON}, cobra.ShellCompDirectiveNoFileComp))
}

// configFlag adds --config.
func configFlag(cmd *cobra.Command, config *string, usage string) {
	cmd.Flags().StringVarP(config, "config", "c", "", usage)
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

// adminFlag adds --admin.
func adminFlag(cmd *cobra.Command, address *string, value, usage string) {
	cmd.Flags().StringVar(address, "admin", value, usage)
	_ = cmd.RegisterFlagCompletionFunc("admin", cobra.FixedCompletions(
		[]string{"http://" + admin.DefaultAddress}, cobra.ShellCompDirectiveNoFileComp,
	))
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return trouble(err)
	}
	return nil
}

// load reads a configuration as the proxy would, or says what is wrong with it.
func load(o standalone.Options) (*standalone.Loaded, error) {
	o.CheckOnly = true
	loaded, problems := standalone.Load(o)
	if len(problems) > 0 {
		return nil, trouble(&standalone.InvalidError{Problems: problems})
	}
	return loaded, nil
}

// fetch asks the admin API of a running proxy for a path.
func fetch(ctx context.Context, address, path string, into any) error {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--admin %s: must be a URL such as http://%s", address, admin.DefaultAddress)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(u.String(), "/")+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("--admin %s: %w", address, err)
	}
	client := &http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true}, // a proxy for others has nothing to do with it
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return trouble(fmt.Errorf("--admin %s: %w", address, reason(err)))
	}
	defer response.Body.Close()
	body := io.LimitReader(response.Body, maxAnswer)
	if response.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		_ = json.NewDecoder(body).Decode(&problem) // else the status says enough
		err := errors.New(cmp.Or(problem.Detail, fmt.Sprintf("is answered with %d: is it the address of an admin API?", response.StatusCode)))
		if response.StatusCode == http.StatusUnprocessableEntity {
			return err // the question is wrong
		}
		return trouble(fmt.Errorf("--admin %s: %w", address, err))
	}
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return trouble(fmt.Errorf("--admin %s: the answer is not what this version understands: %w", address, err))
	}
	return nil
}

// reason cuts off what the flag says already.
func reason(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func environment(name string) (string, bool) { return os.LookupEnv(name) }
