package release

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// wakes collects the objects that a runner wakes.
type wakes struct {
	mu   sync.Mutex
	keys []types.NamespacedName
}

func (w *wakes) add(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = append(w.keys, key)
}

func (w *wakes) taken() []types.NamespacedName {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys := w.keys
	w.keys = nil
	return keys
}

// stuck is an operation that waits until its context ends.
func stuck(ctx context.Context, turn *Turn) Outcome {
	turn.Idle()
	turn.Progress("waiting for Deployment web: 0 of 1 available")
	<-ctx.Done()
	turn.Busy()
	return Outcome{Interrupted: true}
}

func TestOperationsThatOnlyWaitKeepNobodyFromWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken wakes
		r := NewRunner(RunnerConfig{MaxActive: 1, MaxOperations: 3, Wake: woken.add})
		for _, name := range []string{"a", "b"} {
			require.True(t, r.Reserve(named(name)))
			r.Run(named(name), v1alpha1.ReleaseOperation{}, stuck)
			synctest.Wait()
		}
		require.True(t, r.Reserve(named("c")))
		r.Run(named("c"), v1alpha1.ReleaseOperation{}, func(context.Context, *Turn) Outcome { return Outcome{} })
		synctest.Wait()
		assert.Equal(t, []types.NamespacedName{named("c")}, woken.taken())
		ctx, stop := context.WithCancel(t.Context())
		stop()
		require.NoError(t, r.Start(ctx), "the waits end with the process")
	})
}

func TestWhatAnOperationWaitsForIsToldAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken wakes
		r := NewRunner(RunnerConfig{MaxActive: 1, ProgressDelay: 3 * time.Second, Wake: woken.add})
		progress := make(chan string)
		require.True(t, r.Reserve(named("a")))
		r.Run(named("a"), v1alpha1.ReleaseOperation{ID: "op"}, func(_ context.Context, turn *Turn) Outcome {
			turn.Idle()
			for text := range progress {
				turn.Progress(text)
			}
			turn.Busy()
			return Outcome{}
		})
		told := func() string {
			running, ok := r.Running(named("a"))
			require.True(t, ok)
			return running.Progress
		}
		progress <- "1 of 3"
		time.Sleep(2 * time.Second)
		progress <- "2 of 3"
		synctest.Wait()
		assert.Empty(t, told(), "it may be over in no time")
		assert.Empty(t, woken.taken())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, "2 of 3", told())
		assert.Equal(t, []types.NamespacedName{named("a")}, woken.taken())
		progress <- "2 of 3"
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Empty(t, woken.taken(), "nothing new")
		close(progress)
		synctest.Wait()
		time.Sleep(10 * time.Second)
		assert.Equal(t, []types.NamespacedName{named("a")}, woken.taken(), "the end")
	})
}

func TestAnObjectThatIsGoneKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken wakes
		r := NewRunner(RunnerConfig{MaxActive: 1, Wake: woken.add})
		require.True(t, r.Reserve(named("a")))
		require.False(t, r.Reserve(named("b")))
		require.False(t, r.Reserve(named("c")))
		r.Return()
		assert.Equal(t, []types.NamespacedName{named("b")}, woken.taken())
		r.Gone(named("b"))
		assert.Equal(t, []types.NamespacedName{named("c")}, woken.taken())
		assert.True(t, r.Reserve(named("c")))
	})
}

func TestALookThatNeedsNoRoomLeavesItToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken wakes
		r := NewRunner(RunnerConfig{MaxActive: 1, Wake: woken.add})
		require.True(t, r.Reserve(named("a")))
		for _, name := range []string{"b", "c"} {
			end := r.Look(named(name))
			require.False(t, r.Reserve(named(name)))
			end()
		}
		r.Return()
		require.Equal(t, []types.NamespacedName{named("b")}, woken.taken())
		r.Look(named("b"))() // it was suspended meanwhile, say
		assert.Equal(t, []types.NamespacedName{named("c")}, woken.taken())
	})
}
