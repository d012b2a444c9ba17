package pgwitness

const (
	memoryBase  = 64 << 20 // of a sidecar that has nothing to do
	entryWeight = 5 << 10  // of an entry of a batch, which lies in memory as entry, as columns of up to three batches, and encoded
	valueCopies = 6        // of the values of a batch, for the same reason
	feedCopies  = 8        // of a feed: being read, waiting, being enriched, and the room that they grow in
)

// MemoryGoal is how many bytes the sidecar needs at work, whatever the size of
// transactions: what the configuration lets batches and feeds grow to. It is
// meant for the garbage collector, which without a goal lets the heap grow to
// twice of what is in use before it collects. It is no limit: a single row of
// 200 MB takes what it takes.
func (w *Witness) MemoryGoal() int64 {
	goal := int64(memoryBase)
	batch := max(int64(w.cfg.Batch.Rows)*entryWeight, int64(w.cfg.Batch.Bytes)*valueCopies)
	for i := range w.cfg.Streams {
		goal += batch + int64(w.cfg.Streams[i].Postgres.FeedBytes)*feedCopies
	}
	return goal
}
