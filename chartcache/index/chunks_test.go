package index

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// smallTexts are texts whose first buffers hold no more than this, so that short streams need many of them.
func smallTexts(size, number int) *texts {
	t := &texts{}
	for range number {
		t.giveBack(make([]byte, 0, size))
	}
	return t
}

func TestLinesAreReadWhateverTheStreamGivesAtOnce(t *testing.T) {
	text := "a\n\nbb\n" + strings.Repeat("c", 100) + "\nd\r\nno end"
	for name, r := range map[string]io.Reader{
		"all":          strings.NewReader(text),
		"one byte":     iotest.OneByteReader(strings.NewReader(text)),
		"half":         iotest.HalfReader(strings.NewReader(text)),
		"an early end": iotest.DataErrReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLineReader(r, smallTexts(16, 20))
			var lines []string
			for {
				line, err := l.line()
				if len(line) > 0 {
					lines = append(lines, string(line))
				}
				if err != nil {
					require.ErrorIs(t, err, io.EOF)
					break
				}
			}
			assert.Equal(t, strings.SplitAfter(text, "\n"), lines)
			whole, ok, err := l.whole()
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, text, string(whole))
		})
	}
}

func TestARunOfLinesEndsWhereThePrefixDoes(t *testing.T) {
	l := newLineReader(strings.NewReader("  a\n  b\n c\n  d\n  no end"), &texts{})
	text, lines := l.run([]byte("  "))
	assert.Empty(t, text, "nothing was read yet")
	assert.Zero(t, lines)
	_, err := l.line()
	require.NoError(t, err)
	text, lines = l.run([]byte("  "))
	assert.Equal(t, "  b\n", string(text))
	assert.Equal(t, 1, lines)
	_, err = l.line()
	require.NoError(t, err)
	text, _ = l.run([]byte("  "))
	assert.Equal(t, "  d\n", string(text), "what may go on is no line yet")
}

func TestWhatIsHeldOfAStreamStaysAsItWas(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		_, _ = fmt.Fprintf(&text, "line %d\n", i)
	}
	buffers := smallTexts(64, 100)
	l := newLineReader(strings.NewReader(text.String()), buffers)
	l.lost = true // as after the bound: nothing is kept
	var held []byte
	var chunks *chunk
	for i := range 1000 {
		line, err := l.line()
		require.NoError(t, err)
		if i == 500 {
			held, chunks = line, l.chunk
			chunks.held.Add(1)
		}
	}
	assert.Equal(t, "line 500\n", string(held))
	buffers.release(chunks)
	assert.Nil(t, chunks.data, "given back by the last who held it")
}

func TestTheWholeOfAStreamIsBounded(t *testing.T) {
	for size, want := range map[int]bool{wholeBytes: true, wholeBytes + 1: false, 3 * wholeBytes: false} {
		for _, taken := range []int{0, size / 100, size / 2} {
			l := newLineReader(strings.NewReader(strings.Repeat("0123456789abcde\n", size/16+1)[:size]), &texts{})
			for read := 0; read < taken; {
				line, err := l.line()
				require.NoError(t, err)
				read += len(line)
			}
			text, ok, err := l.whole()
			require.NoError(t, err)
			assert.Equal(t, want, ok, "%d bytes, %d of them taken", size, taken)
			if want {
				assert.Len(t, text, size)
			}
		}
	}
}

func TestAStreamThatBreaksOrGivesNothingIsAnError(t *testing.T) {
	broken := errors.New("broken")
	l := newLineReader(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), &texts{})
	_, err := l.line()
	require.NoError(t, err)
	line, err := l.line()
	require.ErrorIs(t, err, broken)
	assert.Equal(t, "b", string(line))
	_, _, err = l.whole()
	require.ErrorIs(t, err, broken)

	_, err = newLineReader(mute{}, &texts{}).line()
	require.ErrorIs(t, err, io.ErrNoProgress)
}

// mute never gives anything, and no end.
type mute struct{}

func (mute) Read([]byte) (int, error) { return 0, nil }
