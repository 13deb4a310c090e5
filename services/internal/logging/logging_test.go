package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	stdlog "log"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

func fixed() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 8_000_000, time.FixedZone("x", 3600)) }

func TestALineIsOneJSONObjectByDefault(t *testing.T) {
	var out bytes.Buffer
	log, err := New(&out, Options{Now: fixed})
	require.NoError(t, err)
	log.Info().Str("repository", "a/b").Msg("synced")
	log.Debug().Msg("not at level info")
	assert.JSONEq(t, `{"level":"info","time":"2026-03-04T04:06:07.008Z","repository":"a/b","message":"synced"}`, out.String())
}

func TestTheConsoleFormatIsForPeople(t *testing.T) {
	var out bytes.Buffer
	log, err := New(&out, Options{Format: FormatConsole, Now: fixed})
	require.NoError(t, err)
	log.Warn().Int("n", 1).Msg("hello")
	assert.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} WRN hello n=1\n$`, out.String())
}

func TestOptionsThatAreWrongNameWhatIsAllowed(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"format": {Options{Format: "xml"}, `log format "xml": want json or console`},
		"level":  {Options{Level: "loud"}, `log level "loud": want trace, debug, info, warn or error`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(&bytes.Buffer{}, c.options)
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestFlagsSetTheOptions(t *testing.T) {
	var options Options
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	options.AddFlags(set)
	require.NoError(t, set.Parse([]string{"--log-level=warn"}))
	assert.Equal(t, Options{Format: FormatJSON, Level: "warn"}, options)
}

func TestLogrLevelsFollowTheLevelOption(t *testing.T) {
	for level, want := range map[string][]string{
		"error": {"failed"},
		"info":  {"v0", "failed"},
		"debug": {"v0", "v1", "failed"},
		"trace": {"v0", "v1", "v2", "failed"},
	} {
		t.Run(level, func(t *testing.T) {
			var out bytes.Buffer
			log, err := New(&out, Options{Level: level, Now: fixed})
			require.NoError(t, err)
			l := Logr(log)
			l.V(0).Info("v0")
			l.V(1).Info("v1")
			l.V(2).Info("v2")
			l.V(3).Info("v3")
			l.Error(errors.New("cause"), "failed")
			assert.Equal(t, want, messages(t, &out))
		})
	}
}

func TestCaptureLibrariesLeadsTheirLinesIntoTheLogger(t *testing.T) {
	var out bytes.Buffer
	log, err := New(&out, Options{Level: "debug", Now: fixed})
	require.NoError(t, err)
	CaptureLibraries(log)
	t.Cleanup(func() { CaptureLibraries(zerolog.Nop()) })

	klog.InfoS("of klog", "key", "value")
	ctrllog.Log.WithName("sub").Info("of controller-runtime")
	grpclog.Error("of", "grpc")
	grpclog.Warningf("detail %d", 1)
	grpclog.Infoln("more", "detail")
	assert.Equal(t, []string{"of klog", "of controller-runtime", "ofgrpc", "detail 1"}, messages(t, &out))
}

func TestCaptureLibrariesDropsWhatGoesToTheStandardLogger(t *testing.T) {
	CaptureLibraries(zerolog.Nop())
	assert.Equal(t, io.Discard, stdlog.Writer())
}

// messages returns the message of each JSON line.
func messages(t *testing.T, out *bytes.Buffer) []string {
	t.Helper()
	var all []string
	for decoder := json.NewDecoder(out); decoder.More(); {
		var line struct{ Message string }
		require.NoError(t, decoder.Decode(&line))
		all = append(all, line.Message)
	}
	return all
}
