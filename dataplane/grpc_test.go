package dataplane

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// calls is gRPC's own test service: all kinds of calls, with metadata both ways.
type calls struct {
	pb.UnimplementedTestServiceServer
	called   chan struct{} // a call that waits has come
	canceled chan struct{} // and was given up
}

// echoed passes the metadata of a call back, in front of the messages and behind them.
func echoed(ctx context.Context) (head, tail metadata.MD) {
	in, _ := metadata.FromIncomingContext(ctx)
	return metadata.MD{"x-head": in["x-mine"]}, metadata.MD{"x-tail-bin": in["x-mine"], "x-te": in["te"]}
}

func (c *calls) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	head, tail := echoed(ctx)
	_ = grpc.SetHeader(ctx, head)
	_ = grpc.SetTrailer(ctx, tail)
	if s := r.GetResponseStatus(); s != nil {
		return nil, status.Error(codes.Code(s.GetCode()), s.GetMessage())
	}
	if r.GetResponseSize() < 0 { // until the client has had enough
		c.called <- struct{}{}
		<-ctx.Done()
		c.canceled <- struct{}{}
		return nil, ctx.Err()
	}
	body := r.GetPayload().GetBody()
	if n := int(r.GetResponseSize()); n > 0 {
		body = bytes.Repeat([]byte("r"), n)
	}
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: body}}, nil
}

func (c *calls) StreamingOutputCall(r *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	for _, p := range r.GetResponseParameters() {
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	return nil
}

func (c *calls) StreamingInputCall(s grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	sum := 0
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return s.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(m.GetPayload().GetBody())
	}
}

func (c *calls) FullDuplexCall(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	head, tail := echoed(s.Context())
	_ = s.SetHeader(head)
	s.SetTrailer(tail)
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: m.GetPayload()}); err != nil {
			return err
		}
	}
}

// startCalls starts a gRPC server.
func startCalls(t testing.TB) (string, *calls) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &calls{called: make(chan struct{}, 1), canceled: make(chan struct{}, 1)}
	srv := grpc.NewServer()
	pb.RegisterTestServiceServer(srv, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return l.Addr().String(), c
}

// through returns a client of a gRPC server behind the proxy.
func through(t testing.TB, endpoint string, change func(*snapshot.Snapshot)) pb.TestServiceClient {
	t.Helper()
	d := newPlane(t)
	s := configuration("127.0.0.1:0", endpoint)
	s.Clusters[0].Protocol = snapshot.HTTP2
	if change != nil {
		change(s)
	}
	apply(t, d, s)
	conn, err := grpc.NewClient("passthrough:///"+d.Bound("127.0.0.1:0"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewTestServiceClient(conn)
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-mine", "a"), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestGRPCUnary(t *testing.T) {
	endpoint, _ := startCalls(t)
	client := through(t, endpoint, nil)
	for _, size := range []int{0, 1, 100, 300_000} {
		var head, tail metadata.MD
		body := bytes.Repeat([]byte("q"), size)
		r, err := client.UnaryCall(within(t), &pb.SimpleRequest{Payload: &pb.Payload{Body: body}}, grpc.Header(&head), grpc.Trailer(&tail))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.GetPayload().GetBody(), body) {
			t.Errorf("%d bytes came back, want %d", len(r.GetPayload().GetBody()), size)
		}
		if fmt.Sprint(head["x-head"], tail["x-tail-bin"]) != "[a] [a]" {
			t.Errorf("metadata %v and %v", head, tail)
		}
	}
	if r, err := client.UnaryCall(within(t), &pb.SimpleRequest{ResponseSize: 1 << 20}); err != nil || len(r.GetPayload().GetBody()) != 1<<20 {
		t.Errorf("a large response: %v", err)
	}
}

// TestGRPCStatus: what the server says of a call arrives, in a trailer or in a response of trailers alone.
func TestGRPCStatus(t *testing.T) {
	endpoint, _ := startCalls(t)
	client := through(t, endpoint, nil)
	_, err := client.UnaryCall(within(t), &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: 9, Message: "grüße, 100 %\r\n\x01"}})
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "grüße, 100 %\r\n\x01" {
		t.Errorf("%v %q", s.Code(), s.Message())
	}
	if _, err := client.EmptyCall(within(t), &pb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}
}

func TestGRPCStreaming(t *testing.T) {
	endpoint, _ := startCalls(t)
	client := through(t, endpoint, nil)
	t.Run("from the server", func(t *testing.T) {
		r := &pb.StreamingOutputCallRequest{}
		sizes := []int32{1, 100_000, 0, 50_000}
		for _, n := range sizes {
			r.ResponseParameters = append(r.ResponseParameters, &pb.ResponseParameters{Size: n})
		}
		s, err := client.StreamingOutputCall(within(t), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range sizes {
			if m, err := s.Recv(); err != nil || len(m.GetPayload().GetBody()) != int(n) {
				t.Fatalf("%v", err)
			}
		}
		if _, err := s.Recv(); err != io.EOF {
			t.Errorf("%v", err)
		}
	})
	t.Run("from the client", func(t *testing.T) {
		s, err := client.StreamingInputCall(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 100_000, 0, 50_000} {
			if err := s.Send(&pb.StreamingInputCallRequest{Payload: &pb.Payload{Body: make([]byte, n)}}); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := s.CloseAndRecv(); err != nil || r.GetAggregatedPayloadSize() != 150_001 {
			t.Errorf("%v, %v", r, err)
		}
	})
	t.Run("both ways in turns", func(t *testing.T) {
		s, err := client.FullDuplexCall(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			message := &pb.Payload{Body: fmt.Append(nil, "message ", i)}
			if err := s.Send(&pb.StreamingOutputCallRequest{Payload: message}); err != nil {
				t.Fatal(err)
			}
			if m, err := s.Recv(); err != nil || !bytes.Equal(m.GetPayload().GetBody(), message.GetBody()) {
				t.Fatalf("%v, %v", m, err)
			}
		}
		if head, err := s.Header(); err != nil || fmt.Sprint(head["x-head"]) != "[a]" {
			t.Errorf("%v, %v", head, err)
		}
		_ = s.CloseSend()
		if _, err := s.Recv(); err != io.EOF {
			t.Errorf("%v", err)
		}
		if fmt.Sprint(s.Trailer()["x-tail-bin"]) != "[a]" {
			t.Errorf("%v", s.Trailer())
		}
	})
}

// TestGRPCCancel: a call that the client gave up ends at the server.
func TestGRPCCancel(t *testing.T) {
	endpoint, server := startCalls(t)
	client := through(t, endpoint, nil)
	ctx, cancel := context.WithCancel(within(t)) // with a deadline the endpoint could stop by itself: it is told of that
	go func() {
		defer cancel()
		select {
		case <-server.called:
		case <-ctx.Done():
		}
	}()
	if _, err := client.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: -1}); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	select {
	case <-server.canceled:
	case <-time.After(20 * time.Second):
		t.Error("the server works on")
	}
}

// TestGRPCErrorsOfTheProxy: the proxy's own answers are statuses of gRPC.
func TestGRPCErrorsOfTheProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := l.Addr().String()
	_ = l.Close()
	endpoint, _ := startCalls(t)
	for _, c := range []struct {
		name    string
		change  func(*snapshot.Snapshot)
		code    codes.Code
		message string
	}{
		{"no connection", nil, codes.Unavailable, "connect_failed"},
		{"no endpoint", func(s *snapshot.Snapshot) { s.Clusters[0].Endpoints = nil }, codes.Unavailable, "no_endpoints"},
		{"no route", func(s *snapshot.Snapshot) {
			s.Listeners[0].Routes[0].Matches = []snapshot.Match{{Path: "/other", PathType: snapshot.PathExact}}
		}, codes.Unimplemented, "no_route"},
	} {
		_, err := through(t, refusing, c.change).UnaryCall(within(t), &pb.SimpleRequest{})
		if s := status.Convert(err); s.Code() != c.code || s.Message() != c.message {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	slow := through(t, endpoint, func(s *snapshot.Snapshot) { s.Listeners[0].Routes[0].Timeouts.Request = 200 * time.Millisecond })
	if _, err := slow.UnaryCall(within(t), &pb.SimpleRequest{ResponseSize: -1}); status.Code(err) != codes.Unavailable {
		t.Errorf("a time-out: %v", err)
	}
}

// BenchmarkGRPCUnary is of small calls over one connection each side, with gRPC's own client and server in this process: what
// they cost is most of it. "direct" is without the proxy.
func BenchmarkGRPCUnary(b *testing.B) {
	endpoint, _ := startCalls(b)
	direct, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = direct.Close() }()
	r := &pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, 100)}}
	for name, client := range map[string]pb.TestServiceClient{"direct": pb.NewTestServiceClient(direct), "through": through(b, endpoint, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(loop *testing.PB) {
				for loop.Next() {
					if _, err := client.UnaryCall(b.Context(), r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
