package helm

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// once is a transport that, while it is on, sends each GET request once and answers later ones alike, until something
// is written to the same URL. Helm asks three times for each object that it updates: to see whether it is there, to
// compare it, and to know it when nothing was to be changed.
type once struct {
	mu sync.Mutex // guards below
	// answers are by URL; nil while it is off.
	answers map[string]*onceAnswer
}

// onceAnswer is a successful answer to a GET request.
type onceAnswer struct {
	response http.Response
	body     []byte
}

// turn switches it on or off. It begins with no answers.
func (o *once) turn(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = nil
	if on {
		o.answers = map[string]*onceAnswer{}
	}
}

// wrap returns the transport in front of next.
func (o *once) wrap(next http.RoundTripper) http.RoundTripper {
	return &onceTransport{once: o, next: next}
}

type onceTransport struct {
	once *once
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *onceTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	url := request.URL.String()
	if request.Method != http.MethodGet {
		t.once.forget(request.URL.Scheme + "://" + request.URL.Host + request.URL.Path)
		return t.next.RoundTrip(request)
	}
	if answer, on := t.once.answer(url); !on {
		return t.next.RoundTrip(request)
	} else if answer != nil {
		return answer.to(request), nil
	}
	response, err := t.next.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // it was read
	if err != nil {
		return nil, err
	}
	answer := &onceAnswer{response: *response, body: body}
	t.once.keep(url, answer)
	return answer.to(request), nil
}

// WrappedRoundTripper returns the transport behind, for client-go.
func (t *onceTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

func (o *once) answer(url string) (answer *onceAnswer, on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answers[url], o.answers != nil
}

func (o *once) keep(url string, answer *onceAnswer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers != nil {
		o.answers[url] = answer
	}
}

func (o *once) forget(url string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.answers, url)
}

// to returns the answer to a request.
func (a *onceAnswer) to(request *http.Request) *http.Response {
	response := a.response
	response.Header = a.response.Header.Clone()
	response.Body = io.NopCloser(bytes.NewReader(a.body))
	response.Request = request
	return &response
}
