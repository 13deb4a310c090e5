package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/services/bench/measured"
)

// took are runs with wall times in milliseconds; each used twice the processor time and a peak of as many MB.
func took(milliseconds ...int64) runs {
	var all runs
	for _, ms := range milliseconds {
		wall := time.Duration(ms) * time.Millisecond
		all = append(all, measured.Result{Wall: wall, CPU: 2 * wall, Peak: ms * megabyte})
	}
	return all
}

func TestRunsShowTheBestTimeAndTheWorstMemory(t *testing.T) {
	r := took(300, 100, 200)
	assert.Equal(t, "100 ms (median 200 ms, CPU 200 ms)", r.time())
	assert.Equal(t, int64(300*megabyte), r.peak())
}

func TestARowSaysWhetherItsFigureIsReached(t *testing.T) {
	for name, c := range map[string]struct {
		add  func(*table)
		want string
	}{
		"fast enough": {
			func(t *table) { t.faster("build", took(2000), took(100), 20) },
			"| build | 2.00 s (median 2.00 s, CPU 4.00 s) | 100 ms (median 100 ms, CPU 200 ms) | 20.0x | >= 20x faster | yes |",
		},
		"too slow": {
			func(t *table) { t.faster("build", took(1999), took(100), 20) },
			"| build | 2.00 s (median 2.00 s, CPU 4.00 s) | 100 ms (median 100 ms, CPU 200 ms) | 20.0x | >= 20x faster | **no** |",
		},
		"not slower": {
			func(t *table) { t.faster("build", took(100), took(100), 1) },
			"| build | 100 ms (median 100 ms, CPU 200 ms) | 100 ms (median 100 ms, CPU 200 ms) | 1.0x | not slower | yes |",
		},
		"small enough": {
			func(t *table) { t.smaller("build", took(900), took(30, 90), 90*megabyte) },
			"| build | 900 MB | 90 MB | 10.0x | <= 90 MB | yes |",
		},
		"too large": {
			func(t *table) { t.smaller("build", took(900), took(30, 91), 90*megabyte) },
			"| build | 900 MB | 91 MB | 9.9x | <= 90 MB | **no** |",
		},
		"in time": {
			func(t *table) { t.within("start", "", time.Second, time.Second, " (alone)") },
			"| start |  | 1.00 s (alone) |  | <= 1.00 s | yes |",
		},
		"too late": {
			func(t *table) { t.within("start", "other: 12 s", 12*time.Second, time.Second, "") },
			"| start | other: 12 s | 12.0 s |  | <= 1.00 s | **no** |",
		},
		"below a size": {
			func(t *table) { t.below("idle", "", 150*megabyte, 150*megabyte, "") },
			"| idle |  | 150 MB |  | <= 150 MB | yes |",
		},
		"above a size": {
			func(t *table) { t.below("idle", "", 151*megabyte, 150*megabyte, "") },
			"| idle |  | 151 MB |  | <= 150 MB | **no** |",
		},
		"beside each other": {
			func(t *table) { t.compare("build", took(200), took(100)) },
			"| build | 200 ms (median 200 ms, CPU 400 ms) | 100 ms (median 100 ms, CPU 200 ms) | 2.0x |  |  |",
		},
		"for information": {
			func(t *table) { t.inform(row{what: "a|b", ours: "1"}) },
			`| a\|b |  | 1 |  |  |  |`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var collected table
			c.add(&collected)
			var out strings.Builder
			require.NoError(t, collected.print(&out))
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			require.Len(t, lines, 3)
			assert.Equal(t, c.want, lines[2])
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestATableThatCannotBePrintedIsAnError(t *testing.T) {
	var collected table
	assert.ErrorContains(t, collected.print(broken{}), "broken pipe")
}
