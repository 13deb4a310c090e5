package helm

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"

	rspb "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A record is a Secret of Helm's format: other tools read it, so nothing here is ours to choose.
const (
	recordType  = corev1.SecretType("helm.sh/release.v1")
	recordData  = "release"
	recordOwner = "helm"

	labelOwner    = "owner"
	labelName     = "name"
	labelStatus   = "status"
	labelVersion  = "version"
	labelCreated  = "createdAt"
	labelModified = "modifiedAt"
)

const (
	// maxRecord is how many bytes of data the API server takes in a Secret.
	maxRecord = corev1.MaxSecretSize
	// recordReserve is how many bytes of that are kept for what a revision is told after its objects are applied, such as why it
	// failed and when its hooks ran: with less, it could not be marked as deployed or failed. Helm's own words take some hundred
	// bytes, and a failure that names each of hundreds of objects some thousand, compressed.
	recordReserve = 16 << 10
	// maxDecodedRecord bounds what a record may unpack to. A chart may have 100 MiB, and a record holds its files in base64.
	maxDecodedRecord = 256 << 20
)

// recordKey is the name of the Secret of a revision.
func recordKey(name string, revision int) string {
	return fmt.Sprintf("%s.%s.v%d", storage.HelmStorageType, name, revision)
}

// recordEncoder encodes releases. The zero value is ready.
type recordEncoder struct {
	mu sync.Mutex // guards idle
	// idle are compressors that nobody uses, no more than can work at once. Each has tables of 1.2 MB, which garbage collections would
	// take out of a sync.Pool again and again.
	idle []*gzip.Writer
	// limit is how many bytes a record may have; 0 means maxRecord.
	limit int
}

// encode returns the Secret of a release, without its resource version. reserve bytes of what it holds must stay free.
func (e *recordEncoder) encode(namespace, key string, rls *rspb.Release, labels map[string]string, reserve int) (*corev1.Secret, error) {
	data, err := e.data(rls, reserve)
	if err != nil {
		return nil, err
	}
	labels = withoutSystemLabels(labels)
	labels[labelOwner] = recordOwner
	labels[labelName] = rls.Name
	labels[labelStatus] = rls.Info.Status.String()
	labels[labelVersion] = strconv.Itoa(rls.Version)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: key, Labels: labels},
		Type:       recordType,
		Data:       map[string][]byte{recordData: data},
	}, nil
}

// data returns what the Secret of a release holds. reserve bytes must stay free.
func (e *recordEncoder) data(rls *rspb.Release, reserve int) ([]byte, error) {
	limit := maxRecord
	if e.limit > 0 {
		limit = e.limit
	}
	limit -= reserve
	raw, err := json.Marshal(rls)
	if err != nil {
		return nil, fmt.Errorf("encode the release: %w", err)
	}
	// Helm asks for the best compression; the fastest costs a fraction, and every reader takes it.
	data, err := e.zip(raw)
	if err == nil && len(data) > limit {
		data, err = zipBest(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("compress the release: %w", err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("%w: chart, values and manifests take %d bytes compressed, and the Secret that records them holds %d: "+
			"leave files that no template needs out of the chart, shorten the values, or split the chart",
			ErrRecordTooLarge, len(data), limit)
	}
	return data, nil
}

// zip returns data compressed fast, in base64.
func (e *recordEncoder) zip(data []byte) ([]byte, error) {
	zipper, err := e.take()
	if err != nil {
		return nil, err
	}
	defer e.giveBack(zipper)
	return zipWith(zipper, data)
}

// take returns a compressor.
func (e *recordEncoder) take() (*gzip.Writer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if last := len(e.idle) - 1; last >= 0 {
		zipper := e.idle[last]
		e.idle = e.idle[:last]
		return zipper, nil
	}
	return gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
}

// giveBack keeps a compressor for the next one who needs it, or drops it.
func (e *recordEncoder) giveBack(zipper *gzip.Writer) {
	zipper.Reset(io.Discard) // what was compressed may be large
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.idle) < runtime.GOMAXPROCS(0) {
		e.idle = append(e.idle, zipper)
	}
}

// zipBest returns data compressed as well as possible, in base64: for releases that would not fit into a Secret otherwise.
func zipBest(data []byte) ([]byte, error) {
	zipper, err := gzip.NewWriterLevel(io.Discard, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	return zipWith(zipper, data)
}

func zipWith(zipper *gzip.Writer, data []byte) ([]byte, error) {
	var out bytes.Buffer
	encoder := base64.NewEncoder(base64.StdEncoding, &out)
	zipper.Reset(encoder)
	if _, err := zipper.Write(data); err != nil {
		return nil, err
	}
	if err := errors.Join(zipper.Close(), encoder.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// decodeRecord reads the release that the data of a Secret holds.
func decodeRecord(data []byte) (*rspb.Release, error) {
	raw, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil {
		return nil, fmt.Errorf("decode base64: %w", err)
	}
	// Records from before Helm compressed them are plain JSON.
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b, 0x08}) {
		if raw, err = unzip(raw, maxDecodedRecord); err != nil {
			return nil, err
		}
	}
	rls := new(rspb.Release)
	if err := json.Unmarshal(raw, rls); err != nil {
		// The text of a JSON error may quote the record.
		return nil, errors.New("the record is not JSON of a release")
	}
	if rls.Info == nil {
		rls.Info = &rspb.Info{Status: rspb.StatusUnknown}
	}
	return rls, nil
}

// unzip returns the unpacked data, or an error when it is larger than limit.
func unzip(data []byte, limit int64) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack the record: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(reader, limit+1))
	if err != nil {
		return nil, fmt.Errorf("unpack the record: %w", err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("unpack the record: it holds more than %d bytes", limit)
	}
	return raw, nil
}

// withoutSystemLabels returns a copy of labels without those that Helm keeps for itself; never nil.
func withoutSystemLabels(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	maps.DeleteFunc(out, func(key, _ string) bool { return slices.Contains(driver.GetSystemLabels(), key) })
	return out
}

// revisionOf returns what the metadata of a record says, and false when it is not that of a record.
func revisionOf(object metav1.Object) (Revision, bool) {
	labels := object.GetLabels()
	number, err := strconv.Atoi(labels[labelVersion])
	if err != nil || number < 1 || labels[labelOwner] != recordOwner {
		return Revision{}, false
	}
	return Revision{
		Revision:        number,
		Status:          Status(labels[labelStatus]),
		Labels:          withoutSystemLabels(labels),
		ResourceVersion: object.GetResourceVersion(),
		Created:         object.GetCreationTimestamp().Time,
	}, true
}
