// Package standin stands in for what public registries and chart repositories do around the charts themselves: it gives the
// tokens that a registry asks for, and it asks for names and passwords.
//
// It depends on the standard library and a library that signs tokens. It must never be linked with what is shipped.
package standin
