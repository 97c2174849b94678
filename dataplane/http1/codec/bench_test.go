package codec

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	smallRequest = "GET / HTTP/1.1\r\nHost: 127.0.0.1:6188\r\n\r\n"

	browserRequest = "GET /articles/2024/reverse-proxies?utm_source=feed&page=2 HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"Connection: keep-alive\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\n" +
		"sec-ch-ua-mobile: ?0\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
		"Referer: https://www.example.com/articles/2024\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=necessary\r\n" +
		"\r\n"

	smallResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n" +
		"Content-Type: text/plain\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\nHello, world!"
)

func BenchmarkParseRequest(b *testing.B) {
	for _, bb := range []struct{ name, head string }{{"small", smallRequest}, {"browser", browserRequest}} {
		b.Run(bb.name, func(b *testing.B) {
			r, head := &exchange.Request{}, []byte(bb.head)
			b.ReportAllocs()
			b.SetBytes(int64(len(head)))
			for b.Loop() {
				if n, err := ParseRequest(r, head, 0, Limits{}); n != len(head) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	r, head := &exchange.Response{}, []byte(smallResponse)
	b.ReportAllocs()
	for b.Loop() {
		if result, err := ParseResponse(r, exchange.GET, head, 0, Limits{}); result.Size == 0 || err != nil {
			b.Fatal(result, err)
		}
	}
}

func BenchmarkAppendRequestHead(b *testing.B) {
	for _, bb := range []struct{ name, head string }{{"small", smallRequest}, {"browser", browserRequest}} {
		b.Run(bb.name, func(b *testing.B) {
			r := &exchange.Request{}
			if _, err := ParseRequest(r, []byte(bb.head), 0, Limits{}); err != nil {
				b.Fatal(err)
			}
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendRequestHead(dst[:0], r, NoBody)
			}
		})
	}
}

func BenchmarkAppendResponseHead(b *testing.B) {
	r := &exchange.Response{}
	if _, err := ParseResponse(r, exchange.GET, []byte(smallResponse), 0, Limits{}); err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendResponseHead(dst[:0], r, LengthBody)
	}
}

func BenchmarkChunkDecoder(b *testing.B) {
	for _, bb := range []struct {
		name  string
		chunk int
	}{{"16", 16}, {"4096", 4096}} {
		b.Run(bb.name, func(b *testing.B) {
			body := chunkedBody(64<<10, bb.chunk)
			d := &ChunkDecoder{}
			b.ReportAllocs()
			b.SetBytes(64 << 10)
			for b.Loop() {
				d.Reset(Limits{})
				for rest, done := body, false; !done; {
					_, n, end, err := d.Decode(rest)
					if err != nil {
						b.Fatal(err)
					}
					rest, done = rest[n:], end
				}
			}
		})
	}
}

// chunkedBody returns a body of n bytes in chunks of the given size.
func chunkedBody(n, chunk int) []byte {
	var body []byte
	for ; n > 0; n -= chunk {
		size := min(n, chunk)
		body = AppendChunkHeader(body, size)
		body = append(body, strings.Repeat("d", size)...)
		body = append(body, '\r', '\n')
	}
	return AppendLastChunk(body, nil)
}

// Nothing on the plain path allocates, and neither does a refusal.
func TestCodecAllocatesNothing(t *testing.T) {
	request, response, d := &exchange.Request{}, &exchange.Response{}, &ChunkDecoder{}
	small, browser, answer := []byte(smallRequest), []byte(browserRequest), []byte(smallResponse)
	absolute := []byte("OPTIONS http://[2001:db8::1]:80 HTTP/1.1\r\nHost: a\r\n\r\n")
	refused := []byte("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
	body := chunkedBody(4096, 1000)
	dst := make([]byte, 0, 4096)
	var last error
	for name, run := range map[string]func(){
		"small request":    func() { _, last = ParseRequest(request, small, 0, Limits{}) },
		"browser request":  func() { _, last = ParseRequest(request, browser, 0, Limits{}) },
		"absolute-form":    func() { _, last = ParseRequest(request, absolute, 0, Limits{}) },
		"response":         func() { _, last = ParseResponse(response, exchange.GET, answer, 0, Limits{}) },
		"request's head":   func() { dst = AppendRequestHead(dst[:0], request, NoBody) },
		"response's head":  func() { dst = AppendResponseHead(dst[:0], response, LengthBody) },
		"chunk's framing":  func() { dst = AppendLastChunk(AppendChunkHeader(dst[:0], 4096), nil) },
		"refused request":  func() { _, last = ParseRequest(request, refused, 0, Limits{}) },
		"refused response": func() { _, last = ParseResponse(response, exchange.GET, refused, 0, Limits{}) },
		"chunked body": func() {
			d.Reset(Limits{})
			for rest, done := body, false; !done && last == nil; {
				var n int
				_, n, done, last = d.Decode(rest)
				rest = rest[n:]
			}
		},
	} {
		last = nil
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if wrong := last != nil; wrong != strings.HasPrefix(name, "refused") {
			t.Errorf("%s: got the error %v", name, last)
		}
	}
}
