package conformance

import (
	"context"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// h2spec returns the path of the tool.
func h2spec(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("H2SPEC"); path != "" {
		return path
	}
	command := exec.Command("../../hack/tool.sh", "h2spec")
	command.Stderr = os.Stderr // it says when it builds
	path, err := command.Output()
	if err != nil {
		t.Fatalf("hack/tool.sh h2spec: %v; or set H2SPEC to its path", err)
	}
	return strings.TrimSpace(string(path))
}

// report is what h2spec writes for JUnit.
type report struct {
	Suites []struct {
		Package string `xml:"package,attr"`
		Cases   []struct {
			Name    string    `xml:"classname,attr"`
			Failure string    `xml:"failure"`
			Error   string    `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// h2specCases is how many there are, strict ones included.
const h2specCases = 146

// plainOnly is the one case that cannot pass where both protocols are spoken on one port without TLS: what is no preface of
// HTTP/2 there is a request of HTTP/1.1, and is told in HTTP/1.1 what is wrong with it.
const plainOnly = "Sends invalid connection preface"

// TestH2spec runs the conformance suite of HTTP/2 (github.com/summerwind/h2spec) against the data plane.
func TestH2spec(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs another program")
	}
	tool := h2spec(t)
	for _, mode := range []struct {
		name      string
		arguments []string
	}{
		{"TLS", []string{"-t", "-k"}},
		{"prior knowledge", nil},
	} {
		t.Run(mode.name, func(t *testing.T) {
			address := h2Plane(t, len(mode.arguments) > 0)
			host, port, _ := net.SplitHostPort(address)
			file := filepath.Join(t.TempDir(), "report.xml")
			arguments := append([]string{"-h", host, "-p", port, "-P", "/h2spec", "-S", "-o", "5", "-j", file}, mode.arguments...)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			output, err := exec.CommandContext(ctx, tool, arguments...).CombinedOutput()
			text, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatalf("%v, %v: %s", err, readErr, output)
			}
			var all report
			if err := xml.Unmarshal(text, &all); err != nil {
				t.Fatal(err)
			}
			cases := 0
			for _, suite := range all.Suites {
				for _, c := range suite.Cases {
					cases++
					told := strings.TrimSpace(c.Failure + c.Error)
					switch {
					case mode.arguments == nil && c.Name == plainOnly:
						if told == "" {
							t.Errorf("%q passes", plainOnly)
						}
					case told != "" || c.Skipped != nil:
						t.Errorf("%s: %s: %s", suite.Package, c.Name, told)
					}
				}
			}
			if _, failures, found := strings.Cut(string(output), "Failures:"); found && t.Failed() {
				t.Log(failures)
			}
			if cases != h2specCases {
				t.Errorf("%d cases were run, not %d: %s", cases, h2specCases, output)
			}
		})
	}
}

// h2Plane starts a data plane in front of an origin, and returns the address of its one listener. The origin answers when it
// has a request whole: who is answered before cannot be told what is wrong with the rest.
func h2Plane(t *testing.T, secure bool) string {
	t.Helper()
	o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, "whole\n")
		}
	}))
	plane := dataplane.New(dataplane.Options{Log: logr.Discard(), Metrics: telemetry.NewMetrics("test")})
	t.Cleanup(func() {
		plane.Close()
		o.Close()
	})
	service := &snapshot.Service{Name: "web", IdleTimeout: time.Minute}
	if secure {
		chain, key := harness.NewAuthority(t, "an authority").Issue(t, nil, "127.0.0.1")
		service.TLS = &snapshot.TLS{Certificates: []snapshot.Certificate{{Name: "a", Chain: []byte(chain), Key: snapshot.Secret(key)}}}
	}
	route := &snapshot.Route{
		Service: service, Name: "all", Clusters: []snapshot.WeightedCluster{{Cluster: "origin", Weight: 1}},
		Timeouts: snapshot.Timeouts{Connect: patience, Request: patience, Idle: patience},
	}
	err := plane.Apply(context.Background(), &snapshot.Snapshot{
		Listeners: []*snapshot.Listener{{
			Address: listenAddress, TLS: secure, Services: []*snapshot.Service{service}, Routes: []*snapshot.Route{route},
		}},
		Clusters: []*snapshot.Cluster{{
			ID:        "origin",
			Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort(o.Listener.Addr().String()), Weight: 1}},
			Health:    snapshot.HealthCheck{Type: snapshot.CheckDisabled},
		}},
		Limits: snapshot.Limits{
			MaxRequestLine: 8192, MaxHeaderBytes: 65536, MaxHeaders: 128, HeaderTimeout: patience, DrainTimeout: patience,
		},
		AccessLog: snapshot.AccessLog{Path: "off"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return plane.Bound(listenAddress)
}
