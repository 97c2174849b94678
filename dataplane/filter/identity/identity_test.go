package identity

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func TestFilter(t *testing.T) {
	c := Config{Owner: "shop", Fields: []string{"X-User", "X-Groups"}}
	f, err := c.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var x exchange.Exchange
	for _, name := range []string{"x-user", "X_User", "X-Groups", "X-Users"} {
		x.Request.Header.Add(name, "root")
	}
	if f.Request(&x) != filter.Continue {
		t.Error("the request is stopped")
	}
	left := ""
	for i := range x.Request.Header.Len() {
		if _, name, _, ok := x.Request.Header.At(i); ok {
			left += string(name)
		}
	}
	if left != "X-Users" {
		t.Errorf("%s is left", left)
	}
	if f, err := (Config{Fields: []string{"Host"}}).New(filter.Env{}); f != nil || err == nil {
		t.Error("Host is taken")
	}
	if (Config{Owner: "a", Fields: c.Fields}).Key() == c.Key() || (Config{Owner: "shop"}).Key() == c.Key() {
		t.Error("two have one key")
	}
}
