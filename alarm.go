package pgwitness

import (
	"sync"

	"github.com/pgwitness/pgwitness/enrich"
)

// alarms is where acts against the auditor arrive, by whichever of two ways they
// were seen: in the log, as the event triggers told of them (then the entry is
// in the chain, or on its way), or by a comparison of the catalog (then the
// watcher writes one). Whatever will carry alarms to people hangs off
// stream.raise.
//
// What the log told of a subject the watcher does not tell again. A sidecar that
// is far behind may see an act in the catalog first: then there are two entries.
type alarms struct {
	mu   sync.Mutex
	told map[string]bool // subjects that the log told of since the last look
}

// noticed takes what enrich found in the log. It is called by the pipeline.
func (s *stream) noticed(notices []enrich.Notice) {
	for _, n := range notices {
		s.alarms.tell(n.Subject)
		if n.Severity != "" {
			s.raise(n)
		}
		if n.Lost && s.rows != nil {
			s.rows.Wake() // a table has values that only a new baseline tells
		}
	}
}

func (a *alarms) tell(subject string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told == nil {
		a.told = make(map[string]bool)
	}
	a.told[subject] = true
}

// wasTold reports whether the log told of subject since the last look.
func (a *alarms) wasTold(subject string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told[subject]
}

// takeTold returns the subjects that the log told of since the last call.
func (a *alarms) takeTold() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	told := a.told
	a.told = nil
	return told
}

// raise makes an act against the auditor heard: its entry is the caller's
// business.
func (s *stream) raise(n enrich.Notice) {
	s.w.metrics.tampered.WithLabelValues(s.cfg.Name).Inc()
	s.log.Error().Str("subject", n.Subject).Str("severity", n.Severity).Str("what", n.What).
		Str("hint", "who did it: pgwitness trail --action audit_tampered; mend it: pgwitness setup; then: pgwitness acknowledge").
		Msg("act against the auditor")
}
