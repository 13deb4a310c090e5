package upstream

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLimitsThatNobodySetAreTheDocumentedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &answering{status: http.StatusOK}
		one := pooled(t, transport, Limits{}, "https://charts.example.com")[0]
		start := time.Now()
		for range 150 {
			require.NoError(t, list(t.Context(), one))
		}
		// A hundred at once, and fifty more within a second.
		assert.Less(t, transport.times[99].Sub(start), time.Millisecond)
		assert.InDelta(t, 1.0, transport.times[149].Sub(start).Seconds(), 0.03)
	})
}
