package faultproxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bench is a proxy before a server that counts, and a client of the proxy.
type bench struct {
	*testing.T
	*Proxy
	arrived atomic.Int32
	client  *http.Client
}

func newBench(t *testing.T, handler http.HandlerFunc) *bench {
	t.Helper()
	b := &bench{T: t}
	target := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.arrived.Add(1)
		handler(w, r)
	}))
	t.Cleanup(target.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: target.Certificate().Raw})
	var err error
	b.Proxy, err = Start(target.URL, authority)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(b.Authority()))
	b.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

func (b *bench) send(method string) (*http.Response, error) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), method, b.URL()+"/api/v1/secrets?watch=1", strings.NewReader("body"))
	require.NoError(b, err)
	request.Header.Set("Authorization", "Bearer abc")
	return b.client.Do(request)
}

func TestWithoutARuleEverythingIsPassedOn(t *testing.T) {
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		_, err = io.WriteString(w, strings.Join([]string{r.Method, r.URL.String(), r.Header.Get("Authorization"), string(body)}, " "))
		assert.NoError(t, err)
	})
	response, err := b.send(http.MethodPatch)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "PATCH /api/v1/secrets?watch=1 Bearer abc body", string(answer))
	assert.Equal(t, 2, response.ProtoMajor)
}

func TestAWatchIsPassedOnAsItComes(t *testing.T) {
	proceed := make(chan struct{})
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 2 {
			_, err := io.WriteString(w, "event\n")
			assert.NoError(t, err)
			assert.NoError(t, http.NewResponseController(w).Flush())
			<-proceed
		}
	})
	response, err := b.send(http.MethodGet)
	require.NoError(t, err)
	defer response.Body.Close()
	for range 2 {
		event := make([]byte, 6)
		_, err = io.ReadFull(response.Body, event)
		require.NoError(t, err)
		assert.Equal(t, "event\n", string(event))
		proceed <- struct{}{}
	}
}

func TestARefusalLooksLikeOneOfAnAPIServer(t *testing.T) {
	b := newBench(t, func(http.ResponseWriter, *http.Request) {})
	b.Obey(func(r *http.Request) Fault {
		if !Mutates(r) {
			return Fault{}
		}
		return Fault{Status: http.StatusTooManyRequests, RetryAfter: 3}
	})
	response, err := b.send(http.MethodPost)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	assert.Equal(t, "3", response.Header.Get("Retry-After"))
	var status metav1.Status
	require.NoError(t, json.NewDecoder(response.Body).Decode(&status))
	assert.True(t, apierrors.IsTooManyRequests(&apierrors.StatusError{ErrStatus: status}))
	assert.Zero(t, b.arrived.Load(), "the server sees nothing of it")

	response, err = b.send(http.MethodGet)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusOK, response.StatusCode, "the rule spares reads")
}

func TestALostAnswerHidesWhatWasDone(t *testing.T) {
	b := newBench(t, func(http.ResponseWriter, *http.Request) {})
	b.Obey(func(*http.Request) Fault { return Fault{Lost: true} })
	response, err := b.send(http.MethodPost)
	if err == nil {
		_ = response.Body.Close()
	}
	require.Error(t, err)
	assert.EqualValues(t, 1, b.arrived.Load())
}

func TestASilentRequestIsAnsweredWhenTheRuleChanges(t *testing.T) {
	b := newBench(t, func(http.ResponseWriter, *http.Request) {})
	asked := make(chan struct{})
	b.Obey(func(*http.Request) Fault {
		close(asked)
		return Fault{Silent: true}
	})
	code := make(chan int)
	go func() {
		response, err := b.send(http.MethodPost)
		if !assert.NoError(t, err) {
			close(code)
			return
		}
		_ = response.Body.Close()
		code <- response.StatusCode
	}()
	<-asked
	assert.Zero(t, b.arrived.Load())
	b.Obey(nil)
	assert.Equal(t, http.StatusGatewayTimeout, <-code)
	assert.EqualValues(t, 1, b.arrived.Load(), "it was done, late")
}

func TestAServerThatIsAwayGivesNoAnswer(t *testing.T) {
	b := newBench(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	response, err := b.send(http.MethodGet)
	if err == nil {
		_ = response.Body.Close()
	}
	require.Error(t, err)
}
