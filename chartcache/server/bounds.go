package server

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Bounds on what callers can make the server hold.
const (
	// DefaultCalls bounds the calls in progress of all callers together, details, watches and probes aside: each holds a
	// goroutine and at most a page or two chunks of a download, some 500 KiB, so that all of them fit into 256 MiB. A call is
	// in progress until its answer is written to the network, however slowly its caller reads.
	DefaultCalls = 512
	// DefaultDetails bounds the calls for details of charts in progress. One may hold 12 MiB (detailBytes) and the message made
	// of it, but those of the largest public charts have 5 MB, so that all of them fit into 160 MB but for hostile charts.
	DefaultDetails = 16
	// DefaultWatches bounds the watches in progress. One costs some 50 KiB, and an operator or a tool has one.
	DefaultWatches = 1000

	// maxRequestBytes bounds a request. The largest valid one holds two tokens of 4 KiB.
	maxRequestBytes = 64 << 10
	// maxAnswerBytes bounds an answer to what the client of this project takes. The largest are the details of a chart, at
	// most 12 MiB, and pages of a thousand charts whose icons are inside.
	maxAnswerBytes = 64 << 20
	// maxHeaderBytes bounds the metadata of a call, of which this service reads none.
	maxHeaderBytes = 16 << 10
	// maxStreams bounds the calls that one connection has open at once: gRPC lets more wait on the side of the client. One
	// connection must not be able to take all the turns there are.
	maxStreams = 100
	// handshakeTime bounds how long a connection may take until it is ready for calls; gRPC's default is two minutes.
	handshakeTime = 20 * time.Second
	// writeBufferBytes is how much a connection gathers before it writes to the network: a few system calls for each chunk
	// of a download instead of sixteen. gRPC lets connections share the buffers, so that idle ones have none.
	writeBufferBytes = 128 << 10

	// DefaultConnectionAge is how old a connection gets, give or take a tenth, before its client has to connect anew: it
	// then finds replicas that came meanwhile. Half an hour makes that rare, and a rollout settle within an hour.
	DefaultConnectionAge = 30 * time.Minute
	// DefaultConnectionGrace is how long calls of a connection may go on that is too old: as long as the longest call that
	// waits for upstream. Watches and downloads that last longer resume elsewhere.
	DefaultConnectionGrace = upstreamTime
)

// bounds are the options of gRPC that keep callers from wearing the server out.
func (cfg Config) bounds() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(maxAnswerBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.WriteBufferSize(writeBufferBytes),
		// Clients ping idle watches every 30 s; fewer than 10 s apart would be abuse.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// A client that vanished gives its watch back within 80 s.
			Time: time.Minute, Timeout: 20 * time.Second,
			MaxConnectionAge: cfg.ConnectionAge, MaxConnectionAgeGrace: cfg.ConnectionGrace,
		}),
	}
}
