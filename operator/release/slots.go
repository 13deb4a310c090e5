package release

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// slots share two bounds among the operations of objects: how many are there at once, and how many of those do something,
// since the others only wait. An object that finds no room stands in a queue and is told when it has its turn; the room is
// kept for it from then on.
//
// Methods return the objects whose turn has come. It is not safe for concurrent use.
type slots struct {
	maxActive, maxAll int

	active, all int
	// resuming are operations that have waited and go on as soon as there is room; they come before all that stand in the
	// queue, since what has begun should end.
	resuming []chan struct{}
	queue    []types.NamespacedName
	// asked are those of the queue that asked again since the last call of passed.
	asked map[types.NamespacedName]bool
	// kept are those whose turn has come.
	kept map[types.NamespacedName]bool
}

func newSlots(maxActive, maxAll int) *slots {
	return &slots{
		maxActive: maxActive, maxAll: max(maxActive, maxAll),
		asked: map[types.NamespacedName]bool{}, kept: map[types.NamespacedName]bool{},
	}
}

// take takes room for an operation; without any, the object stands in the queue.
func (s *slots) take(key types.NamespacedName) bool {
	switch {
	case s.kept[key]:
		delete(s.kept, key)
		return true
	case len(s.queue) == 0 && s.free():
		s.active++
		s.all++
		return true
	}
	if _, queued := s.asked[key]; !queued {
		s.queue = append(s.queue, key)
	}
	s.asked[key] = true
	return false
}

func (s *slots) free() bool {
	return len(s.resuming) == 0 && s.active < s.maxActive && s.all < s.maxAll
}

// queued reports whether an object stands in the queue.
func (s *slots) queued(key types.NamespacedName) bool {
	_, queued := s.asked[key]
	return queued
}

// give gives the room of an operation back; idle says that it only waited.
func (s *slots) give(idle bool) []types.NamespacedName {
	s.all--
	if !idle {
		s.active--
	}
	return s.next()
}

// idle notes that an operation only waits from now on.
func (s *slots) idle() []types.NamespacedName {
	s.active--
	return s.next()
}

// busy notes that an operation goes on; if there is no room, it returns a channel that is closed when it may.
func (s *slots) busy() <-chan struct{} {
	if s.active < s.maxActive {
		s.active++
		return nil
	}
	turn := make(chan struct{})
	s.resuming = append(s.resuming, turn)
	return turn
}

// hurry lets all operations go on that wait for room, over the bound, since they have only to end.
func (s *slots) hurry() {
	for _, turn := range s.resuming {
		s.active++
		close(turn)
	}
	s.resuming = nil
}

// next gives free room to those who wait for it.
func (s *slots) next() (turns []types.NamespacedName) {
	for len(s.resuming) > 0 && s.active < s.maxActive {
		s.active++
		close(s.resuming[0])
		s.resuming = s.resuming[1:]
	}
	for len(s.queue) > 0 && s.free() {
		key := s.queue[0]
		s.queue = s.queue[1:]
		delete(s.asked, key)
		s.kept[key] = true
		s.active++
		s.all++
		turns = append(turns, key)
	}
	return turns
}

// passed notes that an object was looked at. What it does not want any more goes to others: its place in the queue if it did not
// ask again, and the room that was kept for it before that look, which hadTurn tells.
func (s *slots) passed(key types.NamespacedName, hadTurn bool) []types.NamespacedName {
	if asked, queued := s.asked[key]; queued {
		if s.asked[key] = false; !asked {
			s.leave(key)
		}
	}
	if hadTurn && s.kept[key] {
		delete(s.kept, key)
		return s.give(false)
	}
	return nil
}

// forget drops all of an object that is gone.
func (s *slots) forget(key types.NamespacedName) []types.NamespacedName {
	s.leave(key)
	return s.passed(key, true)
}

// leave takes an object out of the queue.
func (s *slots) leave(key types.NamespacedName) {
	if s.queued(key) {
		delete(s.asked, key)
		s.queue = slices.DeleteFunc(s.queue, func(k types.NamespacedName) bool { return k == key })
	}
}
