// Package index keeps what one repository lists, as one immutable file per state of the repository (a generation).
//
// A Builder makes a generation from an index.yaml or from OCI tags; a Reader answers look-ups from it without holding it
// in memory. An index.yaml is read as a stream and cut into the sections of its charts, by looking at how lines are indented
// (split.go) or where brackets close (json.go). A section whose text is as it was before is copied from the generation before;
// others are read line by line where they are laid out as Helm does it (lines.go), and by a YAML or JSON parser where they are
// not (decode.go). Memory depends on the largest section, and is bounded.
//
// The package depends on nothing but the error values and the contract. It must never talk to upstream, know which repository
// a generation belongs to, or decide which version somebody should get.
package index
