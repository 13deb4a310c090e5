package rundir

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/deploy/local/internal/process"
)

func newState(t *testing.T) State {
	t.Helper()
	return State{Root: filepath.Join(t.TempDir(), "state")}
}

func self(t *testing.T) process.Identity {
	t.Helper()
	id, err := process.Table{}.Identify(os.Getpid())
	require.NoError(t, err)
	return id
}

// dead is the identity of a process that has ended.
func dead(t *testing.T) process.Identity {
	t.Helper()
	id := self(t)
	id.StartTicks++
	return id
}

// sleeper starts a process that ends with the test, and tells when it is gone.
func sleeper(t *testing.T) (process.Identity, <-chan struct{}) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-gone })
	id, err := process.Table{}.Identify(cmd.Process.Pid)
	require.NoError(t, err)
	return id, gone
}

func TestANameIsTakenWhileItsSupervisorLives(t *testing.T) {
	s := newState(t)
	run, err := s.Create("one", self(t))
	require.NoError(t, err)
	_, err = s.Create("one", self(t))
	require.ErrorIs(t, err, ErrRunning)
	_, err = s.Create("two", self(t))
	require.NoError(t, err, "others run side by side")
	running, err := s.Running()
	require.NoError(t, err)
	assert.Equal(t, []string{"one", "two"}, running)

	require.NoError(t, run.Remove(false))
	_, err = s.Supervisor("one")
	require.ErrorIs(t, err, ErrNotRunning)
	_, err = s.Create("one", self(t))
	require.NoError(t, err)
}

func TestNamesOfRuns(t *testing.T) {
	s := newState(t)
	for _, name := range []string{"", ".", "..", "a/b", "-a", "Upper", "a b"} {
		_, err := s.Create(name, self(t))
		assert.Error(t, err, name)
	}
	_, err := s.Create(RandomName(), self(t))
	assert.NoError(t, err)
	first, second := RandomName(), RandomName()
	assert.NotEqual(t, first, second)
}

func TestAKilledRunIsEndedAndRemovedByTheNext(t *testing.T) {
	s := newState(t)
	killed, err := s.Create("killed", dead(t))
	require.NoError(t, err)
	ours, gone := sleeper(t)
	require.NoError(t, killed.Record("etcd", ours))
	stranger, _ := sleeper(t)
	reused := stranger
	reused.StartTicks-- // what we started had this id earlier
	require.NoError(t, killed.Record("kwok", reused))

	_, err = s.Create("next", self(t))
	require.NoError(t, err)
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the program of the killed run still runs")
	}
	alive, err := process.Table{}.Alive(stranger)
	require.NoError(t, err)
	assert.True(t, alive, "a process that only reuses an id is left alone")
	assert.NoDirExists(t, killed.Dir())
}

func TestSweepLeavesLiveRunsAloneAndRemovesUnreadableOnes(t *testing.T) {
	s := newState(t)
	live, err := s.Create("live", self(t))
	require.NoError(t, err)
	broken := s.RunFolder("broken")
	require.NoError(t, os.MkdirAll(broken, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(broken, processesFile), []byte("{"), 0o600))

	swept, err := s.Sweep()
	require.NoError(t, err)
	assert.Equal(t, []string{"broken"}, swept)
	assert.DirExists(t, live.Dir())
	swept, err = s.Sweep()
	require.NoError(t, err)
	assert.Empty(t, swept)
}

func TestSweepOfAnEmptyStateFindsNothing(t *testing.T) {
	swept, err := newState(t).Sweep()
	require.NoError(t, err)
	assert.Empty(t, swept)
}

func TestAStackIsReadAsItWasPublished(t *testing.T) {
	s := newState(t)
	run, err := s.Create("one", self(t))
	require.NoError(t, err)
	var got map[string]string
	require.ErrorIs(t, s.ReadStack("one", &got), fs.ErrNotExist)
	require.NoError(t, run.Publish(map[string]string{"a": "1"}))
	require.NoError(t, run.Publish(map[string]string{"a": "2"}))
	require.NoError(t, s.ReadStack("one", &got))
	assert.Equal(t, map[string]string{"a": "2"}, got)
	leftovers, err := filepath.Glob(filepath.Join(run.Dir(), ".tmp-*"))
	require.NoError(t, err)
	assert.Empty(t, leftovers)
}

func TestKeptLogsReplaceOlderOnes(t *testing.T) {
	s := newState(t)
	for _, text := range []string{"first", "second"} {
		run, err := s.Create("one", self(t))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(run.Logs(), text+".log"), []byte(text), 0o600))
		require.NoError(t, run.Remove(true))
		assert.NoDirExists(t, run.Dir())
	}
	assert.NoFileExists(t, filepath.Join(s.KeptLogs("one"), "first.log"))
	assert.FileExists(t, filepath.Join(s.KeptLogs("one"), "second.log"))
}

func TestPIDsNameTheNewestProgramOfEachName(t *testing.T) {
	run, err := newState(t).Create("one", self(t))
	require.NoError(t, err)
	require.NoError(t, run.Record("operator", process.Identity{PID: 10}))
	require.NoError(t, run.Record("operator", process.Identity{PID: 11}))
	assert.Equal(t, map[string]int{"operator": 11}, run.PIDs())
}

func FuzzParseProcesses(f *testing.F) {
	valid, _ := json.Marshal(Processes{Supervisor: process.Identity{PID: 2, StartTicks: 3, Boot: "b"}})
	f.Add(valid)
	f.Add([]byte(`{"children": {"a": null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseProcesses(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseProcesses(again); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}
