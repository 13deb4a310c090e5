package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// registry is an OCI registry in memory, with faults.
type registry struct {
	server *httptest.Server

	// mu guards everything below.
	mu    sync.Mutex
	tags  map[string][]string
	blobs map[string][]byte
	// manifests by "name:reference".
	manifests map[string]manifest
	// pageSize bounds a page of tags and of the catalogue; 0 means none.
	pageSize int
	// challenge is "" (no authentication), "Basic" or "Bearer".
	challenge string
	// intercept answers instead of the registry when it returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
	requests  []string
	// authorized says for each request to the registry whether it carried an Authorization header.
	authorized []bool
	tokens     int
}

type manifest struct {
	mediaType string
	content   []byte
}

// pushed is what push puts under a tag.
type pushed struct {
	config, layerType string
	layer             []byte
	provenance        []byte
	annotations       map[string]string
}

func chartOf(content string) pushed {
	return pushed{config: MediaTypeConfig, layerType: MediaTypeChart, layer: []byte(content)}
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{tags: map[string][]string{}, blobs: map[string][]byte{}, manifests: map[string]manifest{}}
	r.server = serve(t, r.serveHTTP)
	return r
}

// host is the registry's host and port.
func (r *registry) host() string { return strings.TrimPrefix(r.server.URL, "http://") }

// oci is the registry's URL.
func (r *registry) oci() string { return "oci://" + r.host() }

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (r *registry) layer(mediaType string, content []byte) map[string]any {
	r.blobs[digestOf(content)] = content
	return map[string]any{"mediaType": mediaType, "digest": digestOf(content), "size": len(content)}
}

// push puts a chart into the registry and returns the digest of its manifest.
func (r *registry) push(t *testing.T, name, tag string, p pushed) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	layers := []any{r.layer(p.layerType, p.layer)}
	if p.provenance != nil {
		layers = append(layers, r.layer(MediaTypeProvenance, p.provenance))
	}
	content, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": mediaTypeManifest, "annotations": p.annotations,
		"config": r.layer(p.config, []byte("{}")), "layers": layers,
	})
	require.NoError(t, err)
	return r.pushManifest(name, tag, manifest{mediaType: mediaTypeManifest, content: content})
}

// pushManifest puts any manifest under a tag. The caller holds mu, or is the only one.
func (r *registry) pushManifest(name, tag string, m manifest) string {
	digest := digestOf(m.content)
	r.manifests[name+":"+tag], r.manifests[name+":"+digest] = m, m
	if !slices.Contains(r.tags[name], tag) {
		r.tags[name] = append(r.tags[name], tag)
	}
	return digest
}

// requireAuthorization checks that the last request to the registry was, or was not, authenticated.
func (r *registry) requireAuthorization(t *testing.T, want bool) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.NotEmpty(t, r.authorized)
	assert.Equal(t, want, r.authorized[len(r.authorized)-1])
}

func (r *registry) count(part string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, request := range r.requests {
		if strings.Contains(request, part) {
			n++
		}
	}
	return n
}

func (r *registry) serveHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, req.Method+" "+req.URL.RequestURI())
	r.authorized = append(r.authorized, req.Header.Get("Authorization") != "")
	if r.intercept != nil && r.intercept(w, req) {
		return
	}
	if req.URL.Path == "/token" {
		r.serveToken(w, req)
		return
	}
	if !r.admit(w, req) {
		return
	}
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	switch {
	case path == "":
	case path == "_catalog":
		names := make([]string, 0, len(r.tags))
		for name := range r.tags {
			names = append(names, name)
		}
		slices.Sort(names)
		r.servePage(w, req, "repositories", names)
	case strings.HasSuffix(path, "/tags/list"):
		tags, ok := r.tags[strings.TrimSuffix(path, "/tags/list")]
		if !ok {
			fault(w, http.StatusNotFound, "NAME_UNKNOWN")
			return
		}
		r.servePage(w, req, "tags", tags)
	case strings.Contains(path, "/manifests/"):
		name, reference, _ := strings.Cut(path, "/manifests/")
		m, ok := r.manifests[name+":"+reference]
		if !ok {
			fault(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
			return
		}
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Docker-Content-Digest", digestOf(m.content))
		w.Header().Set("Content-Length", strconv.Itoa(len(m.content)))
		_, _ = w.Write(m.content)
	case strings.Contains(path, "/blobs/"):
		_, digest, _ := strings.Cut(path, "/blobs/")
		content, ok := r.blobs[digest]
		if !ok {
			fault(w, http.StatusNotFound, "BLOB_UNKNOWN")
			return
		}
		_, _ = w.Write(content)
	default:
		fault(w, http.StatusNotFound, "UNSUPPORTED")
	}
}

// fault answers as registries do, with text that must not get out.
func fault(w http.ResponseWriter, code int, name string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"upstream says ?s3cret"}]}`, name)
}

func (r *registry) servePage(w http.ResponseWriter, req *http.Request, field string, all []string) {
	if last := req.URL.Query().Get("last"); last != "" {
		all = all[slices.Index(all, last)+1:]
	}
	if r.pageSize > 0 && len(all) > r.pageSize {
		all = all[:r.pageSize]
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=%s>; rel="next"`, req.URL.Path, all[len(all)-1]))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{field: all})
}

const token = "t0ken"

// admit answers requests that are not authenticated, when they must be.
func (r *registry) admit(w http.ResponseWriter, req *http.Request) bool {
	switch r.challenge {
	case "Basic":
		if user, password, _ := req.BasicAuth(); user == "user" && password == "s3cret" {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
	case "Bearer":
		if req.Header.Get("Authorization") == "Bearer "+token {
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry"`, r.server.URL))
	default:
		return true
	}
	fault(w, http.StatusUnauthorized, "UNAUTHORIZED")
	return false
}

func (r *registry) serveToken(w http.ResponseWriter, req *http.Request) {
	r.tokens++
	if user, password, _ := req.BasicAuth(); user != "user" || password != "s3cret" {
		fault(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
}
