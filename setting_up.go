package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/setup"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/store"
)

// setupConfig is what setup needs to know of a stream.
func setupConfig(s StreamConfig) setup.Config {
	c := setup.Config{
		DSN: s.Postgres.AdminDSN, SidecarDSN: s.Postgres.DSN,
		Slot: s.Postgres.Slot, Publication: s.Postgres.Publication, Exclude: s.Exclude,
		Presets:   s.Presets,
		Failover:  s.Postgres.Failover,
		Directory: s.Directory,
		DDL:       s.DDL,
		Baseline:  *s.Baseline.Enabled,
	}
	if c.DSN == "" {
		c.DSN = s.Postgres.DSN
	}
	for _, t := range s.Tables {
		c.Tables = append(c.Tables, setup.Table{Name: t.Name, ReplicaIdentity: t.ReplicaIdentity, Secret: t.Secret, Personal: t.personalNames()})
	}
	c.Guards = guardsOf(s)
	return c
}

// Check looks whether both databases are ready, and changes nothing. A
// database that cannot be asked is a finding as well.
func (w *Witness) Check(ctx context.Context) ([]audit.Finding, error) {
	release, err := w.attach(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	var findings []audit.Finding
	for i, s := range w.cfg.Streams {
		found, err := setup.Check(ctx, setupConfig(s))
		if err != nil {
			found = append(found, unreachable("postgres", s.Name, w.placeOf(i, err)))
		}
		findings = append(findings, found...)
	}
	return append(findings, w.checkClickHouse(ctx)...), nil
}

// unreachable is the finding of a database that cannot be asked.
func unreachable(check, subject string, err error) audit.Finding {
	return audit.Finding{Severity: audit.Failure, Check: check, Subject: subject, Message: err.Error(), Fix: audit.Hint(err)}
}

// checkClickHouse looks at the schema and at the rights of the three users.
func (w *Witness) checkClickHouse(ctx context.Context) []audit.Finding {
	admin, err := w.cfg.ClickHouse.Admin()
	if err != nil {
		return []audit.Finding{unreachable("clickhouse", "admin_dsn", err)}
	}
	pending, newer, err := sink.Pending(ctx, admin)
	switch {
	case err != nil:
		return []audit.Finding{unreachable("clickhouse", admin.String(), err)}
	case newer > 0:
		return []audit.Finding{{Severity: audit.Failure, Check: "clickhouse_schema", Subject: admin.String(),
			Message: fmt.Sprintf("The schema has version %d, which is newer than this pgwitness.", newer), Fix: "install the newer pgwitness"}}
	case len(pending) > 0:
		return []audit.Finding{{Severity: audit.Failure, Check: "clickhouse_schema", Subject: admin.String(),
			Message: fmt.Sprintf("%d steps of the schema are missing.", len(pending)), Fix: "pgwitness setup"}}
	}
	return []audit.Finding{{Severity: audit.OK, Check: "clickhouse_schema", Subject: admin.String(), Message: "The schema is up to date."}}
}

// Setup installs what is missing in both databases and says what it does. A
// second one changes nothing.
func (w *Witness) Setup(ctx context.Context, out io.Writer) error {
	release, err := w.attach(ctx)
	if err != nil {
		return err
	}
	defer release()
	return w.setup(ctx, out)
}

func (w *Witness) setup(ctx context.Context, out io.Writer) error {
	if err := w.setupClickHouse(ctx, out); err != nil {
		return err
	}
	for i, s := range w.cfg.Streams {
		if err := setupPostgres(ctx, s, out); err != nil {
			return fmt.Errorf("set up stream %s: %w", s.Name, w.placeOf(i, err))
		}
	}
	return nil
}

// placeOf adds to an error of setup the key of stream i that it is about: a
// table, or else the DSN that was used.
func (w *Witness) placeOf(i int, err error) error {
	var missing *setup.MissingTableError
	var column *setup.MissingColumnError
	key := "postgres.dsn"
	switch {
	case guardPlace(err) != "":
		key = guardPlace(err)
	case errors.As(err, &column):
		key = fmt.Sprintf("tables[%d].%s", column.Index, column.Key)
	case errors.As(err, &missing):
		key = fmt.Sprintf("tables[%d].name", missing.Index)
	case w.cfg.Streams[i].Postgres.AdminDSN != "":
		key = "postgres.admin_dsn"
	}
	return w.cfg.place(fmt.Sprintf("streams[%d].%s", i, key), err)
}

func (w *Witness) setupClickHouse(ctx context.Context, out io.Writer) error {
	admin, err := w.cfg.ClickHouse.Admin()
	if err != nil {
		return err
	}
	applied, err := sink.Migrate(ctx, admin)
	for _, m := range applied {
		fmt.Fprintf(out, "clickhouse: %s\n", m.Name)
	}
	if err != nil {
		return w.placeOfClickHouse("admin_dsn", err)
	}
	if w.embedded { // its users come from a file
		return nil
	}
	err = sink.Grant(ctx, w.cfg.ClickHouse)
	if store.Code(err) != store.CodeNoAccessStorage {
		return err
	}
	// The server keeps its users in files: then they must be there already.
	if err := w.usersAnswer(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "clickhouse: users and grants are kept in files of the server, and stay as they are; sql/clickhouse/users.sql has the ones needed\n")
	return nil
}

// placeOfClickHouse adds to an error the DSN that was used: key, or dsn where
// that is empty.
func (w *Witness) placeOfClickHouse(key string, err error) error {
	c := w.cfg.ClickHouse
	if key == "admin_dsn" && c.AdminDSN == "" || key == "reader_dsn" && c.ReaderDSN == "" {
		key = "dsn"
	}
	return w.cfg.place("clickhouse."+key, err)
}

// usersAnswer checks that the writing and the reading user can log in.
func (w *Witness) usersAnswer(ctx context.Context) error {
	for key, server := range map[string]func() (store.Server, error){"dsn": w.cfg.ClickHouse.Writer, "reader_dsn": w.cfg.ClickHouse.Reader} {
		s, err := server()
		if err != nil {
			return err
		}
		conn, err := s.Open(ctx)
		if err != nil {
			return w.placeOfClickHouse(key, err)
		}
		if err := conn.Close(); err != nil {
			return fmt.Errorf("close connection to %s: %w", s, err)
		}
	}
	return nil
}

func setupPostgres(ctx context.Context, s StreamConfig, out io.Writer) error {
	plan, err := setup.Prepare(ctx, setupConfig(s))
	if err != nil {
		return err
	}
	if plan.Empty() {
		fmt.Fprintf(out, "postgres: stream %s: everything is there\n", s.Name)
		return nil
	}
	return setup.Apply(ctx, setupConfig(s), plan, printStep(out))
}

// printStep prints each step of setup and teardown.
func printStep(out io.Writer) func(setup.Progress) {
	return func(p setup.Progress) {
		again := ""
		if p.Attempt > 1 {
			again = fmt.Sprintf(" (attempt %d: somebody holds a lock)", p.Attempt)
		}
		fmt.Fprintf(out, "postgres: %d/%d %s%s\n", p.Step, p.Steps, p.Why, again)
	}
}

// PrintSetup prints the SQL for PostgreSQL that Setup would run now.
func (w *Witness) PrintSetup(ctx context.Context, out io.Writer) error {
	release, err := w.attach(ctx)
	if err != nil {
		return err
	}
	defer release()
	for i, s := range w.cfg.Streams {
		plan, err := setup.Prepare(ctx, setupConfig(s))
		if err != nil {
			return fmt.Errorf("plan stream %s: %w", s.Name, w.placeOf(i, err))
		}
		if _, err := io.WriteString(out, plan.String()); err != nil {
			return fmt.Errorf("print statements: %w", err)
		}
	}
	return nil
}

// SetupAndRun is Setup, then Run.
func (w *Witness) SetupAndRun(ctx context.Context, out io.Writer) error {
	release, err := w.attach(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := w.setup(ctx, out); err != nil {
		return err
	}
	return w.Run(ctx)
}

// Teardown takes everything of ours out of PostgreSQL. The trail stays.
func (w *Witness) Teardown(ctx context.Context, out io.Writer) error {
	release, err := w.attach(ctx)
	if err != nil {
		return err
	}
	defer release()
	var errs []error
	for _, s := range w.cfg.Streams {
		cfg := setupConfig(s)
		plan, err := setup.PrepareTeardown(ctx, cfg)
		if err == nil {
			err = setup.Teardown(ctx, cfg, plan, printStep(out))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tear down stream %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}
