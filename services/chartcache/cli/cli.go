// Package cli is the command line of a running chartcache: it asks over gRPC what another tool could ask, and prints the answer
// for people or as JSON.
//
// It depends on chartcache/client, package tlsfiles and cobra. It must never read a repository or the disk of a server itself.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/services/internal/buildinfo"
	"github.com/ketches/helm-operator/services/internal/tlsfiles"
)

// DefaultServer is where chartcache listens when nothing else is said.
const DefaultServer = "127.0.0.1:9090"

// connection is how a command reaches a server, and how it prints.
type connection struct {
	server  string
	timeout time.Duration
	output  string
	tls     tlsfiles.ClientOptions
}

// Commands returns the commands that ask a server.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		newRepositories(), newCharts(), newVersions(), newResolve(), newShow(), newPull(), newSync(), newWatch(),
	}
}

func (c *connection) addFlags(cmd *cobra.Command, outputs ...string) {
	cmd.Flags().StringVar(&c.server, "server", DefaultServer, "Address of the gRPC server of chartcache.")
	cmd.Flags().DurationVar(&c.timeout, "timeout", 0, "How long to wait for an answer; 0 means as long as the server may take.")
	// As those of helm.
	c.tls.Names = tlsfiles.FlagNames{CA: "ca-file", Cert: "cert-file", Key: "key-file", ServerName: "server-name"}
	c.tls.AddFlags(cmd.Flags())
	if len(outputs) > 0 {
		cmd.Flags().StringVarP(&c.output, "output", "o", outputs[0], "How to print: "+strings.Join(outputs, " or ")+".")
	}
}

// Formats of output.
const (
	asTable = "table"
	asJSON  = "json"
)

// run calls f with a client and turns its error into one for people.
func (c *connection) run(cmd *cobra.Command, f func(ctx context.Context, api *client.Client) error) (err error) {
	if c.output != "" && c.output != asTable && c.output != asJSON {
		return fmt.Errorf("--output must be %s or %s", asTable, asJSON)
	}
	if err := c.tls.Check(); err != nil {
		return err
	}
	creds, err := c.tls.Credentials(zerolog.Nop()) // a watch need not tell that files changed
	if err != nil {
		return err
	}
	api, err := client.New(client.Config{Target: c.server, TransportCredentials: creds, UserAgent: buildinfo.Get().UserAgent("chartcache-cli")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.Close()) }()
	ctx := cmd.Context()
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	return c.explain(ctx, f(ctx, api))
}

// explain says what a failed call means, and what helps. ctx is that of the call.
func (c *connection) explain(ctx context.Context, err error) error {
	var e *client.Error
	switch {
	case !errors.As(err, &e):
		return err
	case e.RetryAfter > 0: // a server that is busy, too
		err = fmt.Errorf("%w (try again in %s)", err, e.RetryAfter.Round(time.Second))
	case e.Unreachable() && (e.Code == codes.DeadlineExceeded || errors.Is(ctx.Err(), context.DeadlineExceeded)):
		err = fmt.Errorf("%s: %s", c.tooLate(), e.Message)
	case e.Unreachable() && c.tls.Enabled():
		err = fmt.Errorf("no chartcache answers at %s (give its address by --server): %w", c.server, err)
	case e.Unreachable():
		err = fmt.Errorf("no chartcache answers at %s (give its address by --server, and --ca-file when it uses TLS): %w", c.server, err)
	}
	return &printableError{err}
}

// tooLate says that the time for an answer is over.
func (c *connection) tooLate() string {
	if c.timeout > 0 {
		return fmt.Sprintf("no answer within --timeout %s", c.timeout)
	}
	return "no answer in time (allow for more by --timeout)"
}

// printableError is an error that says what upstream said, without what a terminal would obey.
type printableError struct{ err error }

func (e *printableError) Error() string { return printable(e.err.Error()) }
func (e *printableError) Unwrap() error { return e.err }

// sourceOf reads the argument that names a repository: NAMESPACE/NAME or a URL.
func sourceOf(argument string) (client.Source, error) {
	if u, err := url.Parse(argument); err == nil && u.Scheme != "" && u.Host != "" {
		return client.ByURL(argument), nil
	}
	namespace, name, ok := strings.Cut(argument, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return client.Source{}, fmt.Errorf("a repository is NAMESPACE/NAME, or a URL that begins with https://, http:// or oci://; not %q", argument)
	}
	return client.Named(namespace, name), nil
}

// chartRequest reads the arguments REPOSITORY CHART [VERSION].
func chartRequest(args []string, digest string) (client.ChartRequest, error) {
	source, err := sourceOf(args[0])
	if err != nil {
		return client.ChartRequest{}, err
	}
	request := client.ChartRequest{Source: source, Chart: args[1], Digest: digest}
	if len(args) > 2 {
		request.Version = args[2]
	}
	return request, nil
}

// addDigest adds the flag that pins a chart.
func addDigest(cmd *cobra.Command, digest *string) {
	cmd.Flags().StringVar(digest, "digest", "", "Digest of the tarball, or for OCI of the manifest (\"sha256:...\"), which wins over the version.")
}

// runChart is run for a command about one chart version, whose arguments are REPOSITORY CHART [VERSION].
func (c *connection) runChart(
	cmd *cobra.Command, args []string, digest string, f func(ctx context.Context, api *client.Client, request client.ChartRequest) error,
) error {
	request, err := chartRequest(args, digest)
	if err != nil {
		return err
	}
	return c.run(cmd, func(ctx context.Context, api *client.Client) error { return f(ctx, api, request) })
}

// note tells people something that is no part of the answer.
func note(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

// noteStale warns that an answer may be out of date.
func noteStale(cmd *cobra.Command, stale bool) {
	if stale {
		note(cmd.ErrOrStderr(), "The last sync of the repository failed, so there may be more by now; \"chartcache repositories\" says why.")
	}
}
