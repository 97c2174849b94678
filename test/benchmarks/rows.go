package benchmarks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/test/origin"
)

// Row is one kind of work, a row of the report.
type Row struct {
	// Name selects the row on the command line.
	Name  string
	Title string
	// Path is what the clients ask for, and Clients the number of keep-alive connections that ask without a pause.
	Path    string
	Clients int
	// AccessLog turns a JSON access log to a file on, for every proxy.
	AccessLog bool
	// Idle is the number of connections that make one request each and then stay open; such a row measures memory.
	Idle int
	// Goal is the largest ratio of our CPU time per request to the better of nginx and HAProxy, or, for an idle row, the
	// largest resident memory per connection in KiB.
	Goal float64
}

// Rows are all rows in the order of the report.
var Rows = []Row{
	{Name: "tiny64", Title: "tiny response, 64 keep-alive clients", Path: origin.Tiny, Clients: 64, Goal: 1},
	{Name: "tiny400", Title: "tiny response, 400 keep-alive clients", Path: origin.Tiny, Clients: 400, Goal: 1},
	{Name: "100k", Title: "100 KiB responses, 64 clients", Path: origin.Large, Clients: 64, Goal: 0.7},
	{Name: "1m", Title: "1 MiB responses, 16 clients", Path: origin.Huge, Clients: 16, Goal: 0.45},
	{Name: "log", Title: "tiny, JSON access log to a file, 64 clients", Path: origin.Tiny, Clients: 64, AccessLog: true, Goal: 1.1},
	{Name: "idle", Title: "10,000 idle keep-alive clients", Path: origin.Tiny, Idle: 10000, Goal: 12},
}

// SelectRows returns the rows with the names of a comma-separated list, all for "".
func SelectRows(list string) ([]Row, error) {
	if list == "" {
		return Rows, nil
	}
	var rows []Row
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(Rows, func(r Row) bool { return r.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no row %q; there are %s", name, strings.Join(rowNames(), ", "))
		}
		rows = append(rows, Rows[i])
	}
	return rows, nil
}

func rowNames() []string {
	names := make([]string, len(Rows))
	for i, r := range Rows {
		names[i] = r.Name
	}
	return names
}
