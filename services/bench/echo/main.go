// Command echo is the baseline of the gRPC figures: a server that does nothing but answer with as many bytes as it is asked
// for. It prints its address, on loopback, and serves until it is killed.
//
// It is a program of its own, so that it shares neither processor time nor memory with whoever asks it.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// maxAnswer bounds the bytes of one call or stream.
const maxAnswer = 64 << 20

func main() { os.Exit(run(os.Stdout, os.Stderr)) }

func run(out, errs io.Writer) int {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err == nil {
		_, err = fmt.Fprintln(out, listener.Addr())
	}
	if err == nil {
		err = newServer().Serve(listener)
	}
	_, _ = fmt.Fprintln(errs, "echo:", err)
	return 1
}

// newServer makes the server, without any option.
func newServer() *grpc.Server {
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Call", Handler: answer}},
		Streams:     []grpc.StreamDesc{{StreamName: "Stream", Handler: stream, ServerStreams: true}},
	}, echo{payload: make([]byte, maxAnswer)})
	return server
}

// echo holds the bytes that all answers are parts of.
type echo struct{ payload []byte }

// answer takes bytes that begin with the size of the answer, as four bytes, and are as long as a real request otherwise.
func answer(server any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	var request wrapperspb.BytesValue
	if err := decode(&request); err != nil {
		return nil, err
	}
	size, err := number(request.GetValue(), 0)
	if err != nil {
		return nil, err
	}
	return &wrapperspb.BytesValue{Value: server.(echo).payload[:size]}, nil //nolint:forcetypeassert,errcheck // it was registered above
}

// stream takes the size of all that follows, and that of one message.
func stream(server any, stream grpc.ServerStream) error {
	var request wrapperspb.BytesValue
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	size, err := number(request.GetValue(), 0)
	if err != nil {
		return err
	}
	chunk, err := number(request.GetValue(), 4)
	if err != nil || chunk == 0 {
		return status.Error(codes.InvalidArgument, "a message needs a size")
	}
	rest := server.(echo).payload[:size] //nolint:forcetypeassert,errcheck // it was registered above
	for len(rest) > 0 {
		n := min(chunk, len(rest))
		if err := stream.SendMsg(&wrapperspb.BytesValue{Value: rest[:n]}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func number(request []byte, at int) (int, error) {
	if len(request) < at+4 {
		return 0, status.Error(codes.InvalidArgument, "the request lacks a size")
	}
	n := binary.BigEndian.Uint32(request[at:])
	if n > maxAnswer {
		return 0, status.Errorf(codes.InvalidArgument, "at most %d bytes", maxAnswer)
	}
	return int(n), nil
}
