package pgwitness

const (
	memoryBase  = 33 << 20 // of a sidecar that has nothing to do, without its program
	entryWeight = 128      // of an entry among columns, beside its values: keys of dictionaries, numbers, hashes
	batchCopies = 2        // batches as columns: one being stored, one being gathered
	feedCopies  = 5        // of a feed: being read, waiting, being enriched
)

// MemoryGoal is how many bytes the sidecar needs at work, whatever the size of
// transactions: what the configuration lets batches and feeds grow to. It is
// meant for the garbage collector, which without a goal lets the heap grow to
// twice of what is in use before it collects. It is no limit: a single row of
// 200 MB takes what it takes.
func (w *Witness) MemoryGoal() int64 {
	goal := int64(memoryBase)
	batch := int64(w.cfg.Batch.Rows)*entryWeight + int64(w.cfg.Batch.Bytes)
	for i := range w.cfg.Streams {
		goal += batch*batchCopies + int64(w.cfg.Streams[i].Postgres.FeedBytes)*feedCopies
	}
	return goal
}
