package exchange

import (
	"encoding/json"
	"io"
	"testing"
)

func TestAnswer(t *testing.T) {
	var x Exchange
	x.Request.Method = GET
	x.RequestID = []byte("id-\"\\\x01\xff-1")
	x.Response.Header.Add("X-Left-Over", "1")
	x.Response.Trailer.Add("X-Left-Over", "1")
	x.Response.Status = 200
	x.Answer(503, NoHealthyUpstream)

	r := &x.Response
	if r.Status != 503 || !r.Local || r.Protocol != HTTP11 || x.Record.Reason != NoHealthyUpstream {
		t.Errorf("%+v, reason %q", r, x.Record.Reason)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(body)) != r.ContentLength {
		t.Errorf("the length of %d bytes is given as %d", len(body), r.ContentLength)
	}
	var got struct {
		Type, Title, Reason string
		Status              int
		RequestID           string `json:"request_id"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if got.Type != "about:blank" || got.Title != "Service Unavailable" || got.Status != 503 || got.Reason != "no_healthy_upstream" ||
		got.RequestID != "id-????-1" {
		t.Errorf("%s", body)
	}
	if v := r.Header.Value(ContentType); string(v) != "application/problem+json" {
		t.Errorf("Content-Type %q", v)
	}
	if v, _ := r.Header.Get("Cache-Control"); string(v) != "no-store" {
		t.Errorf("Cache-Control %q", v)
	}
	if _, ok := r.Header.Get("X-Left-Over"); ok || r.Trailer.Len() != 0 {
		t.Error("a field of an earlier response is left")
	}
}

func TestAnswerWithoutBody(t *testing.T) {
	for _, test := range []struct {
		method Method
		status int
		length int64 // -1: more than 0
	}{
		{HEAD, 404, -1},
		{GET, 204, 0},
		{GET, 304, 0},
		{GET, 101, 0},
	} {
		var x Exchange
		x.Request.Method = test.method
		x.Answer(test.status, NoRoute)
		if x.Response.Body != nil {
			t.Errorf("%v, %d: there is a body", test.method, test.status)
		}
		if n := x.Response.ContentLength; n != test.length && (test.length >= 0 || n <= 0) {
			t.Errorf("%v, %d: Content-Length %d", test.method, test.status, n)
		}
		if hasType := x.Response.Header.Has(ContentType); hasType != (test.length < 0) {
			t.Errorf("%v, %d: has a Content-Type: %v", test.method, test.status, hasType)
		}
	}
}

func TestMakeRequestID(t *testing.T) {
	var a, b Exchange
	a.MakeRequestID()
	b.MakeRequestID()
	if len(a.RequestID) != 32 || string(a.RequestID) == string(b.RequestID) {
		t.Errorf("%q, %q", a.RequestID, b.RequestID)
	}
	for _, c := range a.RequestID {
		if unhex(c) == 16 || lower[c] != c {
			t.Errorf("%q", a.RequestID)
		}
	}
}

func TestAnswerAllocates(t *testing.T) {
	var x Exchange
	n := testing.AllocsPerRun(100, func() {
		x.Reset()
		x.Request.Method = GET
		x.MakeRequestID()
		x.Answer(404, NoRoute)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
