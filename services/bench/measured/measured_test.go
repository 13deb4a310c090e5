package measured

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sink keeps what a test allocates.
var sink []byte

// hungry uses memory and processor time, so that both can be seen.
func hungry() (int64, error) {
	sink = bytes.Repeat([]byte{1}, 64<<20)
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
		sink[len(sink)/2]++
	}
	return 7, nil
}

func taskThat(work Work, setUpError error) map[string]Task {
	return map[string]Task{"work": {Arguments: 1, SetUp: func([]string) (Work, error) { return work, setUpError }}}
}

func TestATaskPrintsWhatItTook(t *testing.T) {
	var out, errs bytes.Buffer
	require.Zero(t, Main([]string{"work", "argument"}, taskThat(hungry, nil), &out, &errs), errs.String())
	var r Result
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	assert.Equal(t, int64(7), r.Entries)
	assert.GreaterOrEqual(t, r.Wall, 50*time.Millisecond)
	assert.Positive(t, r.CPU)
	assert.Greater(t, r.Peak, int64(64<<20))
	assert.Empty(t, errs.String())
}

func TestWhatCannotBeMeasuredIsAnError(t *testing.T) {
	failing := func() (int64, error) { return 0, errors.New("disk full") }
	for name, c := range map[string]struct {
		args  []string
		tasks map[string]Task
		want  string
	}{
		"no task":                 {nil, taskThat(hungry, nil), "name of a task"},
		"an unknown task":         {[]string{"play"}, taskThat(hungry, nil), `no task "play"`},
		"too few arguments":       {[]string{"work"}, taskThat(hungry, nil), `no task "work" with 0 arguments`},
		"a task that cannot run":  {[]string{"work", "x"}, taskThat(nil, errors.New("no such file")), "no such file"},
		"a task that fails":       {[]string{"work", "x"}, taskThat(failing, nil), "disk full"},
		"one argument too many":   {[]string{"work", "x", "y"}, taskThat(hungry, nil), "with 2 arguments"},
		"an empty set of tasks":   {[]string{"work", "x"}, nil, `no task "work"`},
		"a task without its name": {[]string{""}, taskThat(hungry, nil), `no task ""`},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			assert.Equal(t, 1, Main(c.args, c.tasks, &out, &errs))
			assert.Contains(t, errs.String(), c.want)
			assert.Empty(t, out.String())
		})
	}
}

func TestAgainMeasuresWhatWasDoneBefore(t *testing.T) {
	var setUps, works int
	counted := Task{Arguments: 1, SetUp: func([]string) (Work, error) {
		setUps++
		return func() (int64, error) { works++; return int64(works), nil }, nil
	}}
	var out, errs bytes.Buffer
	require.Zero(t, Main([]string{"again", "x"}, map[string]Task{"again": Again(counted)}, &out, &errs), errs.String())
	var r Result
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	assert.Equal(t, int64(warmUp+1), r.Entries, "the last one is measured")
	assert.Equal(t, works, setUps)

	failing := func() (int64, error) { return 0, errors.New("disk full") }
	for want, tasks := range map[string]map[string]Task{
		"no such file": taskThat(nil, errors.New("no such file")),
		"disk full":    taskThat(failing, nil),
	} {
		errs.Reset()
		assert.Equal(t, 1, Main([]string{"again", "x"}, map[string]Task{"again": Again(tasks["work"])}, &out, &errs))
		assert.Contains(t, errs.String(), want)
	}
}

func TestProfilesAreWrittenWhenAskedFor(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "work")
	t.Setenv(ProfilesVariable, prefix)
	var out, errs bytes.Buffer
	require.Zero(t, Main([]string{"work", "argument"}, taskThat(hungry, nil), &out, &errs), errs.String())
	for _, file := range []string{prefix + ".cpu.pprof", prefix + ".allocs.pprof"} {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, bytes.HasPrefix(content, []byte{0x1f, 0x8b}), "profiles are compressed")
	}
	t.Setenv(ProfilesVariable, filepath.Join(t.TempDir(), "missing", "work"))
	assert.Equal(t, 1, Main([]string{"work", "argument"}, taskThat(hungry, nil), &out, &errs))
}

func TestAProcessIsReadFromItsFiles(t *testing.T) {
	p, err := ReadProcess(os.Getpid())
	require.NoError(t, err)
	assert.Positive(t, p.Resident)
	assert.GreaterOrEqual(t, p.Peak, p.Resident)
	_, err = ReadProcess(1 << 30)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestTheFilesOfAProcess(t *testing.T) {
	resident, err := statusBytes([]byte("Name:\tVmRSS: 9 kB\nVmHWM:\t   20 kB\nVmRSS:\t   12 kB\n"), "VmRSS")
	require.NoError(t, err)
	assert.Equal(t, int64(12<<10), resident)
	_, err = statusBytes([]byte("Name:\tended\n"), "VmRSS")
	require.ErrorContains(t, err, "did it end?")
	_, err = statusBytes([]byte("VmRSS:\tmuch\n"), "VmRSS")
	require.ErrorContains(t, err, "VmRSS")

	const stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 3 4 20 0 9 0 1 2 3\n"
	used, err := statTime([]byte(stat))
	require.NoError(t, err)
	assert.Equal(t, 2*time.Second, used, "150 ticks of the user and 50 of the system, not those of children")
	for name, broken := range map[string]string{"it is cut off": stat[:30], "it has a word for a time": "7 (x) S 1 7 7 0 -1 4 1 0 0 0 x 50 3"} {
		_, err := statTime([]byte(broken))
		assert.Error(t, err, name)
	}
}
