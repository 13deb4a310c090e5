// Package valuesmap decides which ConfigMaps with the default values of charts a HelmRepository should have: what they are
// called, which labels they carry, and which are made, kept, aged and removed.
//
// It is pure: no clients, no clock of its own. It depends on the API types only and must never read or write anything.
package valuesmap
