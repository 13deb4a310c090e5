package server

import (
	"time"

	"google.golang.org/grpc/codes"
)

// Metrics is told what happens to calls.
type Metrics interface {
	// Method returns what is told about one method, "/package.Service/Method". It is called once for each.
	Method(fullMethod string) MethodMetrics
}

// MethodMetrics is told what happens to the calls of one method. Its methods may be called concurrently and must not block.
type MethodMetrics interface {
	// Began is told of a call when it begins.
	Began()
	// Received and Sent are told of a message of a call.
	Received()
	Sent()
	// Ended is told of a call when it ends: the status that the caller got, and the time from the request to the end.
	Ended(code codes.Code, took time.Duration)
}

type noMetrics struct{}

func (noMetrics) Method(string) MethodMetrics     { return noMetrics{} }
func (noMetrics) Began()                          {}
func (noMetrics) Received()                       {}
func (noMetrics) Sent()                           {}
func (noMetrics) Ended(codes.Code, time.Duration) {}
