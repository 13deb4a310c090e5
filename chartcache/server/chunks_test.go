package server

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestAChunkIsTheMessageOfTheContract(t *testing.T) {
	codec := newChunkCodec()
	for _, size := range []int{1, 127, 128, 5000, chunkBytes} {
		content := bytes.Repeat([]byte{7}, size)
		data, err := codec.Marshal(&chunk{mem.SliceBuffer(content)})
		require.NoError(t, err)
		var got chartcachev1.DownloadChartResponse
		require.NoError(t, codec.Unmarshal(data, &got))
		assert.True(t, proto.Equal(&chartcachev1.DownloadChartResponse{Content: &chartcachev1.DownloadChartResponse_Chunk{Chunk: content}}, &got))
	}
	data, err := codec.Marshal(getCharts())
	require.NoError(t, err)
	want, err := proto.Marshal(getCharts())
	require.NoError(t, err)
	assert.Equal(t, want, data.Materialize(), "other messages are as they were")
	_, err = codec.Marshal("no message")
	assert.Error(t, err)
}

// countingPool counts the buffers that are out.
type countingPool struct {
	mem.BufferPool
	out int
}

func (p *countingPool) Get(n int) *[]byte  { p.out++; return p.BufferPool.Get(n) }
func (p *countingPool) Put(buffer *[]byte) { p.out--; p.BufferPool.Put(buffer) }

// sink is a stream that takes messages, as gRPC does, until it fails.
type sink struct {
	grpc.ServerStream
	codec chunkCodec
	got   []byte
	fails error
}

func (s *sink) SendMsg(m any) error {
	data, err := s.codec.Marshal(m)
	if err != nil {
		return err
	}
	defer data.Free()
	var response chartcachev1.DownloadChartResponse
	if err := s.codec.Unmarshal(data, &response); err != nil {
		return err
	}
	s.got = append(s.got, response.GetChunk()...)
	return s.fails
}

func TestBuffersOfChunksGoBackToTheirPool(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 60_000)
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		from  io.Reader
		fails error
		want  error
		got   []byte
	}{
		"all is sent":        {bytes.NewReader(content), nil, nil, content},
		"nothing is left":    {bytes.NewReader(nil), nil, nil, nil},
		"the client is gone": {bytes.NewReader(content), broken, broken, content[:chunkBytes]},
		"the disk fails":     {io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken)), nil, broken, content},
	} {
		t.Run(name, func(t *testing.T) {
			pool := &countingPool{BufferPool: newChunkPool()}
			stream := &sink{codec: newChunkCodec(), fails: test.fails}
			require.ErrorIs(t, sendChunks(stream, pool, test.from), test.want)
			assert.Zero(t, pool.out)
			assert.Equal(t, test.got, stream.got)
		})
	}
}
