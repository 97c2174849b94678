package tcp

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

// TestFind: the exact name, then the longest wildcard, then whoever takes every name; of equals the oldest.
func TestFind(t *testing.T) {
	streams := func(hosts ...[]string) (out []*Stream) {
		for i, h := range hosts {
			out = append(out, &Stream{Snapshot: &snapshot.Stream{Name: string(rune('a' + i)), Hosts: h}})
		}
		return out
	}
	some := NewTable(streams([]string{"*.example"}, []string{"a.example", "B.example."}, []string{"*.c.example", "a.example"}), "")
	all := NewTable(append(streams([]string{"a.example"}, nil), streams(nil)...), "")
	for _, tt := range []struct {
		table *Table
		name  string
		want  string // empty: nobody
	}{
		{some, "a.example", "b"},
		{some, "A.EXAMPLE", "b"},
		{some, "a.example.", "b"},
		{some, "b.example", "b"},
		{some, "x.example", "a"},
		{some, "x.y.example", "a"},
		{some, "c.example", "a"},
		{some, "x.c.example", "c"},
		{some, "x.y.c.example", "c"},
		{some, "example", ""},
		{some, "notexample", ""},
		{some, ".", ""},
		{some, "", "a"},
		{all, "a.example", "a"},
		{all, "other.test", "b"},
		{all, "", "a"},
		{NewTable(nil, ""), "a.example", ""},
		{NewTable(nil, ""), "", ""},
	} {
		got := ""
		if found := tt.table.Find(tt.name); found != nil {
			got = found.Snapshot.Name
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestCountsSurviveAChange of the table: what is open still counts against the limit.
func TestCountsSurviveAChange(t *testing.T) {
	s := NewServer(Options{})
	one := func() *Stream { return &Stream{Snapshot: &snapshot.Stream{Namespace: "n", Name: "a"}} }
	first, other := one(), &Stream{Snapshot: &snapshot.Stream{Name: "b"}}
	s.Use(NewTable([]*Stream{first, other}, ""))
	first.open.Add(3)
	second := one()
	s.Use(NewTable([]*Stream{second}, ""))
	if second.open != first.open || second.open.Load() != 3 {
		t.Errorf("%d are open", second.open.Load())
	}
	again := &Stream{Snapshot: &snapshot.Stream{Name: "b"}}
	s.Use(NewTable([]*Stream{again}, ""))
	if again.open == other.open {
		t.Error("what was gone counts")
	}
}

// TestAdmit: a connection whose handshake went by other settings than its stream's has not shown what it must.
func TestAdmit(t *testing.T) {
	auth := &snapshot.ClientAuth{Required: true, CA: []byte("x")}
	secured := &Stream{Snapshot: &snapshot.Stream{TLS: &snapshot.TLS{ClientAuth: auth}}, Group: &group.Group{}}
	open := &Stream{Snapshot: &snapshot.Stream{TLS: &snapshot.TLS{}}, Group: &group.Group{}}
	broken := &Stream{Snapshot: &snapshot.Stream{Invalid: "why"}, Group: &group.Group{}}
	NewTable([]*Stream{secured, open, broken}, "")
	for _, tt := range []struct {
		stream *Stream
		asked  string
		want   exchange.Reason
	}{
		{secured, auth.Digest(), ""},
		{secured, "", exchange.Misdirected},
		{secured, (&snapshot.ClientAuth{CA: []byte("x")}).Digest(), exchange.Misdirected},
		{open, "", ""},
		{open, auth.Digest(), exchange.Misdirected},
		{broken, "", exchange.InvalidConfig},
		{&Stream{Snapshot: &snapshot.Stream{}}, "", exchange.InvalidConfig},
	} {
		x := &exchange.Exchange{Conn: &exchange.Conn{ClientAuth: tt.asked}}
		if got := (&conn{}).admit(tt.stream, x); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
