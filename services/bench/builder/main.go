// Command builder builds one generation of an index, and prints what that took. It is a program of its own because the
// memory of a process with Helm and the Kubernetes libraries would hide that of the build.
//
//	builder nothing
//	builder build INDEX GENERATION
//	builder build-again INDEX GENERATION
//	builder rebuild INDEX GENERATION BEFORE
package main

import (
	"errors"
	"os"

	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/services/bench/measured"
)

func main() { os.Exit(measured.Main(os.Args[1:], tasks(), os.Stdout, os.Stderr)) }

func tasks() map[string]measured.Task {
	cold := measured.Task{Arguments: 2, SetUp: func(args []string) (measured.Work, error) {
		return func() (int64, error) { return build(args[0], args[1], nil) }, nil
	}}
	return map[string]measured.Task{
		"nothing": {SetUp: func([]string) (measured.Work, error) {
			return func() (int64, error) { return 0, nil }, nil
		}},
		"build":       cold,
		"build-again": measured.Again(cold),
		"rebuild": {Arguments: 3, SetUp: func(args []string) (measured.Work, error) {
			before, err := index.Open(args[2]) // as in the service, where it is open already
			if err != nil {
				return nil, err
			}
			return func() (int64, error) {
				entries, err := build(args[0], args[1], before)
				return entries, errors.Join(err, before.Close())
			}, nil
		}},
	}
}

// build reads an index into a new generation, as a sync does. It does not wait for the disk.
func build(path, generation string, before *index.Reader) (entries int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(generation)
	if err != nil {
		return 0, err
	}
	b := index.NewBuilder(out)
	if err := index.ReadHelm(in, before, b); err != nil {
		return 0, errors.Join(err, out.Close())
	}
	_, stats, err := b.Finish()
	return stats.Versions, errors.Join(err, out.Close())
}
