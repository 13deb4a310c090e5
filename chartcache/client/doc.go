// Package client is the Go client of chartcache: it asks a chartcache server which charts and versions a repository
// holds, what a version constraint means, and for the bytes.
//
// One Client holds one shared connection and balances over every address that the target's name resolves to, such as those
// of a headless Service: calls about one repository go to one replica, and to the next one while that is away. It sets a
// deadline on every call that has none, repeats calls that no server answered, resumes downloads and watches, and turns
// every failure into an *Error with the reason that the server gave.
//
// It depends on gRPC and the contract only, so that anyone can import it without pulling in the rest of the product.
// It must never cache answers, know Kubernetes, or log: what happened is in the return values and in the events of Watch.
package client
