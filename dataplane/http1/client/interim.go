package client

import "github.com/pingora-proxy/pingora-proxy/dataplane/exchange"

// passInterim passes a 1xx response on. 100 is passed only to who asked for it.
func (c *Conn) passInterim(r *exchange.Response) {
	if r.Status == 100 {
		c.goOn()
		return
	}
	stripInterim(&r.Header)
	_ = c.x.Downstream.Interim(c.x, r.Status, &r.Header) // a client that is gone is noticed by the response itself
}

// stripInterim removes what belongs to the connection that an interim response came on.
func stripInterim(h *exchange.Header) {
	for i := h.Next(exchange.Connection, 0); i >= 0; i = h.Next(exchange.Connection, i+1) {
		_, _, list, _ := h.At(i)
		for len(list) > 0 {
			var name []byte
			if name, list = exchange.NextToken(list); len(name) > 0 {
				h.DelBytes(name) // of its connection, too, because that one says so
			}
		}
	}
	for _, id := range [...]exchange.ID{
		exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TransferEncoding,
		exchange.ContentLength, exchange.Upgrade, exchange.Trailer,
	} {
		h.DelID(id)
	}
}

// goOn tells a client that expects it to send the body, and starts to upload it.
func (c *Conn) goOn() {
	if c.upload.state != uploadExpects {
		return
	}
	c.timer.Set(c.try.Deadline)
	_ = c.x.Downstream.Interim(c.x, 100, nil)
	c.upload.start(c.x)
}
