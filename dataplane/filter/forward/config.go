package forward

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner    string        `outline:"-"`    // the service, or the service and the route
	Cluster  string        `outline:"show"` // that is asked
	Host     string        `outline:"show"` // that it is asked as
	Path     string        `outline:"url"`  // that it is asked for, perhaps with a query
	Timeout  time.Duration // for its answer
	Request  []string      `outline:"show"` // fields of the request that it gets, beside the usual ones
	Response []string      `outline:"show"` // fields of its answer that the endpoint gets
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("forward %q cluster %q host %q path %q timeout %d request %q response %q",
		c.Owner, c.Cluster, c.Host, c.Path, c.Timeout, c.Request, c.Response)
}

// Validate says everything that keeps New from working.
func (c Config) Validate() error {
	var problems []error
	if c.Cluster == "" {
		problems = append(problems, errors.New("there is nobody to ask"))
	}
	if c.Host == "" || strings.ContainsFunc(c.Host, notVisible) {
		problems = append(problems, errors.New("host: it cannot stand in a request"))
	}
	if c.Path == "" || c.Path[0] != '/' || strings.ContainsFunc(c.Path, notVisible) || strings.Contains(c.Path, "#") {
		problems = append(problems, errors.New("path: it must begin with '/' and hold neither spaces nor '#'"))
	}
	if c.Timeout <= 0 {
		problems = append(problems, errors.New("timeout: it must be positive"))
	}
	for _, name := range c.Request {
		if err := filter.CheckField(name); err != nil {
			problems = append(problems, fmt.Errorf("request header %q: %w", name, err))
		}
	}
	for _, name := range c.Response {
		if err := filter.CheckField(name); err != nil {
			problems = append(problems, fmt.Errorf("response header %q: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

func notVisible(c rune) bool { return c <= ' ' || c >= 0x7f }

// New implements filter.Config.
func (c Config) New(env filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	path, query, hasQuery := strings.Cut(c.Path, "?")
	f := &forward{
		log: env.Log, send: env.Send, cluster: c.Cluster, timeout: c.Timeout, request: c.Request, response: c.Response,
		host: []byte(c.Host), path: []byte(path), query: []byte(query), hasQuery: hasQuery,
	}
	return f, nil
}
