package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A stream is a row's one request over HTTP/2, on a connection of its own.
type stream struct {
	c       *client
	out     bytes.Buffer
	block   bytes.Buffer
	framer  *http2.Framer
	encoder *hpack.Encoder
}

// ample is a window that no row fills.
const ample = 1 << 24

func newStream(c *client) *stream {
	s := &stream{c: c}
	s.framer = http2.NewFramer(&s.out, c.in)
	s.framer.AllowIllegalWrites = true
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.encoder = hpack.NewEncoder(&s.block)
	s.out.WriteString(http2.ClientPreface)
	_ = s.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: ample})
	_ = s.framer.WriteWindowUpdate(0, ample)
	return s
}

func (s *stream) headers(id uint32, fields [][2]string, end bool) {
	s.block.Reset()
	for _, f := range fields {
		_ = s.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.block.Bytes(), EndStream: end, EndHeaders: true})
}

func (s *stream) flush() error {
	_, err := s.c.nc.Write(s.out.Bytes())
	s.out.Reset()
	return err
}

// data writes text in DATA frames.
func (s *stream) data(text string, end bool) {
	const most = 16384
	for len(text) > most {
		_ = s.framer.WriteData(1, false, []byte(text[:most]))
		text = text[most:]
	}
	_ = s.framer.WriteData(1, end, []byte(text))
}

// send sends the row's writes. Errors are no matter: the proxy may have heard enough.
func (s *stream) send(r row, wait func(what string) bool) {
	form, writes := r.stream, r.send
	last := len(writes) - 1
	ends := func(i int) bool { return i == last && form.ends && form.trailer == nil }
	s.headers(1, form.fields, ends(0) && writes[0] == "")
	for i, text := range writes {
		if strings.HasPrefix(text, "\x00") {
			if s.flush() != nil || !wait(text) {
				return
			}
			continue
		}
		if text != "" {
			s.data(text, ends(i))
		}
	}
	if form.trailer != nil {
		s.headers(1, form.trailer, true)
	}
	_ = s.flush()
}

// converse sends the row and reads the answer.
func (s *stream) converse(r row) *outcome {
	continued, answered, heard := make(chan struct{}, 64), make(chan struct{}, 64), make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.send(r, func(what string) bool {
			wait := answered
			if what == await100 {
				wait = continued
			}
			select {
			case <-wait:
				return true
			case <-heard:
				select {
				case <-wait:
					return true
				default:
					return false // what it waits for will not come
				}
			}
		})
	}()
	got := &outcome{}
	answer, err := s.read(1, func(status string) {
		if status == "100" {
			continued <- struct{}{}
		}
	})
	if answer != nil {
		got.responses = append(got.responses, answer)
	}
	if errors.Is(err, errStream) && strings.HasSuffix(r.want.statuses[0], "|reset") && answer.status[0] == '4' {
		err = nil // who is told what is malformed is told so twice
	}
	got.broken = err
	answered <- struct{}{}
	close(heard)
	<-sent
	return got
}

// errStream says that a stream was reset.
var errStream = errors.New("the stream was reset")

// read reads the response on a stream. Where it was reset in front of one the status is "reset".
func (s *stream) read(id uint32, interim func(status string)) (*response, error) {
	r := &response{}
	for {
		f, err := s.framer.ReadFrame()
		if err != nil {
			return r, fmt.Errorf("behind status %q: %w", r.status, err)
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			return r, fmt.Errorf("GOAWAY %v behind status %q", g.ErrCode, r.status)
		}
		if f.Header().StreamID != id {
			continue
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if r.status == "" {
				r.status = "reset"
				return r, nil
			}
			return r, fmt.Errorf("%w: %v", errStream, f.ErrCode)
		case *http2.MetaHeadersFrame:
			status := f.PseudoValue("status")
			switch {
			case status != "" && status[0] == '1':
				r.interim = append(r.interim, status)
				interim(status)
			case status != "":
				r.status, r.fields = status, regular(f)
			default:
				r.trailer = regular(f)
			}
			if f.StreamEnded() {
				return r, r.wholeBody()
			}
		case *http2.DataFrame:
			r.body += string(f.Data())
			if f.StreamEnded() {
				return r, r.wholeBody()
			}
		}
	}
}

func regular(f *http2.MetaHeadersFrame) (fields [][2]string) {
	for _, f := range f.RegularFields() {
		fields = append(fields, [2]string{f.Name, f.Value})
	}
	return fields
}

// wholeBody checks a response that has ended in order against its length (RFC 9113 §8.1.1), and for fields of a connection.
func (r *response) wholeBody() error {
	for _, f := range append(r.fields, r.trailer...) {
		if ofConnection(f) {
			return fmt.Errorf("%w: the field %q", errNotHTTP, f)
		}
	}
	lengths := r.get("content-length")
	if len(lengths) > 0 && r.body != "" && lengths[0] != strconv.Itoa(len(r.body)) || len(lengths) > 1 {
		return fmt.Errorf("%w: %d bytes with Content-Length %q", errNotHTTP, len(r.body), lengths)
	}
	return nil
}

// end judges how the stream ended, and that the connection serves the next one.
func (s *stream) end(want verdict, got *outcome) error {
	switch {
	case want.end == aborted && got.refused():
	case want.end == aborted && got.broken == nil:
		return errors.New("the last answer looks complete")
	case want.end == aborted && !errors.Is(got.broken, errStream), want.end != aborted && got.broken != nil:
		return fmt.Errorf("the stream ended with: %w", got.broken)
	}
	target := fmt.Sprint(victimPath, s.c.scheme, "/", victims.Add(1))
	s.headers(3, [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a.example"}, {":path", target}}, true)
	if err := s.flush(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r, err := s.read(3, func(string) {})
	if err != nil || r.status != "200" || r.body != "GET "+target {
		return fmt.Errorf("the next stream of the connection got %s %q (%w)", r.status, r.body, err)
	}
	return nil
}
