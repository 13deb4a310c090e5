package server

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Bounds of what a request may hold, in bytes. They are far above anything real and keep log lines, keys and hashes
// small whatever a caller sends.
const (
	maxNameBytes     = 253  // a Kubernetes object name
	maxURLBytes      = 2048 // what proxies commonly accept
	maxChartBytes    = 255  // an OCI repository path
	maxVersionBytes  = 512  // a constraint with many alternatives
	maxQueryBytes    = 256
	maxRevisionBytes = 256
	maxTokenBytes    = 4096
)

// validate checks a request before a handler sees it. This is the whole table: one row per request type, one entry per
// field, in the order of the contract. A message that has no row is refused, so that a new method cannot forget its own.
func validate(request any) error {
	switch r := request.(type) {
	case *chartcachev1.ListRepositoriesRequest:
		return first(optionalName("namespace", r.GetNamespace()), pageSize(r.GetPageSize()), token("page_token", r.GetPageToken()))
	case *chartcachev1.GetRepositoryRequest:
		return first(source(r))
	case *chartcachev1.SyncRepositoryRequest:
		return first(source(r))
	case *chartcachev1.WatchRepositoriesRequest:
		return first(token("resume_token", r.GetResumeToken()))
	case *chartcachev1.ListChartsRequest:
		return first(source(r), revision(r), text("query", r.GetQuery(), maxQueryBytes), pageSize(r.GetPageSize()), token("page_token", r.GetPageToken()))
	case *chartcachev1.ListVersionsRequest:
		return first(source(r), chart(r), revision(r), text("constraint", r.GetConstraint(), maxVersionBytes), pageSize(r.GetPageSize()), token("page_token", r.GetPageToken()))
	case *chartcachev1.ResolveVersionRequest:
		return first(source(r), chart(r), text("version", r.GetVersion(), maxVersionBytes), digest(r.GetDigest()), revision(r))
	case *chartcachev1.GetChartDetailRequest:
		return first(source(r), chart(r), text("version", r.GetVersion(), maxVersionBytes), digest(r.GetDigest()), revision(r), detailMask(r.GetReadMask()))
	case *chartcachev1.DownloadChartRequest:
		return first(source(r), chart(r), text("version", r.GetVersion(), maxVersionBytes), digest(r.GetDigest()), revision(r), offset(r))
	default:
		return invalid("requests of type %T are not known", request)
	}
}

// first returns the first failure.
func first(results ...*cacheerr.Error) error {
	for _, err := range results {
		if err != nil {
			return err
		}
	}
	return nil
}

// sourced is a request that names a repository.
type sourced interface {
	GetRepository() *chartcachev1.RepositoryRef
	GetUrl() string
}

func source(r sourced) *cacheerr.Error {
	if ref := r.GetRepository(); ref != nil {
		if err := name("repository.namespace", ref.GetNamespace()); err != nil {
			return err
		}
		return name("repository.name", ref.GetName())
	}
	if r.GetUrl() == "" {
		return invalid("repository or url is required")
	}
	return repositoryURL(r.GetUrl())
}

// repositoryURL checks the URL of a repository that is read anonymously. The message never repeats the URL: it may hold
// what it must not hold.
func repositoryURL(raw string) *cacheerr.Error {
	if len(raw) > maxURLBytes {
		return invalid("url is longer than %d bytes", maxURLBytes)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return invalid("url is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "oci":
		return invalid("url must begin with https://, http:// or oci://")
	case u.Hostname() == "":
		return invalid("url has no host")
	case u.User != nil:
		return invalid("url must not hold a user name or password; configure a repository with credentials instead")
	case strings.ContainsAny(raw, "?#"): // an empty one, too
		return invalid("url must not have a query or fragment")
	}
	return nil
}

func optionalName(field, value string) *cacheerr.Error {
	if value == "" {
		return nil
	}
	return name(field, value)
}

// name checks a namespace or name. It is wider than Kubernetes' rule: names in a repositories.yaml are free but for the
// slash.
func name(field, value string) *cacheerr.Error {
	switch {
	case value == "":
		return invalid("%s is required", field)
	case strings.Contains(value, "/"):
		return invalid("%s must not contain a slash", field)
	}
	return text(field, value, maxNameBytes)
}

func chart(r interface{ GetChart() string }) *cacheerr.Error {
	value := r.GetChart()
	if value == "" {
		return invalid("chart is required")
	}
	for _, segment := range strings.Split(value, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return invalid("chart must be a name, or a path without empty, \".\" or \"..\" segments")
		}
	}
	if strings.ContainsAny(value, `\?#%`) || strings.ContainsFunc(value, unicode.IsSpace) {
		return invalid("chart must not contain spaces or any of \\ ? # %%")
	}
	return text("chart", value, maxChartBytes)
}

// text checks any text: bounded, UTF-8, no control characters. Empty is fine.
func text(field, value string, most int) *cacheerr.Error {
	switch {
	case len(value) > most:
		return invalid("%s is longer than %d bytes", field, most)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return invalid("%s contains characters that are not text", field)
	}
	return nil
}

func digest(value string) *cacheerr.Error {
	const algorithm, hexDigits = "sha256:", 64
	if value == "" {
		return nil
	}
	digits, ok := strings.CutPrefix(value, algorithm)
	if !ok || len(digits) != hexDigits || strings.Trim(digits, "0123456789abcdef") != "" {
		return invalid("digest must be \"sha256:\" and 64 lower-case hexadecimal digits")
	}
	return nil
}

func revision(r interface {
	GetMinRevision() *chartcachev1.RepositoryRevision
}) *cacheerr.Error {
	wanted := r.GetMinRevision()
	if wanted == nil {
		return nil
	}
	if t := wanted.GetObservedAt(); t != nil && t.CheckValid() != nil {
		return invalid("min_revision.observed_at is not a time")
	}
	return text("min_revision.revision", wanted.GetRevision(), maxRevisionBytes)
}

func pageSize(size int32) *cacheerr.Error {
	if size < 0 {
		return invalid("page_size must not be negative")
	}
	return nil
}

// token checks the size only: what a token holds is known where it was made.
func token(field, value string) *cacheerr.Error { return text(field, value, maxTokenBytes) }

func offset(r *chartcachev1.DownloadChartRequest) *cacheerr.Error {
	switch {
	case r.GetOffsetBytes() < 0:
		return invalid("offset_bytes must not be negative")
	case r.GetOffsetBytes() > 0 && r.GetDigest() == "":
		return invalid("offset_bytes needs digest: without it the rest could be of another tarball")
	}
	return nil
}

func detailMask(mask *fieldmaskpb.FieldMask) *cacheerr.Error {
	for _, path := range mask.GetPaths() {
		if _, err := fieldmaskpb.New(&chartcachev1.ChartDetail{}, path); err != nil {
			return invalid("read_mask names %q, which a chart detail does not have", path[:min(len(path), maxNameBytes)])
		}
	}
	return nil
}
