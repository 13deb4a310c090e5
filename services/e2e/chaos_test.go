package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"
)

// Environment variables of `make chaos`. Without the first, each story is told with a few points only.
const (
	pointsVariable = "CHAOS_POINTS" // how many points of time each story tries, besides all moments
	seedVariable   = "CHAOS_SEED"   // chooses the points; default 1
	tableVariable  = "CHAOS_TABLE"  // file for the table of what was survived
)

// chaos is how much of it a story wants.
type chaos struct {
	*rand.Rand

	points int  // of time
	all    bool // every moment, not only a few
}

// newChaos reads the environment. few is the number of points when it says nothing. Each story has its own random numbers, so
// that one story alone meets the same points as all of them together.
func newChaos(t *testing.T, few int) chaos {
	t.Helper()
	c := chaos{points: few}
	seed := uint64(1)
	var err error
	if text := os.Getenv(seedVariable); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedVariable)
	}
	if text := os.Getenv(pointsVariable); text != "" {
		c.points, err = strconv.Atoi(text)
		require.NoError(t, err, pointsVariable)
		c.all = true
	}
	t.Logf("%s=%d %s=%d", seedVariable, seed, pointsVariable, c.points)
	c.Rand = rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // points of time are no secrets
	return c
}

// spread returns n fractions of one, one at random in each of n parts of equal length, in random order.
func (c chaos) spread(n int) []float64 {
	fractions := make([]float64, n)
	for i := range fractions {
		fractions[i] = (float64(i) + c.Float64()) / float64(n)
	}
	c.Shuffle(n, func(i, j int) { fractions[i], fractions[j] = fractions[j], fractions[i] })
	return fractions
}

// survived counts what the stories came through. It is safe for concurrent use.
type survived struct {
	mu   sync.Mutex
	rows []*survivedRow
}

type survivedRow struct {
	story, subject         string
	points, cutOff, passed int
}

// count adds one point of a story: whether it met its subject at work, and whether all was well in the end.
func (s *survived) count(story, subject string, cutOff, passed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var row *survivedRow
	for _, r := range s.rows {
		if r.story == story && r.subject == subject {
			row = r
		}
	}
	if row == nil {
		row = &survivedRow{story: story, subject: subject}
		s.rows = append(s.rows, row)
	}
	row.points++
	if cutOff {
		row.cutOff++
	}
	if passed {
		row.passed++
	}
}

// print writes the table.
func (s *survived) print(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "what happened\tto\tpoints\tmet it at work\tsurvived")
	for _, r := range s.rows {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\n", r.story, r.subject, r.points, r.cutOff, r.passed)
	}
	_ = table.Flush() // a table that cannot be written is missed by whoever reads it
}

// write writes the table into the file that the environment names.
func (s *survived) write() error {
	path := os.Getenv(tableVariable)
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	s.print(file)
	return file.Close()
}
