package release

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
)

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "ns", Name: name}
}

func TestRoomGoesToThoseWhoWaitForItInOrder(t *testing.T) {
	s := newSlots(1, 10)
	require.True(t, s.take(named("a")))
	require.False(t, s.take(named("b")))
	require.False(t, s.take(named("c")))
	require.False(t, s.take(named("b")), "asking again changes nothing")
	assert.True(t, s.queued(named("b")))
	assert.Equal(t, []types.NamespacedName{named("b")}, s.give(false))
	assert.False(t, s.queued(named("b")))
	require.False(t, s.take(named("d")), "the room is kept for b")
	require.True(t, s.take(named("b")))
	assert.Equal(t, []types.NamespacedName{named("c")}, s.give(false))
	require.True(t, s.take(named("c")))
	assert.Equal(t, []types.NamespacedName{named("d")}, s.give(false))
}

func TestAnOperationThatWaitsLeavesRoomForOthers(t *testing.T) {
	s := newSlots(1, 2)
	require.True(t, s.take(named("a")))
	require.False(t, s.take(named("b")))
	require.False(t, s.take(named("c")))
	assert.Equal(t, []types.NamespacedName{named("b")}, s.idle(), "a waits")
	require.True(t, s.take(named("b")))
	assert.Empty(t, s.idle(), "b waits, too, but there may be two only")
	assert.Equal(t, []types.NamespacedName{named("c")}, s.give(true), "a has ended")
}

func TestWhatHasBegunGoesOnBeforeAnythingElseBegins(t *testing.T) {
	s := newSlots(1, 10)
	require.True(t, s.take(named("a")))
	s.idle()
	require.Nil(t, s.busy(), "there is room")
	s.idle()
	require.True(t, s.take(named("b")))
	require.False(t, s.take(named("c")))
	turn := s.busy()
	require.NotNil(t, turn)
	assert.Empty(t, s.give(false), "b has ended, but c must wait")
	_, open := <-turn
	assert.False(t, open)
	assert.Equal(t, []types.NamespacedName{named("c")}, s.give(false), "a has ended")
}

func TestAtTheEndOperationsGoOnWhateverTheBound(t *testing.T) {
	s := newSlots(1, 10)
	require.True(t, s.take(named("a")))
	s.idle()
	require.True(t, s.take(named("b")))
	turn := s.busy()
	s.hurry()
	_, open := <-turn
	assert.False(t, open)
}

func TestTurnsThatAreNotWantedGoToOthers(t *testing.T) {
	for name, lose := range map[string]func(s *slots) []types.NamespacedName{
		"it was looked at and wanted nothing": func(s *slots) []types.NamespacedName { return s.passed(named("b"), true) },
		"it is gone":                          func(s *slots) []types.NamespacedName { return s.forget(named("b")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSlots(1, 10)
			require.True(t, s.take(named("a")))
			require.False(t, s.take(named("b")))
			require.False(t, s.take(named("c")))
			require.Equal(t, []types.NamespacedName{named("b")}, s.give(false))
			assert.Equal(t, []types.NamespacedName{named("c")}, lose(s))
		})
	}
}

func TestWhoDoesNotAskAgainLeavesTheQueue(t *testing.T) {
	s := newSlots(1, 10)
	require.True(t, s.take(named("a")))
	require.False(t, s.take(named("b")))
	assert.Empty(t, s.passed(named("b"), false))
	assert.True(t, s.queued(named("b")), "it has asked in that look")
	require.False(t, s.take(named("b")))
	s.passed(named("b"), false)
	assert.True(t, s.queued(named("b")))
	s.passed(named("b"), false)
	assert.False(t, s.queued(named("b")), "it did not ask any more")
	assert.Empty(t, s.give(false))
	assert.True(t, s.take(named("c")))
}

func TestATurnThatComesWhileTheObjectIsLookedAtIsNotLost(t *testing.T) {
	s := newSlots(1, 10)
	require.True(t, s.take(named("a")))
	require.False(t, s.take(named("b")))
	require.Equal(t, []types.NamespacedName{named("b")}, s.give(false), "while b is looked at, after it has asked")
	assert.Empty(t, s.passed(named("b"), false))
	assert.True(t, s.take(named("b")), "in the next look")
}

// Whatever happens in whatever order: the bounds hold, no room is lost, and whoever waits gets a turn.
func TestRoomIsNeverLost(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := newSlots(1+random.IntN(3), 1+random.IntN(6))
		running := map[types.NamespacedName]bool{} // whether it is idle
		woken := map[types.NamespacedName]bool{}
		wake := func(keys []types.NamespacedName) {
			for _, key := range keys {
				woken[key] = true
			}
		}
		for range 300 {
			key := named(fmt.Sprint(random.IntN(8)))
			idle, runs := running[key]
			switch action := random.IntN(6); {
			case runs && action < 2:
				delete(running, key)
				wake(s.give(idle))
			case runs && action == 2 && !idle:
				running[key] = true
				wake(s.idle())
			case !runs && action < 4:
				delete(woken, key)
				had := s.kept[key]
				if s.take(key) {
					running[key] = false
				}
				wake(s.passed(key, had))
			case !runs && action == 4:
				delete(woken, key)
				wake(s.passed(key, s.kept[key]))
			case !runs && action == 5:
				delete(woken, key)
				wake(s.forget(key))
			}
			active := len(s.kept)
			for _, idle := range running {
				if !idle {
					active++
				}
			}
			require.Equal(t, active, s.active)
			require.Equal(t, len(running)+len(s.kept), s.all)
			require.LessOrEqual(t, s.active, s.maxActive)
			require.LessOrEqual(t, s.all, s.maxAll)
			require.False(t, len(s.queue) > 0 && s.free(), "room is free and somebody waits")
			for kept := range s.kept {
				require.True(t, woken[kept], "room is kept for one who does not know")
			}
		}
	}
}
