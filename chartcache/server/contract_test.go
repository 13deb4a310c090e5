package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// reasonsOf says which errors each method can give, as the comments of the contract have it. A method that is not here
// fails every test of this file.
func reasonsOf() map[string][]string {
	source := []string{"INVALID_ARGUMENT", "REPOSITORY_NOT_FOUND"}
	read := slices.Concat(source, []string{"REPOSITORY_NOT_SYNCED"})
	sync := []string{
		"CONFIGURATION_INVALID", "CREDENTIALS_UNAVAILABLE", "UPSTREAM_UNREACHABLE", "UPSTREAM_UNAUTHORIZED", "UPSTREAM_NOT_FOUND",
		"UPSTREAM_RATE_LIMITED", "UPSTREAM_FAILED", "TOO_LARGE", "INTERNAL",
	}
	versions := slices.Concat(read, []string{"CONSTRAINT_INVALID", "CHART_NOT_FOUND"})
	fetch := append(append(versions, "VERSION_NOT_FOUND", "DIGEST_MISMATCH", "CHART_INVALID"), sync...)
	return map[string][]string{
		"ListRepositories":  {"INVALID_ARGUMENT"},
		"GetRepository":     append(source, "TOO_LARGE"),
		"SyncRepository":    append(append(source, "REPOSITORY_SUSPENDED", "INDEX_REJECTED"), sync...),
		"WatchRepositories": {"INVALID_ARGUMENT"},
		"ListCharts":        append(read, "PAGE_EXPIRED"),
		"ListVersions":      append(versions, "PAGE_EXPIRED"),
		"ResolveVersion":    fetch,
		"GetChartDetail":    fetch,
		"DownloadChart":     fetch,
	}
}

// eachMethod runs a test for every method of the contract, those of the future included.
func eachMethod(t *testing.T, test func(t *testing.T, m protoreflect.MethodDescriptor)) {
	t.Helper()
	methods := chartcachev1.File_chartcache_v1_chartcache_proto.Services().ByName("ChartCacheService").Methods()
	require.Len(t, reasonsOf(), methods.Len(), "the table has a row for every method, and no other")
	for i := range methods.Len() {
		m := methods.Get(i)
		require.Contains(t, reasonsOf(), string(m.Name()), "the table lacks a method")
		t.Run(string(m.Name()), func(t *testing.T) { test(t, m) })
	}
}

// requestOf is a valid request of a method.
func requestOf(t *testing.T, m protoreflect.MethodDescriptor) protoreflect.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	require.NoError(t, err)
	request := kind.New()
	if f := m.Input().Fields().ByName("repository"); f != nil {
		request.Set(f, protoreflect.ValueOfMessage(named("apps", "charts").ProtoReflect()))
	}
	setText(request, "chart", "web")
	return request
}

// setText sets a field that a message may lack.
func setText(m protoreflect.Message, field protoreflect.Name, value string) {
	if f := m.Descriptor().Fields().ByName(field); f != nil {
		m.Set(f, protoreflect.ValueOfString(value))
	}
}

// ask makes a call by the wire and returns its messages, at most two of a stream that does not end.
func (f *fixture) ask(ctx context.Context, t *testing.T, m protoreflect.MethodDescriptor, request protoreflect.Message) ([]proto.Message, error) {
	t.Helper()
	name := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	require.NoError(t, err)
	if !m.IsStreamingServer() {
		response := kind.New().Interface()
		err := f.conn.Invoke(ctx, name, request.Interface(), response)
		return []proto.Message{response}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request.Interface()); err != nil && !errors.Is(err, io.EOF) { // RecvMsg tells why then
		return nil, err
	}
	require.NoError(t, stream.CloseSend())
	var all []proto.Message
	for len(all) < 2 {
		response := kind.New().Interface()
		if err := stream.RecvMsg(response); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, err
		}
		all = append(all, response)
	}
	return all, nil
}

// aCatalog answers everything: three repositories, charts and versions, and a chart.
func aCatalog(t *testing.T) *fakeCatalog {
	t.Helper()
	const items = 3
	data := packed(t, "web/Chart.yaml", "name: web", "web/values.yaml", "a: 1")
	revision := catalog.Revision{Name: "r1", ObservedAt: at()}
	return &fakeCatalog{
		repositories: func(string) (all []catalog.State) {
			for i := range items {
				all = append(all, catalog.State{Source: catalog.ByRef("apps", fmt.Sprint(i))})
			}
			return all
		},
		repository: func(context.Context, catalog.Source) (catalog.State, error) { return fullState(), nil },
		sync:       func(context.Context, catalog.Source) (catalog.State, bool, error) { return fullState(), true, nil },
		charts: func(_ catalog.Source, q catalog.ChartQuery) (catalog.ChartList, error) {
			list := catalog.ChartList{Revision: revision, More: q.Offset+q.Limit < items}
			for i := q.Offset; i < min(q.Offset+q.Limit, items); i++ {
				list.Charts = append(list.Charts, index.Summary{Name: fmt.Sprint(i)})
			}
			return list, nil
		},
		versions: func(_ catalog.Source, q catalog.VersionQuery) (catalog.VersionList, error) {
			list := catalog.VersionList{Revision: revision, More: q.Offset+q.Limit < items}
			for i := q.Offset; i < min(q.Offset+q.Limit, items); i++ {
				list.Versions = append(list.Versions, index.Entry{Version: fmt.Sprint(i)})
			}
			return list, nil
		},
		resolve: func(catalog.Source, catalog.ResolveQuery) (catalog.Resolved, error) {
			return catalog.Resolved{Entry: index.Entry{Chart: "web", Version: "1.2.3", Digest: someDigest}, Revision: revision}, nil
		},
		fetch: func(catalog.Source, catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
			return newTarball(data), catalog.ChartInfo{SizeBytes: int64(len(data))}, nil
		},
		watch: func(string) Subscription {
			return &events{all: []catalog.Event{{Kind: catalog.EventChanged, State: fullState(), Token: "1"}, {Kind: catalog.EventBookmark, Token: "2"}}}
		},
	}
}

func TestEveryMethodAnswers(t *testing.T) {
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		got, err := start(t, aCatalog(t)).ask(testContext(t), t, m, requestOf(t, m))
		require.NoError(t, err)
		require.NotEmpty(t, got)
		for _, message := range got {
			assert.NotZero(t, proto.Size(message))
		}
	})
}

// provoke makes a method fail for a reason: by its request, by its page, or by what the catalog says.
func provoke(t *testing.T, m protoreflect.MethodDescriptor, reason chartcachev1.ErrorReason) error {
	t.Helper()
	c, request := aCatalog(t), requestOf(t, m)
	f := start(t, c)
	switch reason {
	case chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT:
		setText(request, "page_token", "garbage%")
		setText(request, "resume_token", "a\x00b")
		if source := m.Input().Oneofs().ByName("source"); source != nil {
			request.Clear(request.WhichOneof(source))
		}
	case chartcachev1.ErrorReason_ERROR_REASON_PAGE_EXPIRED:
		one, ok := request.Interface().(paged)
		require.True(t, ok)
		setText(request, "page_token", encodePage(one, pageToken{Revision: "r0", Offset: 1}))
	default:
		c.every = func(context.Context) error {
			return &cacheerr.Error{Reason: reason, Message: "the message", RetryAfter: 3 * time.Second, Err: errors.New("hunter2")}
		}
	}
	_, err := f.ask(testContext(t), t, m, request)
	return err
}

func TestEveryMethodGivesEachOfItsErrorsAsTheContractSays(t *testing.T) {
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		for _, name := range reasonsOf()[string(m.Name())] {
			reason := chartcachev1.ErrorReason(chartcachev1.ErrorReason_value[reasonPrefix+name])
			require.NotZero(t, reason, name)
			s := status.Convert(provoke(t, m, reason))
			require.Equal(t, codeOf(reason), s.Code(), "%s: %s", name, s.Message())
			assert.NotContains(t, s.String(), "hunter2")
			var infos []*errdetails.ErrorInfo
			var retry time.Duration
			for _, detail := range s.Details() {
				switch d := detail.(type) {
				case *errdetails.ErrorInfo:
					infos = append(infos, d)
				case *errdetails.RetryInfo:
					retry = d.GetRetryDelay().AsDuration()
				}
			}
			require.Len(t, infos, 1, name)
			assert.Equal(t, "chartcache", infos[0].GetDomain())
			assert.Equal(t, name, infos[0].GetReason())
			if s.Message() == "the message" {
				assert.Equal(t, 3*time.Second, retry, "%s: a retry helps", name)
			} else {
				assert.Zero(t, retry, "%s: a retry of the same request does not help", name)
			}
		}
	})
}

func TestEveryReasonIsOneThatSomeMethodGives(t *testing.T) {
	given := map[string]bool{"UNSPECIFIED": true}
	for _, reasons := range reasonsOf() {
		for _, name := range reasons {
			given[name] = true
		}
	}
	for _, name := range chartcachev1.ErrorReason_name {
		assert.True(t, given[name[len(reasonPrefix):]], name)
	}
}

// waiting is a catalog whose work lasts until its caller gives up, which it says on seen, or until release is closed.
type waiting struct {
	*fakeCatalog
	began, release chan struct{}
	seen           chan error
}

func newWaiting(t *testing.T) waiting {
	t.Helper()
	w := waiting{fakeCatalog: aCatalog(t), began: make(chan struct{}, 100), release: make(chan struct{}), seen: make(chan error, 100)}
	w.every = func(asked context.Context) error {
		w.began <- struct{}{}
		select {
		case <-asked.Done():
		case <-w.release: // of one that nothing can interrupt
		}
		w.seen <- asked.Err()
		return asked.Err()
	}
	return w
}

// interrupted waits until the work of a call ended, because its caller did.
func (w waiting) interrupted(t *testing.T, m protoreflect.MethodDescriptor) {
	t.Helper()
	if m.Name() == "ListRepositories" { // it reads memory, which cannot be interrupted
		close(w.release)
		require.NoError(t, <-w.seen)
		return
	}
	require.Error(t, <-w.seen, "the work ends with the call")
}

func TestEveryMethodEndsWhenItsCallerGivesUp(t *testing.T) {
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		w := newWaiting(t)
		f := start(t, w)
		ctx, cancel := context.WithCancel(testContext(t))
		go func() {
			<-w.began
			cancel()
		}()
		_, err := f.ask(ctx, t, m, requestOf(t, m))
		assert.Equal(t, codes.Canceled, status.Code(err), "%v", err)
		w.interrupted(t, m)
	})
}

func TestEveryMethodEndsAtItsDeadline(t *testing.T) {
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		w := newWaiting(t)
		f := start(t, w)
		// A busy machine may not get a call to the server in so short a time.
		for within := 20 * time.Millisecond; len(w.began) == 0; within *= 2 {
			ctx, cancel := context.WithTimeout(testContext(t), within)
			_, err := f.ask(ctx, t, m, requestOf(t, m))
			cancel()
			require.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
		}
		w.interrupted(t, m)
	})
}

func TestEveryListingIsPaged(t *testing.T) {
	paging := 0
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		if m.Input().Fields().ByName("page_token") == nil {
			return
		}
		paging++
		f := start(t, aCatalog(t))
		request, pages := requestOf(t, m), 0
		request.Set(m.Input().Fields().ByName("page_size"), protoreflect.ValueOfInt32(1))
		for {
			got, err := f.ask(testContext(t), t, m, request)
			require.NoError(t, err)
			page := got[0].ProtoReflect()
			items := page.Descriptor().Fields().ByNumber(1)
			require.Equal(t, 1, page.Get(items).List().Len())
			pages++
			token := page.Get(page.Descriptor().Fields().ByName("next_page_token")).String()
			if token == "" {
				break
			}
			setText(request, "page_token", token)
		}
		assert.Equal(t, 3, pages)

		setText(request, "chart", "other")
		setText(request, "namespace", "other")
		setText(request, "query", "other")
		_, err := f.ask(testContext(t), t, m, request)
		assert.Equal(t, codes.InvalidArgument, status.Code(err), "a token belongs to its request")
	})
	assert.Equal(t, 3, paging)
}

func TestAFieldMaskThatNamesAnUnknownFieldIsRefusedByItsName(t *testing.T) {
	_, err := detailError(t, "readme", "secrets")
	assert.ErrorContains(t, err, `"secrets"`)
	assert.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestAServerThatIsBusyOrStopsGivesNoReason(t *testing.T) {
	// The contract says what a client makes of them.
	for name, test := range map[string]struct {
		err     error
		code    codes.Code
		retries bool
	}{
		"busy":     {busy(), codes.ResourceExhausted, true},
		"stopping": {errStopping, codes.Unavailable, false},
		"late":     {context.DeadlineExceeded, codes.DeadlineExceeded, false},
	} {
		s := statusOf(test.err)
		assert.Equal(t, test.code, s.Code(), name)
		retries := false
		for _, detail := range s.Details() {
			_, isInfo := detail.(*errdetails.ErrorInfo)
			assert.False(t, isInfo, name)
			_, isRetry := detail.(*errdetails.RetryInfo)
			retries = retries || isRetry
		}
		assert.Equal(t, test.retries, retries, name)
	}
}
