// Package audit holds the words that every room of pgwitness speaks: what a
// change is as it comes out of the write-ahead log, what an entry is as it
// lies in the trail, and the exact bytes of an entry that are hashed.
//
// The life of a change in these types:
//
//	Feed ─ Tx ─ Change      cdc decodes the write-ahead log into them
//	Entry                   enrich says who, what, when, where and why
//	Entry + Hash, PrevHash  chain seals it
//
// The byte layout of a hashed entry is the document docs/chain-format.md, and
// AppendPreimage is its implementation. This package imports the standard
// library only, so that an auditor can read it in one sitting. It never does
// I/O, never reads a clock and never logs.
package audit
