// Package index keeps what one repository lists, as one immutable file per state of the repository (a generation).
//
// A Builder makes a generation from an index.yaml or from OCI tags; a Reader answers look-ups from it without holding it
// in memory. The package depends on nothing but the error values and the contract. It must never talk to upstream, know
// which repository a generation belongs to, or decide which version somebody should get.
package index
