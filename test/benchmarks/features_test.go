package benchmarks

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/configs"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/material"
)

func TestVariantsAreConfigured(t *testing.T) {
	b := &Bench{spans: &material.SpanSink{Addr: "127.0.0.1:4318"}}
	for _, name := range variants() {
		set := configs.Settings{Listen: "127.0.0.1:80", Origin: "127.0.0.1:81"}
		if err := b.feature(name, &set); err != nil {
			t.Error(err)
		}
		text, err := set.Render("ours.yaml")
		if err != nil || strings.Contains(text, "{{") || name != Ours && set.Globals+set.Service+set.Routes == "" {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if b.feature(Ours+" nonsense", &configs.Settings{}) == nil {
		t.Error("an unknown feature is measured")
	}
}
