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
	// Upload lets clients send a body of 1 MiB with each request.
	Upload bool
	// Relay and GoPeers say whether the bare relay, and the proxies written in Go, take part.
	Relay, GoPeers bool
	// Contenders are those of the row, where they are not those of the benchmark.
	Contenders []string
	// Cores compares ours on two CPUs with ours on one.
	Cores bool
	// Direct is set by the benchmark for a row of Cores when the load and the origin have CPUs of their own besides.
	Direct bool
	// Idle is the number of connections that make one request each and then stay open; such a row measures memory.
	Idle int
	// Goals are what ours is to reach.
	Goals []Goal
}

// A Goal is a bound that a row is to keep.
type Goal struct {
	// Against are the contenders whose better one ours is compared to. Rows of Idle and Cores have none.
	Against []string
	// Bound is the largest ratio of our CPU time per request to that of Against; for an idle row the largest resident
	// memory per connection in KiB; for a row of Cores the least number of times that two cores do of what one does.
	Bound float64
}

// atMost is the goal of a ratio to the better of some contenders, of nginx and HAProxy when none is named.
func atMost(bound float64, against ...string) Goal {
	if against == nil {
		against = peersOfGoal
	}
	return Goal{Against: against, Bound: bound}
}

// tinyGoals are those of the work that every proxy does most.
var tinyGoals = []Goal{atMost(0.95), atMost(1.2, Relay), atMost(0.4, Traefik), atMost(0.4, Caddy)}

// Rows are all rows in the order of the report.
var Rows = []Row{
	{Name: "tiny64", Title: "tiny response, 64 keep-alive clients", Path: origin.Tiny, Clients: 64, Relay: true, GoPeers: true, Goals: tinyGoals},
	{Name: "tiny400", Title: "tiny response, 400 keep-alive clients", Path: origin.Tiny, Clients: 400, Relay: true, GoPeers: true, Goals: tinyGoals},
	{Name: "100k", Title: "100 KiB responses, 64 clients", Path: origin.Large, Clients: 64, Relay: true, Goals: []Goal{atMost(0.6)}},
	{Name: "1m", Title: "1 MiB responses, 16 clients", Path: origin.Huge, Clients: 16, Relay: true, Goals: []Goal{atMost(0.35)}},
	{Name: "up1m", Title: "1 MiB uploads, 16 clients", Path: origin.Upload, Clients: 16, Upload: true, Goals: []Goal{atMost(0.35)}},
	{Name: "log", Title: "tiny, JSON access log to a file, 64 clients", Path: origin.Tiny, Clients: 64, AccessLog: true, Goals: []Goal{atMost(1)}},
	{Name: "fresh", Title: "tiny, a new connection each, 64 clients", Path: origin.Tiny, Clients: 64, Fresh: true, Goals: []Goal{atMost(1.2)}},
	{Name: "tls", Title: "tiny over TLS, 64 keep-alive clients", Path: origin.Tiny, Clients: 64, TLS: true, Goals: []Goal{atMost(0.95)}},
	{Name: "handshake", Title: "tiny over TLS, a full handshake each, 16 clients", Path: origin.Tiny, Clients: 16, TLS: true, Fresh: true},
	{Name: "h2", Title: "tiny over HTTP/2, 16 clients with 16 streams", Path: origin.Tiny, Clients: 16, Streams: 16, Goals: []Goal{atMost(1, Nginx)}},
	{Name: "grpc", Title: "gRPC unary, 16 clients with 16 streams", Path: origin.GRPC, Clients: 16, Streams: 16, GRPC: true},
	{Name: "cores", Title: "tiny, 64 keep-alive clients, two cores", Path: origin.Tiny, Clients: 64, Cores: true, Contenders: []string{Ours, OursTwo}, Goals: []Goal{{Bound: 1.8}}},
	{Name: "features", Title: "tiny, 64 keep-alive clients, with a feature", Path: origin.Tiny, Clients: 64, Contenders: variants()},
	{Name: "idle", Title: "10,000 idle keep-alive clients", Path: origin.Tiny, Idle: 10000, Goals: []Goal{{Bound: 8}}},
	{Name: "idletls", Title: "10,000 idle keep-alive clients over TLS", Path: origin.Tiny, Idle: 10000, TLS: true, Goals: []Goal{{Bound: 20}}},
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
