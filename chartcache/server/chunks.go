package server

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that this one extends
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// chunkBytesExponent and chunkBytes are the most that one message of a download holds, by the contract.
	chunkBytesExponent = 18
	chunkBytes         = 1 << chunkBytesExponent
	// responseChunk is the number of DownloadChartResponse.chunk.
	responseChunk protowire.Number = 2
)

// chunk is a DownloadChartResponse with a chunk whose bytes are sent from where they were read to, without a copy. Only
// chunkCodec can marshal it.
type chunk struct{ data mem.Buffer }

// chunkCodec is gRPC's own codec for messages of the contract, and for a chunk or an answer.
type chunkCodec struct{ encoding.CodecV2 }

func newChunkCodec() chunkCodec { return chunkCodec{encoding.GetCodecV2("proto")} }

// Marshal gives the buffer of a chunk, or the turn of an answer, away.
func (c chunkCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *chunk:
		return v.marshal()
	case *answer:
		return v.marshal(c)
	default:
		return c.CodecV2.Marshal(v)
	}
}

func (c *chunk) marshal() (mem.BufferSlice, error) {
	head := protowire.AppendTag(nil, responseChunk, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(c.data.Len()))
	return mem.BufferSlice{mem.SliceBuffer(head), c.data}, nil
}

// newChunkPool returns a pool of buffers for chunks, which gRPC's own pool would give four times their size.
func newChunkPool() mem.BufferPool {
	pool, err := mem.NewBinaryTieredBufferPool(chunkBytesExponent)
	if err != nil { // an exponent of that size is none of those that are refused
		return mem.DefaultBufferPool()
	}
	return pool
}

// sendChunks sends what there is to read. A buffer goes back to the pool once gRPC has written it; a client that does not
// read makes Send wait, so that few of them are in use.
func sendChunks(stream grpc.ServerStream, pool mem.BufferPool, from io.Reader) error {
	for {
		buffer := pool.Get(chunkBytes)
		n, err := io.ReadFull(from, *buffer)
		if n == 0 {
			pool.Put(buffer)
		} else {
			*buffer = (*buffer)[:n]
			if err := stream.SendMsg(&chunk{mem.NewBuffer(buffer, pool)}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read tarball from the cache: %w", err)
		}
	}
}
