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
	// TLS lets clients speak TLS 1.3, with a certificate of ECDSA P-256.
	TLS bool
	// Fresh opens a connection for each request, with TLS a full handshake each.
	Fresh bool
	// Streams is the number of requests that each client has open at a time, over HTTP/2 without TLS.
	Streams int
	// GRPC sends unary calls.
	GRPC bool
	// Contenders are those of the row, where they are not those of the benchmark.
	Contenders []string
	// Against is the contender that the goal refers to; empty: the better of nginx and HAProxy.
	Against string
	// Idle is the number of connections that make one request each and then stay open; such a row measures memory.
	Idle int
	// Goal is the largest ratio of our CPU time per request to that of Against, or, for an idle row, the largest resident
	// memory per connection in KiB. 0: there is none.
	Goal float64
}

// Rows are all rows in the order of the report.
var Rows = []Row{
	{Name: "tiny64", Title: "tiny response, 64 keep-alive clients", Path: origin.Tiny, Clients: 64, Goal: 1},
	{Name: "tiny400", Title: "tiny response, 400 keep-alive clients", Path: origin.Tiny, Clients: 400, Goal: 1},
	{Name: "100k", Title: "100 KiB responses, 64 clients", Path: origin.Large, Clients: 64, Goal: 0.7},
	{Name: "1m", Title: "1 MiB responses, 16 clients", Path: origin.Huge, Clients: 16, Goal: 0.45},
	{Name: "log", Title: "tiny, JSON access log to a file, 64 clients", Path: origin.Tiny, Clients: 64, AccessLog: true, Goal: 1.1},
	{Name: "tls", Title: "tiny over TLS, 64 keep-alive clients", Path: origin.Tiny, Clients: 64, TLS: true, Against: Nginx, Goal: 1},
	{Name: "handshake", Title: "tiny over TLS, a full handshake each, 16 clients", Path: origin.Tiny, Clients: 16, TLS: true, Fresh: true},
	{Name: "h2", Title: "tiny over HTTP/2, 16 clients with 16 streams", Path: origin.Tiny, Clients: 16, Streams: 16, Against: Nginx, Goal: 1.2},
	{Name: "grpc", Title: "gRPC unary, 16 clients with 16 streams", Path: origin.GRPC, Clients: 16, Streams: 16, GRPC: true},
	{Name: "features", Title: "tiny, 64 keep-alive clients, with a feature", Path: origin.Tiny, Clients: 64, Contenders: variants()},
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
