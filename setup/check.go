package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// Check looks at the audited database and reports what capture depends on:
// what is well, what is worth knowing, and what is in the way, with a fix each.
// It changes nothing, and is an error only when it could not look at all.
// Findings are sorted by check and subject.
func Check(ctx context.Context, cfg Config) ([]audit.Finding, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	conn, v, err := survey(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if err := v.tryGuards(ctx, conn); err != nil {
		return nil, err
	}
	c := &checker{view: v}
	c.checkServer()
	c.checkRoles()
	c.checkReplication(ctx)
	c.tryDecoding(ctx, conn)
	c.checkSlot()
	c.checkObjects()
	c.checkPublication()
	c.checkTables()
	c.checkGuards()
	c.checkSecrets()
	if c.err != nil {
		return nil, fmt.Errorf("check audited database: %w", c.err)
	}
	slices.SortStableFunc(c.findings, func(a, b audit.Finding) int {
		return strings.Compare(a.Check+"\x00"+a.Subject, b.Check+"\x00"+b.Subject)
	})
	return c.findings, nil
}

// checker collects findings.
type checker struct {
	*view
	findings    []audit.Finding
	undecodable *pgconn.PgError // why the slot cannot be decoded; nil: it can, as far as is known
	err         error
}

func (c *checker) add(severity audit.Severity, check, subject, message, fix string) {
	c.findings = append(c.findings, audit.Finding{Severity: severity, Check: check, Subject: subject, Message: message, Fix: fix})
}

// either adds ok when holds, and the finding with its fix otherwise.
func (c *checker) either(holds bool, check, ok string, otherwise audit.Severity, message, fix string) {
	if holds {
		c.add(audit.OK, check, "", ok, "")
		return
	}
	c.add(otherwise, check, "", message, fix)
}

// setupVerb mends whatever setup installs.
const setupVerb = "pgwitness setup"

func (c *checker) checkServer() {
	s := c.server
	switch {
	case s.major() < oldestMajor:
		c.add(audit.Failure, "server_version", "", fmt.Sprintf("PostgreSQL %s is too old: logical messages in pgoutput came with 14", s.Version), "upgrade to PostgreSQL 14 or later")
	case s.major() > newestMajor:
		c.add(audit.Warning, "server_version", "", fmt.Sprintf("PostgreSQL %s is newer than the versions tested, %d to %d", s.Version, oldestMajor, newestMajor), "")
	case s.VersionNum >= 150000 && s.VersionNum < 150002:
		c.add(audit.Failure, "server_version", "", fmt.Sprintf("PostgreSQL %s sends wrong rows under column lists", s.Version), "upgrade to the latest release of PostgreSQL 15")
	default:
		c.add(audit.OK, "server_version", "", "PostgreSQL "+s.Version, "")
	}
	c.either(!s.Standby, "server_primary", "the server is a primary", audit.Failure,
		"the server is a standby: nothing can be installed there", "let the DSN lead to the primary")
	c.either(s.WALLevel == "logical", "wal_level", "logical", audit.Failure,
		"wal_level is "+s.WALLevel+": the write-ahead log does not hold what decoding needs",
		"ALTER SYSTEM SET wal_level = logical; then restart the server")
	c.either(s.Encoding == "UTF8", "server_encoding", "UTF8", audit.Warning,
		fmt.Sprintf("the database is encoded in %s: text that has no place in UTF-8 is replaced in stamps, and stops capture in rows", s.Encoding), "")
	c.either(s.SenderTimeoutMS == 0 || s.SenderTimeoutMS >= 20_000, "wal_sender_timeout", duration(s.SenderTimeoutMS/1000), audit.Warning,
		fmt.Sprintf("wal_sender_timeout is %d ms: a short pause of the network ends the connection", s.SenderTimeoutMS),
		"ALTER SYSTEM SET wal_sender_timeout = '1min'; SELECT pg_reload_conf()")
	c.checkHeadroom()
	c.checkPooler()
	c.checkClock()
	c.checkTwoPhase()
}

// checkHeadroom counts only while ours are still to be made.
func (c *checker) checkHeadroom() {
	s := c.server
	c.either(c.slot != nil || s.UsedSlots < s.MaxSlots, "max_replication_slots",
		fmt.Sprintf("%d of %d in use", s.UsedSlots, s.MaxSlots), audit.Failure,
		fmt.Sprintf("all %d replication slots are in use", s.MaxSlots),
		fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; then restart the server", s.MaxSlots+4))
	active := c.slot != nil && c.slot.Active
	c.either(active || s.UsedSenders < s.MaxSenders, "max_wal_senders",
		fmt.Sprintf("%d of %d in use", s.UsedSenders, s.MaxSenders), audit.Failure,
		fmt.Sprintf("all %d WAL senders are in use", s.MaxSenders),
		fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart the server", s.MaxSenders+4))
}

// checkPooler compares the process that the connection was opened to with the
// one that answers. PgBouncer's usual port is only a suspicion.
func (c *checker) checkPooler() {
	const fix = "let the DSN lead to the server itself, not to a pooler: replication, and the settings and locks of setup, need a session"
	cfg, err := pgconn.ParseConfig(c.cfg.DSN)
	port := err == nil && cfg.Port == 6432
	switch {
	case c.pooled:
		c.add(audit.Failure, "pooler", "", "a pooler is between us and the server: the process that answers is not the one connected to", fix)
	case port:
		c.add(audit.Warning, "pooler", "", "port 6432 is the usual one of PgBouncer", fix)
	default:
		c.add(audit.OK, "pooler", "", "the connection leads to the server itself", "")
	}
}

// clockTolerance is what clocks of different machines may differ by.
const clockTolerance = 5 // seconds

func (c *checker) checkClock() {
	ahead := c.clock.Seconds()
	c.either(max(ahead, -ahead) < clockTolerance, "clock", "the clocks of server and sidecar agree", audit.Warning,
		fmt.Sprintf("the server's clock differs by %.0f s from ours: entries bear the server's time of commit, lag in seconds is wrong by as much", ahead),
		"run a time service such as chrony on both")
}

func (c *checker) checkTwoPhase() {
	switch s := c.server; {
	case s.Prepared > 0:
		c.add(audit.Warning, "two_phase", "", fmt.Sprintf("%d prepared transactions are open: a new slot waits for them, and they are captured when they are committed", s.Prepared),
			"SELECT gid, prepared, owner FROM pg_prepared_xacts")
	case s.MaxPrepared > 0:
		c.add(audit.Info, "two_phase", "", "prepared transactions are allowed: they are captured when they are committed, not when they are prepared", "")
	default:
		c.add(audit.OK, "two_phase", "", "prepared transactions are not allowed", "")
	}
}

func (c *checker) checkRoles() {
	s := c.server
	c.either(s.SidecarExists && (s.SidecarReplication || s.SidecarSuperuser), "replication_role",
		fmt.Sprintf("the role %s may replicate", c.sidecar), audit.Failure,
		fmt.Sprintf("the role %s of the sidecar does not exist or may not replicate", c.sidecar), c.replicationFix())
	if s.SidecarExists && s.SidecarSuperuser {
		c.add(audit.Info, "least_privilege", c.sidecar, "the sidecar runs as a superuser; it needs no more than LOGIN and REPLICATION",
			"give it a role of its own, see sql/postgres/role.sql, and set admin_dsn for setup")
	}
	c.either(s.MayEmit, "emit_message", "stamps can be written", audit.Failure,
		fmt.Sprintf("the role %s may not call pg_logical_emit_message", s.Role),
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_logical_emit_message TO "+quoted(s.Role))
	if s.Superuser {
		c.add(audit.OK, "setup_privileges", s.Role, "a superuser may install everything", "")
		return
	}
	var lacks []string
	if !c.objects.Owned && !s.MayCreate {
		lacks = append(lacks, "CREATE on the database")
	}
	if !s.Replication && c.slot == nil {
		lacks = append(lacks, "REPLICATION")
	}
	for _, t := range c.audited() {
		if !t.Owned {
			lacks = append(lacks, "ownership of "+t.subject())
		}
	}
	switch {
	case len(lacks) == 0:
		c.add(audit.OK, "setup_privileges", s.Role, "the role may install everything", "")
	default:
		c.add(audit.Info, "setup_privileges", s.Role, "for setup and teardown the role lacks "+list(lacks),
			"set admin_dsn to a superuser or the owner, or give the output of pgwitness setup --print-sql to the administrator")
	}
}

func (c *checker) replicationFix() string {
	if c.server.SidecarExists {
		return fmt.Sprintf("ALTER ROLE %s REPLICATION", quoted(c.sidecar))
	}
	return c.roleSQL()
}

// checkReplication opens a replication connection as the sidecar will, and
// closes it again.
func (c *checker) checkReplication(ctx context.Context) {
	const check = "replication_connection"
	err := c.tryReplication(ctx)
	if err == nil {
		c.add(audit.OK, check, "", "the server accepts replication connections from here", "")
		return
	}
	fix := "add a line for the role and this database to pg_hba.conf, and reload"
	var said *pgconn.PgError
	if errors.As(err, &said) {
		switch said.Code {
		case "53300":
			fix = "raise max_wal_senders, and restart the server"
		case "08P01":
			fix = "let the DSN lead to the server itself, not to a pooler"
		case "42501":
			fix = c.replicationFix()
		}
	}
	c.add(audit.Failure, check, "", "a replication connection is refused: "+err.Error(), fix)
}

func (c *checker) tryReplication(ctx context.Context) error {
	cfg, err := pgconn.ParseConfig(c.cfg.SidecarDSN)
	if err != nil {
		return errors.New("the DSN of the sidecar cannot be read")
	}
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["application_name"] = "pgwitness check"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Exec(ctx, "IDENTIFY_SYSTEM").Close()
}

// list joins up to five words for a sentence.
func list(words []string) string {
	const most = 5
	if n := len(words) - most; n > 0 {
		words = append(slices.Clone(words[:most]), fmt.Sprintf("%d more", n))
	}
	return strings.Join(words, ", ")
}

// duration names a number of seconds.
func duration(seconds int64) string {
	switch {
	case seconds <= 0:
		return "never"
	case seconds%60 == 0:
		return fmt.Sprintf("%d min", seconds/60)
	}
	return fmt.Sprintf("%d s", seconds)
}

// size names a number of bytes.
func size(bytes int64) string {
	switch {
	case bytes >= 10<<30:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes >= 10<<20:
		return fmt.Sprintf("%d MiB", bytes>>20)
	case bytes >= 10<<10:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d bytes", bytes)
}
