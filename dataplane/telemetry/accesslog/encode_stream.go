package accesslog

import (
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// streamJSON appends the line of a connection of a TCP service, with those of the fields of a request that it has.
func (e *encoder) streamJSON(x *exchange.Exchange, configHash string) {
	rec := &x.Record
	b := append(e.line[:0], `{"ts":"`...)
	b = e.appendTime(b, rec.End)
	b = append(b, `","request_id":"`...)
	b = appendEscaped(b, x.RequestID)
	b = append(b, `","client_ip":"`...)
	if x.ClientIP.IsValid() {
		b = x.ClientIP.AppendTo(b)
	}
	b = append(b, `","protocol":"TCP"`...)
	if rec.Reason != "" {
		b = append(b, `,"reason":"`...)
		b = appendEscaped(b, rec.Reason)
		b = append(b, '"')
	}
	b = append(b, `,"bytes_in":`...)
	b = strconv.AppendInt(b, rec.BytesIn, 10)
	b = append(b, `,"bytes_out":`...)
	b = strconv.AppendInt(b, rec.BytesOut, 10)
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, rec.End-rec.Start)
	if rec.Namespace != "" {
		b = append(b, `,"namespace":"`...)
		b = appendEscaped(b, rec.Namespace)
		b = append(b, '"')
	}
	b = append(b, `,"service":"`...)
	b = appendEscaped(b, rec.Service)
	b = append(b, '"')
	if rec.Upstream.IsValid() {
		b = append(b, `,"upstream_addr":"`...)
		b = rec.Upstream.AppendTo(b)
		b = append(b, `","upstream_connect_ms":`...)
		b = appendMillis(b, rec.Connect)
	}
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(rec.Attempts), 10)
	if c := x.Conn; c.TLSVersion != "" {
		b = append(b, `,"tls_version":"`...)
		b = append(b, c.TLSVersion...)
		b = append(b, '"')
	}
	if x.Conn.ServerName != "" {
		b = append(b, `,"sni":"`...)
		b = appendEscaped(b, x.Conn.ServerName)
		b = append(b, '"')
	}
	b = append(b, `,"config_hash":"`...)
	b = appendEscaped(b, configHash)
	e.line = append(b, "\"}\n"...)
}

// streamConsole appends the same for people who watch a terminal:
//
//	15:04:05.123 TCP db.example 1250.000ms 512B in 4096B out 192.0.2.7 > 10.0.0.3:5432 postgres
func (e *encoder) streamConsole(x *exchange.Exchange) {
	rec := &x.Record
	b := e.appendTime(e.line[:0], rec.End)
	b = append(b[:0], b[len("2006-01-02T"):len(b)-1]...)
	b = append(b, " TCP "...)
	if name := x.Conn.ServerName; name != "" {
		b = append(appendEscaped(b, name), ' ')
	}
	b = appendMillis(b, rec.End-rec.Start)
	b = append(b, "ms "...)
	b = strconv.AppendInt(b, rec.BytesIn, 10)
	b = append(b, "B in "...)
	b = strconv.AppendInt(b, rec.BytesOut, 10)
	b = append(b, "B out"...)
	if x.ClientIP.IsValid() {
		b = append(b, ' ')
		b = x.ClientIP.AppendTo(b)
	}
	if rec.Upstream.IsValid() {
		b = append(b, " > "...)
		b = rec.Upstream.AppendTo(b)
	}
	b = append(b, ' ')
	b = appendEscaped(b, rec.Service)
	if rec.Attempts > 1 {
		b = append(b, " tries="...)
		b = strconv.AppendInt(b, int64(rec.Attempts), 10)
	}
	if rec.Reason != "" {
		b = append(b, " reason="...)
		b = appendEscaped(b, rec.Reason)
	}
	e.line = append(b, '\n')
}
