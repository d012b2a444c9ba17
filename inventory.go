package pgwitness

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/setup"
)

// inventory is what the watcher compares from look to look, as
// sql/postgres/stream/catalog.sql reads it.
type inventory struct {
	Roles    map[string]role          `json:"roles"`
	Settings map[string][]string      `json:"settings"` // of roles and databases: name=value
	Tables   map[string]watchedTable  `json:"tables"`   // by OID
	Objects  map[string]watchedObject `json:"objects"`  // ours, by subject: function pgwitness.stamp
	Readers  []string                 `json:"readers"`  // who could forge stamps
	Server   map[string]string        `json:"server"`   // settings that capture depends on
	Existing []int64                  `json:"existing,omitempty"`
	// Unfollowed are the tables that are meant and could not be followed.
	Unfollowed []string `json:"unfollowed,omitempty"`
}

// role is what pg_roles says of one, without its password.
type role struct {
	OID         int64    `json:"oid"`
	May         []string `json:"may"` // login, superuser, …
	Connections int      `json:"connections,omitempty"`
	ValidUntil  string   `json:"valid_until,omitempty"`
	MemberOf    []string `json:"member_of,omitempty"`
}

type watchedTable struct {
	Name        string `json:"name"` // in SQL
	Identity    string `json:"identity"`
	Persistence string `json:"persistence"`
	Sound       bool   `json:"sound"`   // both stamp triggers are
	Version     string `json:"version"` // of the triggers
}

type watchedObject struct {
	Version string `json:"version"`
	Content string `json:"content"` // tells whether it is another one than before
	Rights  string `json:"rights"`  // owner and grants
}

// readCatalog reads it. before says which tables are asked after although they
// may be neither published nor stamped any more.
func (t *tenure) readCatalog(ctx context.Context, s StreamConfig, before *inventory) (*inventory, error) {
	oids := []int64{}
	if before != nil {
		for text := range before.Tables {
			if oid, err := strconv.ParseInt(text, 10, 64); err == nil {
				oids = append(oids, oid)
			}
		}
	}
	var text string
	if err := t.ask(ctx, "catalog.sql", []any{s.Postgres.Publication, t.conn.Config().User, oids}, &text); err != nil {
		return nil, err
	}
	c := new(inventory)
	if err := json.Unmarshal([]byte(text), c); err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	for owner, settings := range c.Settings {
		for i, setting := range settings {
			if name, _, ok := strings.Cut(setting, "="); ok && enrich.SecretName(name) {
				settings[i] = name + "=***"
			}
		}
		slices.Sort(c.Settings[owner])
	}
	return c, nil
}

// tamperEvent is the entry audit_tampered of an act that a look at the catalog
// found.
type tamperEvent struct {
	Severity string `json:"severity"`
	Why      string `json:"why"`
	Before   any    `json:"before,omitempty"`
	After    any    `json:"after,omitempty"`
	Since    string `json:"since,omitempty"` // the last look that found it otherwise
	Found    string `json:"found"`
}

// roleEvent is the entry role_changed: of a role, of the settings of a role or
// database, or of all of them when they are recorded for the first time.
type roleEvent struct {
	Change string `json:"change"` // created, dropped, changed, settings, recorded for the first time
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	// It happened between the two, and is known no more precisely.
	Since string `json:"since,omitempty"`
	Found string `json:"found"`
}

// checkCatalog compares the catalog with what was last seen, records what is
// different, and keeps it in s.state, which the caller saves. A crash before
// that makes the next start record it again.
func (s *stream) checkCatalog(ctx context.Context, t *tenure) error {
	var before *inventory
	if s.state.Catalog != "" {
		before = new(inventory)
		if err := json.Unmarshal([]byte(s.state.Catalog), before); err != nil {
			return fmt.Errorf("read recorded catalog: %w", err)
		}
	}
	told := s.alarms.takeTold()
	now, err := t.readCatalog(ctx, s.cfg, before)
	if busy(err) { // a table was dropped while it was looked at: the next look compares
		for subject := range told {
			s.alarms.tell(subject)
		}
		return nil
	}
	if err != nil {
		return err
	}
	since, found := "", moment(time.Now())
	if !s.catalogAt.IsZero() {
		since = moment(s.catalogAt)
	}
	s.catalogAt = time.Now()
	if err := s.recordRoles(ctx, t, before, now, since, found); err != nil {
		return err
	}
	if err := s.recordTampering(ctx, t, before, now, told, since, found); err != nil {
		return err
	}
	if before != nil {
		now.Unfollowed = before.Unfollowed
	}
	if err := s.followNew(ctx, t, now, since, found); err != nil {
		return err
	}
	now.Existing = nil
	text, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("save state of catalog: %w", err)
	}
	s.state.Catalog = string(text)
	return nil
}

// recordTampering writes the entries of what was done against the auditor,
// unless the log told of it.
func (s *stream) recordTampering(ctx context.Context, t *tenure, before, now *inventory, told map[string]bool, since, found string) error {
	if before == nil {
		return nil
	}
	for _, d := range before.tamperingTo(now, s.cfg.DDL) {
		if told[d.Subject] {
			continue
		}
		if name, ok := strings.CutPrefix(d.Subject, "function pgwitness."); ok && d.replaced && s.asShipped(ctx, t, name) {
			continue // setup of another version was here
		}
		kind, name, _ := cutSubject(d.Subject)
		a := act{action: "audit_tampered", resourceType: "db." + strings.ReplaceAll(kind, " ", "_"), resourceID: name,
			details: tamperEvent{d.Severity, d.What, d.before, d.after, since, found}}
		if _, err := t.report(ctx, a); err != nil {
			return err
		}
		s.raise(d.Notice)
	}
	return nil
}

// cutSubject splits "event trigger pgwitness_ddl" into kind and name.
func cutSubject(subject string) (kind, name string, ok bool) {
	for _, kind := range []string{"table", "function", "event trigger", "schema", "publication", "setting", "role", "database", "keys"} {
		if name, ok := strings.CutPrefix(subject, kind+" "); ok {
			return kind, name, true
		}
	}
	return subject, "", false
}

// asShipped reports whether a function is the one of this version of pgwitness.
func (s *stream) asShipped(ctx context.Context, t *tenure, name string) bool {
	ok := false
	err := pgx.BeginTxFunc(ctx, t.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		ok, err = setup.AsShipped(ctx, tx, setupConfig(s.cfg), name)
		return err
	})
	return err == nil && ok
}
