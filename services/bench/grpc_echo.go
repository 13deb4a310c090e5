package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoServer is the program echo as a process of its own, and a connection to it.
type echoServer struct {
	process *exec.Cmd
	conn    *grpc.ClientConn
}

// startEcho starts the program, which was built before.
func startEcho(program string, logs io.Writer) (*echoServer, error) {
	e := &echoServer{process: exec.Command(program)}
	e.process.Stderr = logs
	e.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := e.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.process.Start(); err != nil {
		return nil, fmt.Errorf("start the echo server: %w", err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the address of the echo server: %w", err), e.stop())
	}
	e.conn, err = grpc.NewClient("passthrough:///"+strings.TrimSpace(address), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

// stop ends the process as a crash does: there is nothing to save.
func (e *echoServer) stop() error {
	var err error
	if e.conn != nil {
		err = e.conn.Close()
	}
	err = errors.Join(err, e.process.Process.Kill())
	if ended := e.process.Wait(); ended != nil {
		if signalled := new(exec.ExitError); !errors.As(ended, &signalled) {
			return errors.Join(err, ended)
		}
	}
	return err
}

// call is a call with a request and an answer of these sizes on the wire.
func (e *echoServer) call(request, answer int) call {
	payload := make([]byte, valueBytes(request))
	binary.BigEndian.PutUint32(payload, uint32(valueBytes(answer)))
	return func(ctx context.Context, _, _ int) (int64, error) {
		var got wrapperspb.BytesValue
		err := e.conn.Invoke(ctx, "/bench.Echo/Call", &wrapperspb.BytesValue{Value: payload}, &got)
		return int64(len(got.GetValue())), err
	}
}

// valueBytes is how long the value of a BytesValue is that has a size on the wire: a tag and a length come before it. It is
// not shorter than what the server must be told.
func valueBytes(wire int) int { return max(wire-1-len(binary.AppendUvarint(nil, uint64(wire))), 4) }

// stream is a stream of a number of bytes in messages of a size.
func (e *echoServer) stream(bytes, message int) call {
	payload := make([]byte, 8)
	binary.BigEndian.PutUint32(payload, uint32(bytes))
	binary.BigEndian.PutUint32(payload[4:], uint32(message))
	return func(ctx context.Context, _, _ int) (got int64, err error) {
		stream, err := e.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/bench.Echo/Stream")
		if err != nil {
			return 0, err
		}
		if err := errors.Join(stream.SendMsg(&wrapperspb.BytesValue{Value: payload}), stream.CloseSend()); err != nil {
			return 0, err
		}
		for {
			var message wrapperspb.BytesValue
			err := stream.RecvMsg(&message)
			if errors.Is(err, io.EOF) {
				return got, nil
			}
			if err != nil {
				return got, err
			}
			got += int64(len(message.GetValue()))
		}
	}
}
