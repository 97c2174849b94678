package controlside

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

var sizes = []int{100, 1000, 10_000}

func input(f Fleet) translate.Input {
	var in translate.Input
	defaults.Globals(&in.Globals)
	in.Services = make([]*translate.Service, f.Services)
	for i := range in.Services {
		in.Services[i] = f.Service(i, "/api", 0)
	}
	return in
}

func fleet(n int) Fleet { return Fleet{Services: n, Endpoints: 10, Bind: "127.0.0.1:0", Port: 9} }

func translated(b *testing.B, in translate.Input) *snapshot.Snapshot {
	b.Helper()
	s, problems := translate.Translate(in)
	if len(problems) > 0 {
		b.Fatal(problems[0])
	}
	return s
}

func BenchmarkTranslate(b *testing.B) {
	for _, n := range sizes {
		in, f := input(fleet(n)), fleet(n)
		b.Run(fmt.Sprintf("%d/whole", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				translated(b, in)
			}
		})
		b.Run(fmt.Sprintf("%d/service", n), func(b *testing.B) {
			var m translate.Memory
			m.Translate(in)
			one, other := in.Services[n/2], f.Service(n/2, "/other", 0)
			b.ReportAllocs()
			for b.Loop() {
				in.Services[n/2] = other
				m.Translate(in)
				one, other = other, one
			}
			if m.Reused() != n-1 {
				b.Errorf("%d services were taken from the translation before", m.Reused())
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range sizes {
		f, in := fleet(n), input(fleet(n))
		var m translate.Memory
		one, _ := m.Translate(in)
		in.Services[n/2] = f.Service(n/2, "/other", 0)
		two, _ := m.Translate(in)
		b.Run(fmt.Sprintf("%d/whole", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d := dataplane.New(dataplane.Options{Log: logr.Discard(), Metrics: telemetry.NewMetrics("bench")})
				if err := d.Apply(b.Context(), one); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				d.Close()
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("%d/service", n), func(b *testing.B) {
			d := dataplane.New(dataplane.Options{Log: logr.Discard(), Metrics: telemetry.NewMetrics("bench")})
			defer d.Close()
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Apply(b.Context(), one); err != nil {
					b.Fatal(err)
				}
				one, two = two, one
			}
		})
	}
}

func BenchmarkFiles(b *testing.B) {
	for _, n := range sizes {
		f, folder := fleet(n), b.TempDir()
		names, err := f.Write(folder, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%d/whole", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if l, problems := standalone.Load(standalone.Options{Path: folder}); l == nil {
					b.Fatal(problems[0])
				}
			}
		})
		b.Run(fmt.Sprintf("%d/service", n), func(b *testing.B) {
			source := standalone.NewSource(standalone.Options{Path: folder}, logr.Discard(), nil)
			applied := make(chan struct{})
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() {
				ended <- source.Run(ctx, nil, func(*standalone.Loaded) error {
					applied <- struct{}{}
					return nil
				})
			}()
			<-applied
			b.ReportAllocs()
			for version := 1; b.Loop(); version++ {
				text := f.File(n/2, 1, version)
				if err := os.WriteFile(names[n/2], []byte(text), 0o600); err != nil {
					b.Fatal(err)
				}
				source.Reload()
				<-applied
			}
			stop()
			for ended != nil {
				select {
				case <-applied:
				case err := <-ended:
					if err != nil {
						b.Error(err)
					}
					ended = nil
				}
			}
		})
	}
}
