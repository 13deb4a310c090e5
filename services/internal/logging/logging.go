// Package logging makes the logger of a process, and leads what the libraries log into it.
//
// It depends on zerolog, and on logr, klog, controller-runtime and gRPC for the libraries. It must never be asked for a
// logger from afar: a logger is passed in as a value.
package logging

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zerologr"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
)

// Formats of log lines.
const (
	// FormatJSON is one JSON object a line.
	FormatJSON = "json"
	// FormatConsole is for people.
	FormatConsole = "console"
)

// timeLayout has milliseconds, which zerolog's default lacks.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Options say how to log. The zero value is JSON at level info.
type Options struct {
	// Format is FormatJSON (default) or FormatConsole.
	Format string
	// Level is the least severe level that is logged: trace, debug, info (default), warn, error.
	Level string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// AddFlags adds --log-format and --log-level.
func (o *Options) AddFlags(set *pflag.FlagSet) {
	set.StringVar(&o.Format, "log-format", FormatJSON, "How log lines look: json or console.")
	set.StringVar(&o.Level, "log-level", zerolog.LevelInfoValue,
		"Least severe level that is logged: trace, debug, info, warn or error.")
}

// New returns a logger that writes to w. The error names the option that is wrong and what is allowed.
func New(w io.Writer, options Options) (zerolog.Logger, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	level, err := parseLevel(options.Level)
	if err != nil {
		return zerolog.Nop(), err
	}
	switch options.Format {
	case FormatJSON, "":
	case FormatConsole:
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", NoColor: true}
	default:
		return zerolog.Nop(), fmt.Errorf("log format %q: want %s or %s", options.Format, FormatJSON, FormatConsole)
	}
	return zerolog.New(w).Level(level).Hook(timestamp(options.Now)), nil
}

func parseLevel(text string) (zerolog.Level, error) {
	switch strings.ToLower(text) {
	case "trace":
		return zerolog.TraceLevel, nil
	case "debug":
		return zerolog.DebugLevel, nil
	case "info", "":
		return zerolog.InfoLevel, nil
	case "warn":
		return zerolog.WarnLevel, nil
	case "error":
		return zerolog.ErrorLevel, nil
	default:
		return zerolog.NoLevel, fmt.Errorf("log level %q: want trace, debug, info, warn or error", text)
	}
}

// timestamp stamps each line by a clock.
type timestamp func() time.Time

// Run implements zerolog.Hook.
func (now timestamp) Run(event *zerolog.Event, _ zerolog.Level, _ string) {
	event.Str(zerolog.TimestampFieldName, now().UTC().Format(timeLayout))
}

// Logr returns a logr.Logger that writes to log. V(0) is info, V(1) debug, V(2) trace; more verbose lines are never
// written.
func Logr(log zerolog.Logger) logr.Logger {
	return logr.New(zerologr.NewLogSink(&log))
}
