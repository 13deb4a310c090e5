package main

import (
	"context"
	"slices"

	"github.com/go-logr/logr"
)

// shutdownLog returns a logger for controller-runtime's manager that says at level debug what the manager takes for an error after an
// orderly shutdown: that the lease which it has given up, or never had, is lost. Nothing else happens that late. What goes wrong
// earlier, while ctx has not ended or the process still leads, stays an error.
func shutdownLog(ctx context.Context, log logr.Logger, leader leadership) logr.Logger {
	check := leader.check()
	if check == nil {
		return log
	}
	over := func() bool { return ctx.Err() != nil && check() != nil }
	return log.WithSink(shutdownSink{LogSink: log.GetSink(), over: over})
}

// shutdownSink implements logr.LogSink.
type shutdownSink struct {
	logr.LogSink
	over func() bool
}

// debug is the level of logr that is level debug here.
const debug = 1

// Error logs an error, if it is one.
func (s shutdownSink) Error(err error, message string, pairs ...any) {
	switch {
	case !s.over():
		s.LogSink.Error(err, message, pairs...)
	case s.Enabled(debug):
		s.Info(debug, message, append(slices.Clone(pairs), "error", err)...)
	}
}

// WithValues implements logr.LogSink.
func (s shutdownSink) WithValues(pairs ...any) logr.LogSink {
	s.LogSink = s.LogSink.WithValues(pairs...)
	return s
}

// WithName implements logr.LogSink.
func (s shutdownSink) WithName(name string) logr.LogSink {
	s.LogSink = s.LogSink.WithName(name)
	return s
}
