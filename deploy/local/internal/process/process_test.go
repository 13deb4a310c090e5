package process

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newTestSpawner(t *testing.T, recorded func(string, Identity) error) *Spawner {
	t.Helper()
	if recorded == nil {
		recorded = func(string, Identity) error { return nil }
	}
	s := NewSpawner(SpawnerConfig{LogDir: t.TempDir(), Recorded: recorded})
	t.Cleanup(s.Close)
	return s
}

func shell(t *testing.T, script string) Spec {
	t.Helper()
	path, err := exec.LookPath("sh")
	require.NoError(t, err)
	return Spec{Name: "program", Path: path, Args: []string{"-c", script}, Dir: t.TempDir()}
}

func TestStartTicks(t *testing.T) {
	for name, test := range map[string]struct {
		stat  string
		want  uint64
		fails bool
	}{
		"an ordinary line has its start time in field 22": {
			stat: "12 (etcd) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20", want: 4711,
		},
		"a name with spaces and parentheses is skipped as a whole": {
			stat: "12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 42", want: 42,
		},
		"a zombie counts as gone":       {stat: "12 (sh) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 42", fails: true},
		"a short line is an error":      {stat: "12 (sh) S 1 2 3", fails: true},
		"a line without name is":        {stat: "12 sh S", fails: true},
		"a start time must be a number": {stat: "12 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := startTicks([]byte(test.stat))
			assert.Equal(t, test.fails, err != nil, "error: %v", err)
			assert.Equal(t, test.want, got)
		})
	}
}

func FuzzStartTicks(f *testing.F) {
	f.Add([]byte("12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 42"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		ticks, err := startTicks(stat)
		if err != nil && ticks != 0 {
			t.Errorf("an error must come without a start time, got %d", ticks)
		}
	})
}

func TestAProcessIsOnlyKilledWhenItIsTheOneThatWasMeant(t *testing.T) {
	child, err := newTestSpawner(t, nil).Start(shell(t, "exec sleep 60"))
	require.NoError(t, err)
	var table Table

	another := child.Identity()
	another.StartTicks++
	require.NoError(t, table.Kill(another))
	require.NoError(t, table.Terminate(another))
	alive, err := table.Alive(another)
	require.NoError(t, err)
	assert.False(t, alive, "the same id with another start time is another process")
	alive, err = table.Alive(child.Identity())
	require.NoError(t, err)
	require.True(t, alive)

	require.NoError(t, table.Kill(child.Identity()))
	<-child.Done()
	alive, err = table.Alive(child.Identity())
	require.NoError(t, err)
	assert.False(t, alive)
	require.NoError(t, table.Kill(child.Identity()), "killing what is gone is no error")
	alive, err = table.Alive(Identity{PID: 1})
	require.NoError(t, err)
	assert.False(t, alive, "init is never ours")
}

func TestAProgramWritesIntoItsLogAndSeesAlmostNothingOfTheCallersEnvironment(t *testing.T) {
	t.Setenv("KUBECONFIG", "/somewhere")
	spec := shell(t, `echo "kubeconfig=$KUBECONFIG home=$HOME extra=$EXTRA"`)
	spec.Env = []string{"EXTRA=yes"}
	child, err := newTestSpawner(t, nil).Start(spec)
	require.NoError(t, err)
	<-child.Done()
	require.ErrorIs(t, child.Err(), ErrExited)
	log, err := os.ReadFile(child.Log())
	require.NoError(t, err)
	assert.Equal(t, "kubeconfig= home="+spec.Dir+" extra=yes\n", string(log))
}

func TestAProgramThatCannotBeRecordedIsEnded(t *testing.T) {
	var id Identity
	refuse := errors.New("disk full")
	_, err := newTestSpawner(t, func(_ string, got Identity) error { id = got; return refuse }).Start(shell(t, "exec sleep 60"))
	require.ErrorIs(t, err, refuse)
	alive, err := Table{}.Alive(id)
	require.NoError(t, err)
	assert.False(t, alive)
}

func TestClosingTheSpawnerEndsItsPrograms(t *testing.T) {
	s := newTestSpawner(t, nil)
	child, err := s.Start(shell(t, "trap '' TERM INT; while :; do sleep 60; done"))
	require.NoError(t, err)
	s.Close()
	select {
	case <-child.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the program outlived its spawner")
	}
	_, err = s.Start(shell(t, "true"))
	assert.Error(t, err)
}

func TestTheSpawnersThreadEndsAlsoWhenItBeganOnTheFirstThread(t *testing.T) {
	// Which thread a goroutine gets is the scheduler's choice; among 200 some get the first.
	for range 200 {
		ran := make(chan int)
		go onThreadOfItsOwn(func() { ran <- syscall.Gettid() })
		assert.NotEqual(t, os.Getpid(), <-ran, "the first thread never ends")
	}
}

func TestStopFallsBackToKill(t *testing.T) {
	for name, script := range map[string]string{
		"a program that obeys":   "exec sleep 60",
		"a program that ignores": "trap '' TERM; while :; do sleep 60; done",
	} {
		t.Run(name, func(t *testing.T) {
			child, err := newTestSpawner(t, nil).Start(shell(t, script))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			child.Stop(ctx)
			require.ErrorIs(t, child.Err(), ErrExited)
		})
	}
}

func TestAwait(t *testing.T) {
	notYet := errors.New("not yet")
	t.Run("succeeds with the probe", func(t *testing.T) {
		child, err := newTestSpawner(t, nil).Start(shell(t, "exec sleep 60"))
		require.NoError(t, err)
		calls := 0
		require.NoError(t, child.Await(t.Context(), func(context.Context) error {
			if calls++; calls < 3 {
				return notYet
			}
			return nil
		}))
		assert.Equal(t, 3, calls)
	})
	t.Run("fails at once when the program ends", func(t *testing.T) {
		child, err := newTestSpawner(t, nil).Start(shell(t, "sleep 0.1"))
		require.NoError(t, err)
		require.ErrorIs(t, child.Await(t.Context(), func(context.Context) error { return notYet }), ErrExited)
	})
	t.Run("names the cause and the last answer when time is over", func(t *testing.T) {
		child, err := newTestSpawner(t, nil).Start(shell(t, "exec sleep 60"))
		require.NoError(t, err)
		over := errors.New("time is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 150*time.Millisecond, over)
		defer cancel()
		err = child.Await(ctx, func(context.Context) error { return notYet })
		require.ErrorIs(t, err, over)
		require.ErrorIs(t, err, notYet)
	})
}

func TestPortsAreFreeAndNeverGivenTwice(t *testing.T) {
	p := &Ports{Rand: rand.New(rand.NewPCG(1, 2))}
	seen := map[string]bool{}
	addresses, err := p.FreeAddresses(50)
	require.NoError(t, err)
	for _, address := range addresses {
		assert.False(t, seen[address])
		seen[address] = true
		l, err := net.Listen("tcp", address)
		if assert.NoError(t, err) {
			assert.NoError(t, l.Close())
		}
	}
}

func TestATakenPortIsNotGivenOut(t *testing.T) {
	first := &Ports{Rand: rand.New(rand.NewPCG(1, 2))}
	port, err := first.Free()
	require.NoError(t, err)
	l, err := net.Listen("tcp", Loopback(port))
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	second := &Ports{Rand: rand.New(rand.NewPCG(1, 2))} // looks in the same order
	other, err := second.Free()
	require.NoError(t, err)
	assert.NotEqual(t, port, other)
}

func TestAServiceThatEndsBeforeItIsReadyIsTriedAgainOnOtherPorts(t *testing.T) {
	var started []*Child
	l := &Launcher{
		Spawner: newTestSpawner(t, nil), Ports: &Ports{Rand: rand.New(rand.NewPCG(3, 4))},
		Started: func(c *Child) { started = append(started, c) },
	}
	marker := filepath.Join(t.TempDir(), "second")
	var offered []string
	cleaned := 0
	child, err := l.Start(t.Context(), Service{
		Ports: 1, ReadyWithin: 30 * time.Second,
		Spec: func(addresses []string) Spec {
			offered = append(offered, addresses[0])
			if len(offered) < 2 {
				return shell(t, "exit 3")
			}
			return shell(t, "touch "+marker+"; exec sleep 60")
		},
		Retry: func() error { cleaned++; return nil },
		Ready: func(context.Context) error { _, err := os.Stat(marker); return err },
	})
	require.NoError(t, err)
	assert.Len(t, offered, 2)
	assert.NotEqual(t, offered[0], offered[1])
	assert.Equal(t, 1, cleaned)
	assert.Equal(t, []*Child{child}, started, "only the one that became ready is watched")
}

func TestAServiceThatNeverStaysUpFailsAfterThreeAttempts(t *testing.T) {
	l := &Launcher{Spawner: newTestSpawner(t, nil), Ports: &Ports{Rand: rand.New(rand.NewPCG(5, 6))}, Started: func(*Child) {}}
	tries := 0
	_, err := l.Start(t.Context(), Service{
		ReadyWithin: 30 * time.Second,
		Spec:        func([]string) Spec { tries++; return shell(t, "exit 3") },
		Ready:       func(context.Context) error { return errors.New("not yet") },
	})
	require.Error(t, err)
	assert.Equal(t, 3, tries)
}
