package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

const (
	userAgent = "pingora-proxy-health"
	// maxBody is how much of a response's body is read. An endpoint that has more to say finds its connection closed.
	maxBody = 64 << 10
)

// A probe asks one endpoint at a time.
type probe struct {
	endpoint *upstream.Endpoint
	settings upstream.HealthCheck
	x        exchange.Exchange
	body     exchange.Bytes
}

// ask returns nil where the endpoint is well, else why it is not.
func (p *probe) ask(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, p.settings.Timeout)
	defer cancel()
	err := p.askWithin(ctx)
	if err != nil && (ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		return fmt.Errorf("no answer within %v", p.settings.Timeout)
	}
	var failure *exchange.Failure
	if errors.As(err, &failure) && failure.Err != nil {
		return failure.Err // its reason is for requests
	}
	return err
}

func (p *probe) askWithin(ctx context.Context) error {
	if p.settings.Type == upstream.CheckTCP {
		nc, err := p.endpoint.Dial(ctx)
		if err != nil {
			return err
		}
		return nc.Close()
	}
	x := &p.x
	x.Reset()
	x.Downstream = nobody{}
	if p.settings.Type == upstream.CheckGRPC {
		p.fillGRPC(&x.Request)
		if err := p.endpoint.Probe(ctx, x); err != nil {
			return err
		}
		defer x.ResetResponse()
		return p.judgeGRPC()
	}
	p.fill(&x.Request)
	if err := p.endpoint.Probe(ctx, x); err != nil {
		return err
	}
	defer x.ResetResponse()
	if status := x.Response.Status; status < 200 || status > 399 {
		return fmt.Errorf("it answered %d to GET %s", status, p.settings.Path)
	}
	p.drop(x.Response.Body)
	return nil
}

// fill makes the request of an HTTP check.
func (p *probe) fill(r *exchange.Request) {
	r.Method, r.Protocol, r.Close = exchange.GET, exchange.HTTP11, true
	host := p.settings.Host
	if host == "" {
		host = p.endpoint.Addr().String()
	}
	path, query, found := strings.Cut(p.settings.Path, "?")
	if path == "" {
		path = "/"
	}
	r.Host, r.Path, r.Query, r.HasQuery = []byte(host), []byte(path), []byte(query), found
	r.RawPath = r.Path
	r.Header.AddIDString(exchange.UserAgent, userAgent)
	r.Header.Add("Accept", "*/*")
	r.Header.AddIDString(exchange.Connection, "close")
}

// drop reads a body to its end, lest the endpoint sees its connection reset; the status has said what there is to say.
func (p *probe) drop(body exchange.Body) {
	if body == nil {
		return
	}
	var buf [4 << 10]byte
	for dropped := 0; dropped < maxBody; {
		n, err := body.Read(buf[:])
		dropped += n
		if err != nil {
			return
		}
	}
}

// nobody is the client of a check.
type nobody struct{}

// Interim implements exchange.Downstream.
func (nobody) Interim(*exchange.Exchange, int, *exchange.Header) error { return nil }

// Respond implements exchange.Downstream. Nobody calls it: a check's response goes nowhere.
func (nobody) Respond(*exchange.Exchange) error { return nil }

var _ exchange.Downstream = nobody{}
