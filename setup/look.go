package setup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// view is what was found in the audited database, all at one moment. Nobody
// changes it after look has made it.
type view struct {
	cfg     Config
	sidecar string // role that the sidecar runs as

	server      server
	objects     objects
	functions   []function
	keys        keysState
	publication *publication // nil: there is none
	slot        *slot        // nil: there is none
	tables      []*table
	records     []installed // nil when this role may not read them
	notCovered  notCovered
	guards      guards
	noColumn    *MissingColumnError // nil: all secret and personal columns exist
	following   following

	pooled bool          // another process answers than the one that was connected to
	clock  time.Duration // by which the server's clock is ahead of ours
}

// keysState says what is known of the keys.
type keysState int

const (
	keysMissing keysState = iota
	keysPresent
	keysHidden // this role may not look
)

type server struct {
	VersionNum         int    `db:"version_num"`
	Version            string `db:"version"`
	Database           string `db:"database"`
	Encoding           string `db:"encoding"`
	Standby            bool   `db:"standby"`
	WALLevel           string `db:"wal_level"`
	MaxSlots           int    `db:"max_slots"`
	UsedSlots          int    `db:"used_slots"`
	MaxSenders         int    `db:"max_senders"`
	UsedSenders        int    `db:"used_senders"`
	SenderTimeoutMS    int64  `db:"sender_timeout_ms"`
	SlotKeepMB         int64  `db:"slot_keep_mb"`
	SlotIdle           *int64 `db:"slot_idle_s"`
	MaxPrepared        int    `db:"max_prepared"`
	Prepared           int    `db:"prepared"`
	BackendPID         uint32 `db:"backend_pid"`
	ClockUS            int64  `db:"clock_us"`
	Role               string `db:"role"`
	Superuser          bool   `db:"superuser"`
	Replication        bool   `db:"replication"`
	MayCreate          bool   `db:"may_create"`
	MayEmit            bool   `db:"may_emit"`
	MayEventTriggers   bool   `db:"may_event_triggers"`
	SidecarExists      bool   `db:"sidecar_exists"`
	SidecarSuperuser   bool   `db:"sidecar_superuser"`
	SidecarReplication bool   `db:"sidecar_replication"`
}

func (s server) major() int { return s.VersionNum / 10000 }

type objects struct {
	Schema           bool     `db:"schema"`
	PublicUsage      bool     `db:"public_usage"`
	Owned            bool     `db:"owned"`
	Secret           bool     `db:"secret"`
	SecretGuarded    bool     `db:"secret_guarded"`
	Installed        bool     `db:"installed"`
	MayReadInstalled bool     `db:"may_read_installed"`
	SidecarInstalled bool     `db:"sidecar_installed"`
	SidecarSecret    bool     `db:"sidecar_secret"`
	MayReadSecret    bool     `db:"may_read_secret"`
	Following        bool     `db:"following"`
	MayReadFollowing bool     `db:"may_read_following"`
	SidecarFollowing bool     `db:"sidecar_following"`
	SecretReaders    []string `db:"secret_readers"`
}

type publication struct {
	AllTables bool   `db:"all_tables"`
	ViaRoot   bool   `db:"via_root"`
	Inserts   bool   `db:"inserts"`
	Updates   bool   `db:"updates"`
	Deletes   bool   `db:"deletes"`
	Truncates bool   `db:"truncates"`
	Generated string `db:"generated"`
	Owned     bool   `db:"owned"`
}

func (p *publication) publishesAll() bool {
	return p.Inserts && p.Updates && p.Deletes && p.Truncates
}

type slot struct {
	Plugin        *string `db:"plugin"`
	Database      *string `db:"database"`
	Active        bool    `db:"active"`
	ActivePID     *int32  `db:"active_pid"`
	Temporary     bool    `db:"temporary"`
	TwoPhase      bool    `db:"two_phase"`
	WALStatus     *string `db:"wal_status"`
	SafeBytes     *int64  `db:"safe_bytes"`
	Confirmed     *string `db:"confirmed"`
	RetainedBytes *int64  `db:"retained_bytes"`
	Failover      bool    `db:"failover"`
	Invalidation  string  `db:"invalidation"`
}

func (s *slot) lost() bool {
	return s.Invalidation != "" || s.WALStatus != nil && *s.WALStatus == "lost"
}

// installed is one row of pgwitness.installed.
type installed struct {
	Kind            string `db:"kind"`
	Name            string `db:"name"` // of a table: in SQL, as it is called now
	Identity        string `db:"identity"`
	IdentityIndex   string `db:"identity_index"`
	CurrentIdentity string `db:"current_identity"`
	IsTable         bool   `db:"is_table"`
}

type notCovered struct {
	LargeObjects int `db:"large_objects"`
	Sequences    int `db:"sequences"`
	Views        int `db:"views"`
}

// look reads everything, in one read-only transaction: it changes nothing.
func look(ctx context.Context, conn *pgx.Conn, cfg Config) (*view, error) {
	cfg = cfg.withDefaults()
	v := &view{cfg: cfg, sidecar: cfg.sidecarRole()}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("look at audited database: %w", err)
	}
	defer tx.Rollback(ctx) // there is nothing to commit
	if _, err := tx.Exec(ctx, settings("SET LOCAL"), pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, fmt.Errorf("look at audited database: %w", err)
	}
	if err := v.read(ctx, tx); err != nil {
		return nil, fmt.Errorf("look at audited database: %w", err)
	}
	v.pooled = conn.PgConn().PID() != v.server.BackendPID
	return v, nil
}

func (v *view) read(ctx context.Context, tx pgx.Tx) error {
	s, err := one[server](ctx, tx, "check/server.sql", v.sidecar)
	if err != nil {
		return err
	}
	v.server = *s
	v.clock = time.Until(time.UnixMicro(s.ClockUS))
	o, err := one[objects](ctx, tx, "check/objects.sql", v.sidecar)
	if err != nil {
		return err
	}
	v.objects = *o
	if v.functions, err = many[function](ctx, tx, "check/functions.sql"); err != nil {
		return err
	}
	if o.MayReadInstalled {
		if v.records, err = many[installed](ctx, tx, "check/installed.sql"); err != nil {
			return err
		}
	}
	if v.noColumn, err = v.missingColumn(ctx, tx); err != nil {
		return err
	}
	if v.guards.present, err = many[guardTrigger](ctx, tx, "check/guards.sql"); err != nil {
		return err
	}
	if v.following, err = v.lookForFollowing(ctx, tx); err != nil {
		return err
	}
	if v.keys, err = v.lookForKeys(ctx, tx); err != nil {
		return err
	}
	if v.publication, err = one[publication](ctx, tx, "check/publication.sql", v.cfg.Publication); err != nil {
		return err
	}
	if v.slot, err = one[slot](ctx, tx, "check/slot.sql", v.cfg.Slot); err != nil {
		return err
	}
	n, err := one[notCovered](ctx, tx, "check/not_covered.sql")
	if err != nil {
		return err
	}
	v.notCovered = *n
	tables, err := many[table](ctx, tx, "check/tables.sql", v.cfg.Publication, v.sidecar)
	if err != nil {
		return err
	}
	return v.choose(tables)
}

func (v *view) lookForKeys(ctx context.Context, tx pgx.Tx) (keysState, error) {
	switch {
	case !v.objects.Secret:
		return keysMissing, nil
	case !v.objects.MayReadSecret:
		return keysHidden, nil
	}
	n, err := one[struct {
		Rows int `db:"rows"`
	}](ctx, tx, "check/secret.sql")
	if err != nil {
		return keysHidden, err
	}
	if n.Rows == 0 {
		return keysMissing, nil
	}
	return keysPresent, nil
}

// choose marks the tables that the configuration means. The partitions of an
// audited table are audited with it: a publication cannot leave one out.
func (v *view) choose(tables []table) error {
	selection, err := newSelection(v.cfg)
	if err != nil {
		return err
	}
	byOID := make(map[uint32]*table, len(tables))
	for i := range tables {
		t := &tables[i]
		v.tables = append(v.tables, t)
		byOID[t.OID] = t
		t.wanted, t.matched = selection.identity(t.Schema, t.Name)
		t.excluded = selection.excludes(t.Schema, t.Name)
	}
	for _, t := range v.tables {
		for _, oid := range t.Parents {
			t.heir = t.heir || byOID[oid] != nil && byOID[oid].matched
		}
		for _, oid := range t.Ancestors {
			parent := byOID[oid]
			if parent == nil || !parent.matched {
				continue
			}
			t.byParent = true
			if t.wanted == "" {
				t.wanted = parent.wanted
			}
		}
	}
	return nil
}

// recorded reports whether setup recorded that kind and name are ours.
func (v *view) recorded(kind, name string) bool {
	return slices.ContainsFunc(v.records, func(i installed) bool { return i.Kind == kind && i.Name == name })
}

// strangers is an error if setup was run here for another slot or publication.
func (v *view) strangers() error {
	for _, i := range v.records {
		if i.Kind == "slot" && i.Name != v.cfg.Slot || i.Kind == "publication" && i.Name != v.cfg.Publication {
			return audit.WithHint(fmt.Errorf("the database %s is audited by the %s %s already", v.server.Database, i.Kind, i.Name),
				"a database has one stream. Put the old name back into the configuration, or run pgwitness teardown with it first")
		}
	}
	return nil
}

// audited lists the tables that are to be captured.
func (v *view) audited() []*table {
	return slices.DeleteFunc(slices.Clone(v.tables), func(t *table) bool { return !t.audited() })
}

// many runs the query in a file of sql/postgres.
func many[T any](ctx context.Context, tx pgx.Tx, file string, args ...any) ([]T, error) {
	query, err := statements(file)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return found, nil
}

// one is many for a query with at most one row; nil if there is none.
func one[T any](ctx context.Context, tx pgx.Tx, file string, args ...any) (*T, error) {
	found, err := many[T](ctx, tx, file, args...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}
