package sink

import (
	"time"

	"github.com/pgwitness/pgwitness/store"
)

// Stats is what the sink has done since New, for metrics and health.
type Stats struct {
	Inserts  uint64        // batches stored
	Entries  uint64        // entries in them
	Bytes    uint64        // their size, uncompressed and about
	Busy     time.Duration // time spent in Insert
	Last     time.Duration // of it, the last batch
	Failures uint64        // attempts that failed and were tried again
	Fenced   uint64        // inserts of earlier processes or connections that were killed

	// Failing is why the current batch is not stored yet, nil when all is well;
	// FailingCode is the server's error code in it, FailingSince the first
	// failure in a row. An operator has to cure what lasts.
	Failing      error
	FailingCode  int
	FailingSince time.Time
}

// Stats is a snapshot.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Sink) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Failures++
	if s.stats.Failing == nil {
		s.stats.FailingSince = time.Now()
	}
	s.stats.Failing, s.stats.FailingCode = err, store.Code(err)
}

func (s *Sink) succeeded(b *Batch, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Inserts++
	s.stats.Entries += uint64(b.Rows())
	s.stats.Bytes += uint64(b.Bytes())
	s.stats.Busy += took
	s.stats.Last = took
	s.stats.Failing, s.stats.FailingCode, s.stats.FailingSince = nil, 0, time.Time{}
}

func (s *Sink) fenced(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Fenced += uint64(n)
}
