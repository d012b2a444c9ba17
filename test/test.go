// Package test holds the tests that look at the whole rather than at one room:
// the layout of the house here, the sidecar against real servers beside it.
// Servers come from its subpackage harness. It never ships: nothing but tests
// imports it.
package test
