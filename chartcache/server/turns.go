package server

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// turnstile lets a bounded number of calls be in progress. It turns away instead of letting wait: a queue would grow until
// those in it gave up.
type turnstile struct {
	max int64
	in  atomic.Int64
}

// enter says whether a call may go on. It must call leave then, at least once; further calls of it do nothing.
func (t *turnstile) enter() (leave func(), ok bool) {
	if t.in.Add(1) <= t.max {
		return sync.OnceFunc(func() { t.in.Add(-1) }), true
	}
	t.in.Add(-1)
	return nil, false
}

// busyRetry is how long a caller should wait who came when all were in progress: most calls take milliseconds.
const busyRetry = time.Second

// busy is what a caller gets who was turned away.
func busy() error {
	s := status.New(codes.ResourceExhausted, "chartcache has too many calls in progress; try again, or add replicas")
	detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(busyRetry)})
	if err != nil { // only an OK status or a detail that cannot be marshalled gets here
		return s.Err()
	}
	return detailed.Err()
}

// answer is the message that answers a unary call, with the turn of that call. The end of a call says little about its answer:
// gRPC holds that for as long as the caller does not read. So the turn goes with the memory. Only chunkCodec can marshal it.
type answer struct {
	message any
	leave   func()
}

// written is an answer as it goes over the wire. It is the pool that gRPC gives the bytes back to.
type written struct {
	bytes []byte // of data
	data  mem.BufferSlice
	leave func()
}

// Get is never called: nothing is taken from this pool.
func (w *written) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put gives the turn back: the answer was written, or nobody waits for it any more.
func (w *written) Put(*[]byte) {
	w.data.Free()
	w.leave()
}

// marshal writes an answer so that the turn is given back with its bytes.
func (a *answer) marshal(codec chunkCodec) (mem.BufferSlice, error) {
	data, err := codec.CodecV2.Marshal(a.message)
	if err != nil || len(data) != 1 || mem.IsBelowBufferPoolingThreshold(data.Len()) {
		a.leave() // what has no more than a KiB is not worth a turn, and gRPC does not give it back
		return data, err
	}
	w := &written{bytes: data[0].ReadOnlyData(), data: data, leave: a.leave}
	// gRPC forgets what was not written yet when a connection breaks.
	runtime.AddCleanup(w, func(leave func()) { leave() }, a.leave)
	return mem.BufferSlice{mem.NewBuffer(&w.bytes, w)}, nil
}
