package setup

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
)

// checkSlot looks at the slot, and at how much write-ahead log it may hold.
func (c *checker) checkSlot() {
	c.checkRetention()
	const check = "slot"
	name, s := c.cfg.Slot, c.slot
	fresh := c.dropSlotSQL() + "; then " + setupVerb
	switch {
	case s == nil:
		c.add(audit.Failure, check, name, "the slot does not exist: nothing is captured", setupVerb)
	case s.Plugin == nil || *s.Plugin != plugin || s.Temporary || *s.Database != c.server.Database:
		c.add(audit.Failure, check, name, "the slot is not a lasting one of pgoutput in this database", "choose another name for the slot, then "+setupVerb)
	case s.lost():
		c.add(audit.Failure, check, name, "the write-ahead log that the slot needs is gone ("+s.Invalidation+"): changes are missing", "see pgwitness status. To begin anew: "+fresh)
	case s.TwoPhase:
		c.add(audit.Failure, check, name, "the slot decodes prepared transactions before they are committed, which the sidecar does not read", fresh)
	case s.WALStatus != nil && *s.WALStatus == "unreserved":
		c.add(audit.Failure, check, name, "the write-ahead log that the slot needs is about to be removed", "pgwitness run, at once; and ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf()")
	case c.publication == nil:
		c.add(audit.Failure, check, name, "the slot is older than the publication will be: changes from before it are missing, or end decoding", fresh)
	case c.undecodable != nil:
		c.add(audit.Failure, check, name, "decoding fails: "+c.undecodable.Message, fresh)
	case s.Active:
		c.add(audit.OK, check, name, fmt.Sprintf("process %d reads from it", *s.ActivePID), "")
	default:
		c.add(audit.Info, check, name, "nobody reads from the slot", "pgwitness run")
	}
	if s != nil && c.cfg.Failover && c.server.major() >= 17 && !s.Failover {
		c.add(audit.Warning, "slot_failover", name, "the slot is not copied to standbys: after a failover changes are missing", fresh)
	}
	c.checkRetained()
}

// decodeTimeout bounds the look at the first change of a slot.
const decodeTimeout = "5s"

// tryDecoding reads the first change of an idle slot, which stays in it, and
// remembers why that is refused. What cannot be tried, because this role may
// not, or the change lies too far ahead, is not said to be broken.
func (c *checker) tryDecoding(ctx context.Context, conn *pgx.Conn) {
	if c.slot == nil || c.slot.Active || c.publication == nil || c.server.Standby {
		return
	}
	query, err := statements("check/decode.sql")
	if err != nil {
		c.err = err
		return
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '"+decodeTimeout+"'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, query, c.cfg.Slot, quoted(c.cfg.Publication))
		return err
	})
	var said *pgconn.PgError
	if errors.As(err, &said) && (said.Code == "42704" || said.Code == "55000") {
		c.undecodable = said
	}
}

// checkRetention looks at the settings that say how much log a slot may hold.
func (c *checker) checkRetention() {
	s := c.server
	if s.SlotKeepMB < 0 {
		c.add(audit.Info, "max_slot_wal_keep_size", "", "no bound: as long as the sidecar is stopped the server keeps all write-ahead log, until its disk is full",
			"watch pg_replication_slots; or set a bound below the free space, for which changes are lost instead: ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf()")
	} else {
		c.add(audit.Info, "max_slot_wal_keep_size", "", fmt.Sprintf("when the sidecar is behind by more than %s, the slot is lost, and changes with it", size(s.SlotKeepMB<<20)),
			"set it to what the log writes in the longest outage that you plan for")
	}
	if s.SlotIdle == nil {
		return // before 18
	}
	c.either(*s.SlotIdle == 0, "idle_replication_slot_timeout", "never", audit.Warning,
		"after "+duration(*s.SlotIdle)+" without the sidecar the slot is lost, and changes with it",
		"ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()")
}

// muchRetained is worth a warning.
const muchRetained = 10 << 30

func (c *checker) checkRetained() {
	s := c.slot
	if s == nil || s.RetainedBytes == nil {
		return
	}
	message := "the slot holds back " + size(*s.RetainedBytes) + " of write-ahead log"
	if s.SafeBytes != nil {
		message += ", " + size(*s.SafeBytes) + " more and it may be lost"
	}
	switch {
	case *s.RetainedBytes >= muchRetained, s.SafeBytes != nil && *s.SafeBytes < *s.RetainedBytes:
		c.add(audit.Warning, "retained_wal", c.cfg.Slot, message, "pgwitness status")
	default:
		c.add(audit.OK, "retained_wal", c.cfg.Slot, message, "")
	}
}

// checkObjects looks at the schema pgwitness: functions as we ship them, keys
// that others cannot read.
func (c *checker) checkObjects() {
	o := c.objects
	c.either(o.Schema && o.Installed, "schema", "pgwitness", audit.Failure, "the schema pgwitness is not installed", setupVerb)
	for _, name := range c.cfg.functions() {
		c.checkFunction(name)
	}
	c.checkKeys()
	c.checkEventTriggers()
}

func (c *checker) checkFunction(name string) {
	state, err := c.functionState(name)
	switch {
	case err != nil:
		c.err = err
	case state == "":
		c.add(audit.OK, "functions", "pgwitness."+name, "as shipped", "")
	case state == "missing":
		c.add(audit.Failure, "functions", "pgwitness."+name, "missing: "+whyFunction(name), setupVerb)
	default:
		c.add(audit.Failure, "functions", "pgwitness."+name, "differs from the one shipped: of an older version, or tampered with", setupVerb)
	}
}

func (c *checker) checkKeys() {
	const subject = "pgwitness.secret"
	o, before := c.objects, len(c.findings)
	if c.keys == keysMissing {
		c.add(audit.Failure, "keys", subject, "there are no keys: stamps cannot be written", setupVerb)
		return
	}
	if !o.SidecarSecret || !o.SidecarInstalled && !c.server.SidecarSuperuser && c.sidecar != c.server.Role {
		c.add(audit.Failure, "keys", subject, fmt.Sprintf("the role %s of the sidecar may not read the keys", c.sidecar), setupVerb)
	}
	if !o.SecretGuarded {
		c.add(audit.Failure, "keys", subject, "members of pg_read_all_data can read the keys, and forge stamps with them", setupVerb)
	}
	for _, reader := range o.SecretReaders {
		c.add(audit.Failure, "keys", subject, reader+" has rights to the keys, and can forge stamps with them", revokeSecret(reader))
	}
	if len(c.findings) == before {
		c.add(audit.OK, "keys", subject, "present, and readable by the sidecar", "")
	}
}

func (c *checker) checkPublication() {
	const check = "publication"
	p, name := c.publication, c.cfg.Publication
	if p == nil {
		c.add(audit.Failure, check, name, "the publication does not exist: nothing is captured", setupVerb)
		return
	}
	before := len(c.findings)
	if p.AllTables {
		c.add(audit.Failure, check, name, "the publication is FOR ALL TABLES: any new table without a key will refuse UPDATE and DELETE",
			"DROP PUBLICATION "+quoted(name)+"; then "+setupVerb)
	}
	if !p.publishesAll() {
		c.add(audit.Failure, check, name, "the publication leaves out kinds of changes",
			"ALTER PUBLICATION "+quoted(name)+" SET (publish = 'insert, update, delete, truncate')")
	}
	if p.ViaRoot {
		c.add(audit.Info, check, name, "changes of partitions appear under the name of the partitioned table (publish_via_partition_root)", "")
	}
	if c.server.major() >= 18 && p.Generated != "s" {
		c.add(audit.Warning, check, name, "stored generated columns are not published: tables with such columns and replica identity FULL refuse UPDATE and DELETE",
			"ALTER PUBLICATION "+quoted(name)+" SET (publish_generated_columns = stored)")
	}
	if len(c.findings) == before {
		c.add(audit.OK, check, name, "publishes insert, update, delete and truncate", "")
	}
}
