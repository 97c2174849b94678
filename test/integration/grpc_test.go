package integration_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// startHealth starts a gRPC server with the health service: Check is a call, Watch a stream.
func startHealth(t *testing.T, config *tls.Config) (string, *grpchealth.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	srv, health := grpc.NewServer(options...), grpchealth.NewServer()
	healthpb.RegisterHealthServer(srv, health)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return l.Addr().String(), health
}

func healthClient(t *testing.T, addr string, c credentials.TransportCredentials) (healthpb.HealthClient, context.Context) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	t.Cleanup(func() {
		cancel()
		_ = conn.Close()
	})
	return healthpb.NewHealthClient(conn), ctx
}

// TestGRPC carries calls and streams, with TLS on either side and without.
func TestGRPC(t *testing.T) {
	t.Parallel()
	ours := harness.NewAuthority(t, "ours")
	ca := keep(t, "ca.pem", ours.PEM)
	chain, key := ours.Issue(t, nil, "front.test")
	cert, certKey := keep(t, "c.pem", chain), keep(t, "k.pem", key)
	for _, c := range []struct {
		name               string
		secure, secureBack bool
	}{{"plain", false, false}, {"TLS behind", false, true}, {"TLS in front", true, false}, {"TLS", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var config *tls.Config
			backend, more := "H2C", ""
			if c.secureBack {
				config = serverConfig(ours, t, "back.test")
				backend, more = "H2", fmt.Sprintf(", upstream_tls: {server_name: back.test, ca_ref: {file: '%s'}}", ca)
			}
			creds := insecure.NewCredentials()
			if c.secure {
				more += fmt.Sprintf(", tls: true, tls_config: {certificates: [{cert_file: '%s', key_file: '%s'}]}", cert, certKey)
				creds = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ours.Pool(), ServerName: "front.test"})
			}
			addr, server := startHealth(t, config)
			p := harness.Start(t, fmt.Sprintf(
				"services:\n  - {name: web, bind_address: '127.0.0.1:0', backends: [{address: '%s', protocol: %s}], health_check: {type: GRPC, service: shop, frequency_secs: 1}%s}\n",
				addr, backend, more), harness.Options{})
			client, ctx := healthClient(t, p.Addr(t, "web"), creds)

			// Its health check does not know the service yet: the endpoint gets nothing, and the client is told so in gRPC.
			harness.Eventually(t, "the endpoint is unhealthy", func() bool { return !p.Endpoints(t, "web")[0].Healthy })
			if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unavailable ||
				status.Convert(err).Message() != "no_healthy_upstream" {
				t.Errorf("without an endpoint: %v", err)
			}
			server.SetServingStatus("shop", healthpb.HealthCheckResponse_SERVING)
			harness.Eventually(t, "the endpoint is healthy", func() bool { return p.Endpoints(t, "web")[0].Healthy })

			for range 20 {
				if r, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "shop"}); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
					t.Fatalf("%v, %v", r, err)
				}
			}
			if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "nobody"}); status.Code(err) != codes.NotFound {
				t.Errorf("the endpoint's own status: %v", err)
			}
			stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "other"})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []healthpb.HealthCheckResponse_ServingStatus{
				healthpb.HealthCheckResponse_SERVICE_UNKNOWN, healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING,
			} {
				if i > 0 { // each message arrives while the stream goes on
					server.SetServingStatus("other", want)
				}
				if m, err := stream.Recv(); err != nil || m.GetStatus() != want {
					t.Fatalf("%v, %v", m, err)
				}
			}
		})
	}
}

// TestGRPCWithoutARoute: whatever the proxy itself says to a call is gRPC.
func TestGRPCWithoutARoute(t *testing.T) {
	t.Parallel()
	addr, _ := startHealth(t, nil)
	p := harness.Start(t, fmt.Sprintf(
		"services:\n  - {name: web, bind_address: '127.0.0.1:0', hosts: [other.test], backends: [{address: '%s', protocol: H2C}]}\n", addr), harness.Options{})
	client, ctx := healthClient(t, p.Addr(t, "web"), insecure.NewCredentials())
	_, err := client.Check(ctx, &healthpb.HealthCheckRequest{})
	if status.Code(err) != codes.Unimplemented || status.Convert(err).Message() != "no_route" {
		t.Errorf("%v", err)
	}
}
