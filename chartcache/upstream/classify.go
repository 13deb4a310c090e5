package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxRetryAfter bounds what upstream can make us wait; a day is longer than any real rate limit window.
const maxRetryAfter = 24 * time.Hour

// statusError classifies an answer that is not what was asked for. what says what failed: "cannot read the index of ...".
func statusError(status int, header http.Header, now time.Time, what string) *cacheerr.Error {
	wait, told := retryAfter(header.Get("Retry-After"), now)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED,
			"%s: upstream refuses access (HTTP %d); check the credentials", what, status)
	case status == http.StatusNotFound, status == http.StatusGone:
		return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
			"%s: upstream has nothing there (HTTP %d)", what, status)
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && told:
		e := cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED,
			"%s: upstream asks for fewer requests (HTTP %d)", what, status)
		e.RetryAfter = wait
		return e
	default:
		return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED,
			"%s: upstream answers with HTTP %d", what, status)
	}
}

// retryAfter reads a Retry-After header, which is a number of seconds or a date. told is false when there is none or it is
// malformed.
func retryAfter(value string, now time.Time) (wait time.Duration, told bool) {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	} else {
		return 0, false
	}
	return min(max(wait, 0), maxRetryAfter), true
}

// requestError classifies the error of a request that got no usable answer. The error's own text stays out of the
// message, and URLs in it lose what may be secret.
func requestError(ctx context.Context, err error, what string) error {
	if known, ok := errors.AsType[*cacheerr.Error](err); ok {
		// Drops the URL that net/http wrapped it in.
		return known
	}
	if ctx.Err() != nil {
		return contextError(ctx, what)
	}
	// *url.Error is a net.Error whatever it holds.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if refusesCertificate(err) {
		return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, redacted(err),
			"%s: the host wants a client certificate, or refuses the one that it is shown; check the credentials", what)
	}
	if why := unreachable(err); why != "" {
		return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, redacted(err), "%s: %s", what, why)
	}
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, redacted(err),
		"%s: what upstream answers cannot be understood", what)
}

// unreachable says in words why a host does not answer; "" when err is not about that.
func unreachable(err error) string {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the host speaks plain HTTP where TLS is expected"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the host's certificate cannot be verified; give its CA"
	}
	if number, ok := alertOf(err); ok && number == alertHandshakeFailure {
		return "the host ends the TLS handshake; it may want a client certificate"
	}
	if isTLS(err) {
		return "the TLS handshake with the host fails"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "the host's name does not exist"
		}
		return "the host's name cannot be resolved"
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return "the host does not answer in time"
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "the host refuses connections"
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return "the connection to the host fails"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return "the connection broke off"
	}
	return ""
}

// alertHandshakeFailure is what TLS 1.2 says for want of a client certificate, and for much else.
const alertHandshakeFailure = 40

// refusesCertificate says whether the host ended the connection because of our certificate, or because it was shown none.
func refusesCertificate(err error) bool {
	switch number, _ := alertOf(err); number { // RFC 8446, section 6
	case 42, // bad_certificate
		43,  // unsupported_certificate
		44,  // certificate_revoked
		45,  // certificate_expired
		46,  // certificate_unknown
		48,  // unknown_ca
		49,  // access_denied
		116: // certificate_required
		return true
	}
	return false
}

// alertOf returns the number of the TLS alert with which the other side ended the connection. crypto/tls exports no type for it
// where the connection is not QUIC: it is a number within a net.OpError.
func alertOf(err error) (number uint64, ok bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return 0, false
	}
	alert := reflect.ValueOf(op.Err)
	if alert.Kind() != reflect.Uint8 {
		return 0, false
	}
	return alert.Uint(), true
}

func isTLS(err error) bool {
	if _, ok := alertOf(err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// readError classifies an error in the middle of a body.
func readError(ctx context.Context, err error, what string) error {
	if known, ok := errors.AsType[*cacheerr.Error](err); ok {
		return known
	}
	if ctx.Err() != nil {
		return contextError(ctx, what)
	}
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, redacted(err),
		"%s: the connection broke off", what)
}

func contextError(ctx context.Context, what string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if !errors.Is(cause, err) {
		cause = fmt.Errorf("%w: %w", err, cause)
	}
	why := "the request was cancelled"
	if errors.Is(err, context.DeadlineExceeded) {
		why = "upstream does not answer in time"
	}
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, cause, "%s: %s", what, why)
}

// tooLarge says that upstream sends more than a limit.
func tooLarge(what string, limit int64, unit, flag string) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE,
		"%s: it is larger than %d %s (limit --%s)", what, limit, unit, flag)
}

// secretURLParts matches the query of a URL and the user information in it. Upstream may redirect to a URL that is signed
// in its query, and errors of libraries quote URLs.
var secretURLParts = regexp.MustCompile(`\?[^\s"'<>]*|//[^\s"'<>/@]*@`)

// redacted returns the text of err, for logs, without secret parts of URLs. The chain ends there: whatever callers may
// ask of the error was decided before.
func redacted(err error) error {
	text := secretURLParts.ReplaceAllStringFunc(err.Error(), func(part string) string {
		if strings.HasPrefix(part, "?") {
			return "?redacted"
		}
		return "//redacted@"
	})
	return errors.New(text)
}
