package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ketches/helm-operator/services/bench/measured"
)

// runs are the results of one thing, measured several times; never empty.
type runs []measured.Result

// best is the shortest time: what disturbs a machine only ever adds to it.
func (r runs) best() time.Duration { return r.walls()[0] }

func (r runs) median() time.Duration { return r.walls()[len(r)/2] }

// walls are all times, the shortest first.
func (r runs) walls() []time.Duration {
	walls := make([]time.Duration, 0, len(r))
	for _, one := range r {
		walls = append(walls, one.Wall)
	}
	slices.Sort(walls)
	return walls
}

// cpu is the least processor time.
func (r runs) cpu() time.Duration {
	return slices.MinFunc(r, func(a, b measured.Result) int { return cmp.Compare(a.CPU, b.CPU) }).CPU
}

// peak is the largest memory, in bytes.
func (r runs) peak() int64 {
	return slices.MaxFunc(r, func(a, b measured.Result) int { return cmp.Compare(a.Peak, b.Peak) }).Peak
}

func (r runs) time() string {
	return fmt.Sprintf("%s (median %s, CPU %s)", seconds(r.best()), seconds(r.median()), seconds(r.cpu()))
}
