package pgwitness

import (
	"context"
	"slices"

	"github.com/pgwitness/pgwitness/setup"
)

// followEvent is the entry table_followed: a table that is captured from now on
// and not from its first row on, or one that should be and is not.
type followEvent struct {
	Followed bool   `json:"followed"`
	Why      string `json:"why,omitempty"` // it is not
	// Missing says that changes from before are missing, and from Since on at the
	// earliest: nobody looked in between.
	Missing bool   `json:"changes_may_be_missing"`
	Since   string `json:"since,omitempty"`
	Found   string `json:"found"`
}

// followNew takes up tables that the event triggers did not: there are none, or
// they did not get a lock. What cannot be followed is told once.
func (s *stream) followNew(ctx context.Context, t *tenure, now *inventory, since, found string) error {
	if s.cfg.DDL == setup.DDLOff {
		return nil
	}
	cfg := setupConfig(s.cfg)
	cfg.DSN = s.cfg.Postgres.DSN                                              // never the administrator's
	asking, cancel := context.WithTimeout(ctx, s.cfg.Postgres.ConnectTimeout) // a dead connection must not hold the stream up
	defer cancel()
	newcomers, err := setup.Follow(asking, cfg)
	if err != nil { // the next look tries again
		s.log.Warn().Err(err).Msg("new tables not looked for")
		return nil
	}
	var unfollowed []string
	for _, n := range newcomers {
		e := followEvent{Followed: n.Err == nil, Missing: true, Since: since, Found: found}
		log := s.log.Warn().Str("table", n.Name)
		if n.Err != nil {
			unfollowed = append(unfollowed, n.Name)
			e.Why = n.Err.Error()
			log = s.log.Error().Str("table", n.Name).Err(n.Err).Str("hint", "pgwitness setup")
		}
		if n.Err != nil && slices.Contains(now.Unfollowed, n.Name) {
			log.Discard()
			continue
		}
		if _, err := t.report(ctx, act{action: "table_followed", resourceType: "db.table", resourceID: n.Name, details: e}); err != nil {
			return err
		}
		s.w.metrics.gaps.WithLabelValues(s.cfg.Name).Inc()
		log.Bool("followed", e.Followed).Msg("new table: changes before now are missing")
	}
	now.Unfollowed = unfollowed
	return nil
}
