// Package codec reads and writes the messages of HTTP/1.1 (RFC 9110 and RFC 9112, as far as a proxy is concerned). It does
// no I/O and allocates nothing: ParseRequest and ParseResponse read a head in place and leave offsets in an
// exchange.Header, ChunkDecoder hands out views of a chunked body, and the Append functions write the one canonical form
// that is sent on.
//
// It is strict by design: what two parsers may read differently is refused and never forwarded. Framing is never
// copied: a message leaves with one decimal Content-Length or with chunks of our own.
//
// What a path means (percent-encoding, dot segments), which hosts exist, which fields are hop-by-hop and whom to trust
// is left to the packages that route and proxy.
package codec
