package main

import (
	"context"
	"errors"
	"slices"

	"github.com/go-logr/logr"
)

// shutdownLog returns a logger for controller-runtime's manager that says at level debug what is taken for an error in an orderly
// shutdown, which is when ctx ends: that requests were cut off, and in the end that the lease which the manager has given up, or never
// had, is lost. Nothing else happens that late. All that goes wrong otherwise stays an error.
func shutdownLog(ctx context.Context, log logr.Logger, leader leadership) logr.Logger {
	expected := func(err error) bool {
		return ctx.Err() != nil && (errors.Is(err, context.Canceled) || leader.lease != nil && !leader.lease.Held())
	}
	return log.WithSink(shutdownSink{LogSink: log.GetSink(), expected: expected})
}

// shutdownSink implements logr.LogSink.
type shutdownSink struct {
	logr.LogSink
	expected func(error) bool
}

// debugLevel is the level of logr that is level debug here.
const debugLevel = 1

// Error logs an error, as one if it is.
func (s shutdownSink) Error(err error, message string, pairs ...any) {
	switch {
	case !s.expected(err):
		s.LogSink.Error(err, message, pairs...)
	case s.Enabled(debugLevel):
		s.Info(debugLevel, message, append(slices.Clone(pairs), "error", err)...)
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
