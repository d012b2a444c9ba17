package pgwitness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/enrich"
)

// publication is what the publication of a stream lets through, as
// sql/postgres/stream/publication.sql reads it.
type publication struct {
	Version   string                    `json:"version"` // of its row in the catalog
	Publish   string                    `json:"publish"` // "insert, update, delete, truncate"
	AllTables bool                      `json:"all_tables"`
	ViaRoot   bool                      `json:"via_root"`
	Tables    map[string]publishedTable `json:"tables"` // by schema.name
}

type publishedTable struct {
	OID     int64    `json:"oid"`
	Version string   `json:"version,omitempty"` // of its membership; "" when it has none of its own
	Filter  string   `json:"filter,omitempty"`
	Columns []string `json:"columns,omitempty"` // nil: all
}

// edit is one difference between two states of a publication.
type edit struct {
	Table  string `json:"table,omitempty"` // "": the publication itself
	What   string `json:"what"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Hidden says that changes may have been made that the log did not tell us:
	// from some moment after the last look on.
	Hidden bool `json:"changes_may_be_missing"`
}

// readPublication reads the publication; nil when there is none.
func (t *tenure) readPublication(ctx context.Context, name string) (*publication, error) {
	file := "publication.sql"
	if strings.HasPrefix(t.conn.PgConn().ParameterStatus("server_version"), "14") {
		file = "publication_14.sql"
	}
	var text string
	err := t.ask(ctx, file, []any{name}, &text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := new(publication)
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("read publication %s: %w", name, err)
	}
	return p, nil
}

// existing returns which of the tables, by OID, still exist.
func (t *tenure) existing(ctx context.Context, oids []int64) (map[int64]bool, error) {
	found := make(map[int64]bool)
	if len(oids) == 0 {
		return found, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	text, err := statement("existing.sql")
	if err != nil {
		return nil, err
	}
	rows, err := t.conn.Query(ctx, text, oids)
	if err != nil {
		return nil, fmt.Errorf("look for tables: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("look for tables: %w", err)
	}
	for _, oid := range list {
		found[oid] = true
	}
	return found, nil
}

// missingFrom lists the OIDs of the tables of p that after does not publish.
func (p *publication) missingFrom(after *publication) []int64 {
	var oids []int64
	for name, t := range p.Tables {
		if now, ok := after.Tables[name]; !ok || now.OID != t.OID {
			oids = append(oids, t.OID)
		}
	}
	return oids
}

// editsTo lists the differences between p and after. exists tells which tables
// that p has and after has not are still in the database.
func (p *publication) editsTo(after *publication, exists map[int64]bool) []edit {
	var edits []edit
	if oid(p.Version) != oid(after.Version) {
		edits = append(edits, edit{What: "dropped and created again", Hidden: true})
	} else {
		edits = p.ownEdits(after)
	}
	renamed := p.renamedIn(after)
	for _, name := range slices.Sorted(maps.Keys(p.Tables)) {
		before := p.Tables[name]
		now, ok := after.Tables[name]
		switch {
		case renamed[before.OID] != "":
			edits = append(edits, edit{Table: name, What: "renamed", Before: name, After: renamed[before.OID]})
			edits = append(edits, before.editsTo(name, after.Tables[renamed[before.OID]])...)
		case !ok && exists[before.OID]:
			edits = append(edits, edit{Table: name, What: "taken out of the publication", Hidden: true})
		case !ok:
			edits = append(edits, edit{Table: name, What: "dropped"})
		case now.OID != before.OID && exists[before.OID]:
			edits = append(edits, edit{Table: name, What: "another table of this name is published", Hidden: true})
		case now.OID != before.OID:
			edits = append(edits, edit{Table: name, What: "dropped and created again"})
		default:
			edits = append(edits, before.editsTo(name, now)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after.Tables)) {
		if _, ok := p.Tables[name]; !ok && renamed[after.Tables[name].OID] == "" {
			edits = append(edits, edit{Table: name, What: "published from now on"})
		}
	}
	return edits
}

// renamedIn lists the tables of p, by OID, that after publishes under another
// name: nothing is hidden by that.
func (p *publication) renamedIn(after *publication) map[int64]string {
	names := make(map[int64]string)
	for name, t := range after.Tables {
		names[t.OID] = name
	}
	renamed := make(map[int64]string)
	for name, t := range p.Tables {
		if now := names[t.OID]; now != "" && now != name {
			renamed[t.OID] = now
		}
	}
	return renamed
}

// oid is the first part of a version: it changes when the row is made anew.
func oid(version string) string {
	oid, _, _ := strings.Cut(version, ".")
	return oid
}

// ownEdits compares what the publication says for all of its tables.
func (p *publication) ownEdits(after *publication) []edit {
	var edits []edit
	if p.Publish != after.Publish {
		edits = append(edits, edit{What: "kinds of changes", Before: p.Publish, After: after.Publish, Hidden: true})
	}
	if p.ViaRoot != after.ViaRoot {
		edits = append(edits, edit{What: "publish_via_partition_root", Before: fmt.Sprint(p.ViaRoot), After: fmt.Sprint(after.ViaRoot)})
	}
	if p.AllTables != after.AllTables {
		edits = append(edits, edit{What: "for all tables", Before: fmt.Sprint(p.AllTables), After: fmt.Sprint(after.AllTables)})
	}
	if len(edits) == 0 && p.Version != after.Version {
		edits = append(edits, edit{What: "altered, and perhaps altered back", Hidden: true})
	}
	return edits
}

// editsTo compares what is published of one table.
func (t publishedTable) editsTo(name string, after publishedTable) []edit {
	var edits []edit
	if t.Filter != after.Filter {
		edits = append(edits, edit{Table: name, What: "row filter", Before: t.Filter, After: after.Filter, Hidden: true})
	}
	if !slices.Equal(t.Columns, after.Columns) {
		edits = append(edits, edit{Table: name, What: "column list",
			Before: strings.Join(t.Columns, ", "), After: strings.Join(after.Columns, ", "), Hidden: true})
	}
	if len(edits) == 0 && t.Version != after.Version {
		edits = append(edits, edit{Table: name, What: "taken out of the publication and put back", Hidden: true})
	}
	return edits
}

// hidden reports whether one of the edits may have hidden changes.
func hidden(edits []edit) bool {
	return slices.ContainsFunc(edits, func(e edit) bool { return e.Hidden })
}

// publicationEvent is the entry publication_changed.
type publicationEvent struct {
	Publication string       `json:"publication"`
	Edits       []edit       `json:"edits"`
	Since       string       `json:"since,omitempty"` // the last look that found it unchanged; "" at the first
	Found       string       `json:"found"`           // when the edits were found
	Hidden      bool         `json:"changes_may_be_missing"`
	Now         *publication `json:"now"` // null: it was dropped
}

// checkPublication compares the publication with what was last recorded,
// records what is different as an entry, and keeps it in s.state, which the
// caller saves. Whatever is wrong with a single edit, capture goes on: stopping
// would lose more. Only a publication that is gone ends the stream.
//
// A crash before the state is saved makes the next start record the same edits
// once more.
func (s *stream) checkPublication(ctx context.Context, t *tenure) error {
	now, err := t.readPublication(ctx, s.cfg.Postgres.Publication)
	if busy(err) {
		s.log.Warn().Err(err).Msg("publication not looked at: tables are locked or being dropped; the next look covers this one")
		return nil
	}
	if err != nil {
		return err
	}
	looked := time.Now()
	e := publicationEvent{Publication: s.cfg.Postgres.Publication, Found: moment(looked), Now: now}
	if !s.state.CheckedAt.IsZero() {
		e.Since = moment(s.state.CheckedAt)
	}
	if now == nil {
		e.Edits, e.Hidden = []edit{{What: "dropped", Hidden: true}}, true
		return errors.Join(publicationLoss(s.cfg).err(s.cfg.Name), s.recordEdits(ctx, t, e))
	}
	if e.Edits, err = s.editsTo(ctx, t, now); err != nil {
		return err
	}
	s.state.CheckedAt = looked
	if len(e.Edits) == 0 {
		return nil
	}
	e.Hidden = hidden(e.Edits)
	return s.recordEdits(ctx, t, e)
}

// editsTo lists what is different from the state that was recorded last.
func (s *stream) editsTo(ctx context.Context, t *tenure, now *publication) ([]edit, error) {
	if s.state.Publication == "" {
		return []edit{{What: "recorded for the first time"}}, nil
	}
	before := new(publication)
	if err := json.Unmarshal([]byte(s.state.Publication), before); err != nil {
		return nil, fmt.Errorf("read recorded publication: %w", err)
	}
	exists, err := t.existing(ctx, before.missingFrom(now))
	if err != nil {
		return nil, err
	}
	return before.editsTo(now, exists), nil
}

// recordEdits writes the event and raises the alarm.
func (s *stream) recordEdits(ctx context.Context, t *tenure, e publicationEvent) error {
	if _, err := t.report(ctx, act{action: "publication_changed", resourceType: "pgwitness.publication", resourceID: e.Publication, details: e}); err != nil {
		return err
	}
	if err := s.raiseEdits(ctx, t, e); err != nil {
		return err
	}
	log := s.log.Info()
	if e.Hidden {
		s.w.metrics.gaps.WithLabelValues(s.cfg.Name).Inc()
		log = s.log.Error().Str("hint", "who did it: pgwitness trail pgwitness.publication; what it hid: pgwitness verify --continuity; mend it: pgwitness setup")
	}
	log.Any("edits", e.Edits).Str("publication", e.Publication).Bool("changes_may_be_missing", e.Hidden).Msg("publication changed")
	if e.Now == nil {
		return nil // the next start finds it missing, too
	}
	text, err := json.Marshal(e.Now)
	if err != nil {
		return fmt.Errorf("save state of publication: %w", err)
	}
	s.state.Publication = string(text)
	return nil
}

// raiseEdits raises an alarm where changes may be hidden, unless the log told of
// the same act.
func (s *stream) raiseEdits(ctx context.Context, t *tenure, e publicationEvent) error {
	n := enrich.Notice{Subject: "publication " + e.Publication, Severity: enrich.Critical, What: "the publication was edited: changes may be missing"}
	if !e.Hidden || s.alarms.wasTold(n.Subject) {
		return nil
	}
	s.raise(n)
	_, err := t.report(ctx, act{action: "audit_tampered", resourceType: "db.publication", resourceID: e.Publication,
		details: tamperEvent{Severity: n.Severity, Why: n.What, Since: e.Since, Found: e.Found}})
	return err
}

// moment renders a time for the details of an event.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000Z07:00") }
