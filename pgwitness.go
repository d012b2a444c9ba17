// Package pgwitness ties the rooms together: it is the sidecar itself and the
// verbs that its command line offers.
package pgwitness
