package setup

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// bearer is a table that bears triggers of ours.
type bearer struct {
	Name     string   `db:"name"`
	Triggers []string `db:"triggers"`
}

// PrepareTeardown works out what takes pgwitness out of the audited database
// again. It changes nothing.
func PrepareTeardown(ctx context.Context, cfg Config) (*Plan, error) {
	conn, err := connect(ctx, cfg.DSN)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return planTeardown(ctx, conn, cfg.withDefaults())
}

// Teardown runs the steps of plan that are still needed: afterwards the
// database is as it was before setup. The trail stays. Interrupted, it can be
// run again. progress may be nil.
func Teardown(ctx context.Context, cfg Config, plan *Plan, progress func(Progress)) error {
	a, err := begin(ctx, cfg, progress)
	if err != nil {
		return err
	}
	defer a.conn.Close(ctx) // gives up the lock
	needed, err := planTeardown(ctx, a.conn, a.cfg)
	if err != nil {
		return err
	}
	return a.run(ctx, plan, needed)
}

// remnants is what teardown finds.
type remnants struct {
	*view
	bearers []bearer
}

func planTeardown(ctx context.Context, conn *pgx.Conn, cfg Config) (*Plan, error) {
	v, err := look(ctx, conn, cfg)
	if err != nil {
		return nil, err
	}
	if v.objects.Installed && !v.objects.MayReadInstalled {
		return nil, audit.WithHint(fmt.Errorf("plan teardown: the role %s may not read pgwitness.installed", v.server.Role),
			"set admin_dsn to the role that ran setup, or to a superuser")
	}
	if err := v.strangers(); err != nil {
		return nil, fmt.Errorf("plan teardown: %w", err)
	}
	r := remnants{view: v}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, settings("SET LOCAL"), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		r.bearers, err = many[bearer](ctx, tx, "check/triggers.sql")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("plan teardown: %w", err)
	}
	return r.plan(), nil
}

// plan removes in an order that keeps the application's statements working: the
// publication before the replica identities it needs, the triggers before the
// functions they call. The slot goes first, because only a running sidecar can
// refuse it, and then nothing has been touched.
func (r remnants) plan() *Plan {
	p := &planner{view: r.view}
	r.planSlot(p)
	p.dropEventTriggers("The event triggers, before what they call.")
	r.planPublication(p)
	r.planTables(p)
	r.planRights(p)
	r.planSchema(p)
	return &Plan{
		Title:       fmt.Sprintf("pgwitness teardown of database %s", r.server.Database),
		Steps:       p.steps,
		lockTimeout: r.cfg.LockTimeout,
	}
}

func (r remnants) planSlot(p *planner) {
	if r.slot == nil || !r.recorded("slot", r.cfg.Slot) {
		return
	}
	p.steps = append(p.steps, Step{
		Why:        "Without the slot the server no longer keeps write-ahead log for us.",
		Statements: []string{r.dropSlotSQL() + ";"},
		Alone:      true,
	})
}

func (r remnants) planPublication(p *planner) {
	if r.publication == nil {
		return
	}
	name := quoted(r.cfg.Publication)
	if r.recorded("publication", r.cfg.Publication) {
		p.addSQL("The publication is ours.", "", "DROP PUBLICATION "+name+";")
		return
	}
	for _, t := range r.tables {
		if t.Member && r.recorded("published", t.sql()) {
			p.addSQL(fmt.Sprintf("The publication was there before; %s was not in it.", t.subject()), "",
				"ALTER PUBLICATION "+name+" DROP TABLE "+t.sql()+";")
		}
	}
}

// planTables removes the triggers, and puts the replica identities back. An
// identity that somebody has changed since is his and stays.
func (r remnants) planTables(p *planner) {
	work := map[string][]string{}
	for _, b := range r.bearers {
		for _, trigger := range b.Triggers {
			work[b.Name] = append(work[b.Name], "DROP TRIGGER "+quoted(trigger)+" ON "+b.Name+";")
		}
	}
	for _, i := range r.records {
		if i.Kind == "replica_identity" && i.IsTable && i.Identity != i.CurrentIdentity && i.ours() {
			work[i.Name] = append(work[i.Name], "ALTER TABLE ONLY "+i.Name+" REPLICA IDENTITY "+identityName(i.Identity, i.IdentityIndex)+";")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(work)) {
		p.addSQL(fmt.Sprintf("Table %s as it was before.", name), name, work[name]...)
	}
}

// planRights takes the rights to read from the sidecar's role that it did not
// have before.
func (r remnants) planRights(p *planner) {
	role := quoted(r.sidecar)
	if !r.server.SidecarExists {
		return // its rights went with it
	}
	for _, i := range r.records {
		switch {
		case i.Kind == "readable" && i.IsTable:
			p.addSQL("The sidecar need not read this table any more.", i.Name, "REVOKE SELECT ON TABLE "+i.Name+" FROM "+role+";")
		case i.Kind == "reachable":
			p.addSQL("Nor what is in this schema.", "", "REVOKE USAGE ON SCHEMA "+quoted(i.Name)+" FROM "+role+";")
		}
	}
}

// ours reports whether the replica identity is still one that setup gives.
func (i installed) ours() bool { return i.CurrentIdentity == "f" || i.CurrentIdentity == "d" }

// planSchema removes the schema in one transaction. There is no CASCADE: what
// others have made in it is a reason to stop.
func (r remnants) planSchema(p *planner) {
	var drops []string
	for _, f := range r.functions {
		if slices.Contains(append(functionFiles(), followingFiles()...), f.Name) {
			drops = append(drops, "DROP FUNCTION pgwitness."+quoted(f.Name)+"("+f.Arguments+");")
		}
	}
	slices.Reverse(drops) // no function depends on another in the catalogs; this is for the reader
	if r.objects.Following {
		drops = append(drops, "DROP TABLE pgwitness.pattern, pgwitness.audited;")
	}
	if r.objects.Secret {
		drops = append(drops, "DROP TABLE pgwitness.secret;")
	}
	if r.objects.Installed {
		drops = append(drops, "DROP TABLE pgwitness.installed;")
	}
	if r.objects.Schema && r.recorded("schema", "pgwitness") {
		drops = append(drops, "DROP SCHEMA pgwitness;")
	}
	if len(drops) > 0 {
		p.addSQL("The functions, the keys and the schema. Without the keys old stamps can no longer be checked.", "", drops...)
	}
}
