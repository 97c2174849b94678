package readers

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
)

// used is the length of a message of raw that was read through in.
func used(raw []byte, source *bytes.Reader, in *bufio.Reader) int {
	return len(raw) - source.Len() - in.Buffered()
}

// framingOfStandard lists the framing fields that net/http has found. It takes Transfer-Encoding out of the fields, and
// keeps it apart.
func framingOfStandard(h http.Header, codings []string) string {
	var fields [][2]string
	for _, name := range framing {
		values := h.Values(name)
		if name == "transfer-encoding" {
			values = codings
		}
		for _, value := range values {
			fields = append(fields, [2]string{name, value})
		}
	}
	return framingOf(fields)
}

// ReadRequestStandard reads the request at the start of raw as net/http does.
func ReadRequestStandard(raw []byte) (Reading, error) {
	source := bytes.NewReader(raw)
	in := bufio.NewReader(source)
	r, err := http.ReadRequest(in)
	if err != nil {
		return Reading{}, err
	}
	body, err := io.ReadAll(r.Body)
	return Reading{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Framing: framingOfStandard(r.Header, r.TransferEncoding),
		Body: string(body), Length: used(raw, source, in), // the end of the trailer is read with the body
	}, err
}

// ReadResponseStandard reads the response to a request of that method at the start of raw as net/http does.
func ReadResponseStandard(raw []byte, method string) (Reading, error) {
	source := bytes.NewReader(raw)
	in := bufio.NewReader(source)
	r, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return Reading{}, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	status, _, _ := strings.Cut(r.Status, " ")
	if r.Close { // it takes the word out of the fields
		r.Header.Add("Connection", "close")
	}
	return Reading{
		Status: status, Framing: framingOfStandard(r.Header, r.TransferEncoding),
		Body: string(body), Length: used(raw, source, in),
	}, err
}
