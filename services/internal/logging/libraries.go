package logging

import (
	"fmt"
	"io"
	stdlog "log"
	"strings"

	"github.com/go-logr/zerologr"
	"github.com/rs/zerolog"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// CaptureLibraries leads the process-wide loggers of klog (client-go), controller-runtime and gRPC into log, and drops
// what goes to the standard library's logger: Helm's chart library prints values there, which may be secrets. Only main
// may call it, once, before it uses any of them: those loggers are global, and gRPC's has no lock.
func CaptureLibraries(log zerolog.Logger) {
	stdlog.SetOutput(io.Discard)
	zerologr.VerbosityFieldName = "" // the level says it
	klog.SetLoggerWithOptions(Logr(log.With().Str("library", "client-go").Logger()))
	ctrllog.SetLogger(Logr(log))
	grpclog.SetLoggerV2(grpcLogger{log.With().Str("library", "grpc").Logger()})
}

// grpcLogger implements grpclog.LoggerV2. What gRPC calls info is detail about connections, hence trace here; its
// warnings are about single connections and tell nothing that a call's error does not, hence debug.
type grpcLogger struct{ log zerolog.Logger }

func (g grpcLogger) Info(args ...any)                 { g.log.Trace().Msg(fmt.Sprint(args...)) }
func (g grpcLogger) Infoln(args ...any)               { g.log.Trace().Msg(line(args)) }
func (g grpcLogger) Infof(format string, args ...any) { g.log.Trace().Msgf(format, args...) }
func (g grpcLogger) Warning(args ...any)              { g.log.Debug().Msg(fmt.Sprint(args...)) }
func (g grpcLogger) Warningln(args ...any)            { g.log.Debug().Msg(line(args)) }
func (g grpcLogger) Warningf(format string, args ...any) {
	g.log.Debug().Msgf(format, args...)
}
func (g grpcLogger) Error(args ...any)                 { g.log.Error().Msg(fmt.Sprint(args...)) }
func (g grpcLogger) Errorln(args ...any)               { g.log.Error().Msg(line(args)) }
func (g grpcLogger) Errorf(format string, args ...any) { g.log.Error().Msgf(format, args...) }
func (g grpcLogger) Fatal(args ...any)                 { g.log.Fatal().Msg(fmt.Sprint(args...)) }
func (g grpcLogger) Fatalln(args ...any)               { g.log.Fatal().Msg(line(args)) }
func (g grpcLogger) Fatalf(format string, args ...any) { g.log.Fatal().Msgf(format, args...) }

// V reports whether details of a verbosity are wanted. gRPC asks before it formats expensive ones.
func (g grpcLogger) V(verbosity int) bool {
	return verbosity <= 0 || g.log.GetLevel() <= zerolog.TraceLevel
}

func line(args []any) string {
	return strings.TrimSuffix(fmt.Sprintln(args...), "\n")
}
