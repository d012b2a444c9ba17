package setup

import (
	"fmt"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// checkTables looks at every table, those that are audited and those that
// ought to be and cannot.
func (c *checker) checkTables() {
	audited := c.audited()
	c.either(len(audited) > 0, "tables", fmt.Sprintf("%d tables are audited", len(audited)), audit.Failure,
		"no table matches the configuration", "check the names under tables: they are case-sensitive, with schema, such as public.orders or public.*")
	c.checkNames()
	c.checkIdentityCost(audited)
	for _, t := range audited {
		c.checkPublished(t)
		c.checkIdentity(t)
		c.checkStamps(t)
		c.checkColumns(t)
		c.checkReadable(t)
		if t.RowSecurity {
			c.add(audit.Info, "row_level_security", t.subject(), "the trail holds all rows, also those that a policy hides from a role: the right to read the trail must be as narrow", "")
		}
	}
	for _, t := range c.tables {
		c.checkUnaudited(t)
	}
	c.checkNotCovered()
}

// checkReadable tells whether the sidecar can read the rows that are there.
func (c *checker) checkReadable(t *table) {
	const check = "baseline"
	if !c.cfg.Baseline || !t.holdsRows() {
		return
	}
	switch {
	case !t.Readable || !t.Reachable:
		c.add(audit.Warning, check, t.subject(), fmt.Sprintf("the role %s may not read the table: rows that were there before the stream are not in the trail", c.sidecar), setupVerb)
	case t.Filtered:
		c.add(audit.Warning, check, t.subject(), fmt.Sprintf("a row level security policy would hide rows from the role %s: rows that were there before the stream are not in the trail", c.sidecar),
			"ALTER ROLE "+quoted(c.sidecar)+" BYPASSRLS;")
	}
}

// checkNames reports configured names that mean no table.
func (c *checker) checkNames() {
	selection, err := newSelection(c.cfg)
	if err != nil {
		c.err = err
		return
	}
	for _, r := range selection.include {
		found := false
		for _, t := range c.tables {
			found = found || r.matches(t.Schema, t.Name)
		}
		switch {
		case !found && r.exact:
			c.add(audit.Failure, "tables", r.text, "the configured table does not exist", "correct the name under tables; names are case-sensitive")
		case !found:
			c.add(audit.Warning, "tables", r.text, "the configured pattern matches no table", "correct the pattern under tables")
		}
	}
}

func (c *checker) checkPublished(t *table) {
	const check = "published_tables"
	if c.publication == nil || c.publication.AllTables {
		return // said already, once
	}
	switch {
	case t.named() && !t.Member:
		c.add(audit.Failure, check, t.subject(), "the table is not in the publication: its changes are not captured", setupVerb)
	case t.RowFilter:
		c.add(audit.Failure, check, t.subject(), "the publication has a row filter: changes of other rows are not captured", setupVerb)
	case t.ColumnList:
		c.add(audit.Failure, check, t.subject(), "the publication has a column list: changes of other columns are not captured", setupVerb)
	case t.byParent && t.excluded:
		c.add(audit.Warning, check, t.subject(), "the partition is captured although it is excluded: it is published with its parent", "exclude the parent, or name the partitions one by one")
	default:
		c.add(audit.OK, check, t.subject(), "published", "")
	}
}

// checkIdentity tells what the log holds of old rows.
func (c *checker) checkIdentity(t *table) {
	const check = "replica_identity"
	if !t.holdsRows() {
		return
	}
	if !t.identifies(t.Identity) {
		c.checkRefusal(t)
		return
	}
	want := c.identityCode(t)
	switch {
	case t.Identity != want:
		c.add(audit.Warning, check, t.subject(), "replica identity "+identityName(t.Identity, t.IdentityIndex)+" instead of "+identityName(want, "")+lost(t.Identity), setupVerb)
	case want == "f":
		c.add(audit.OK, check, t.subject(), "FULL: entries have old values", "")
	case t.wanted == IdentityFull:
		c.add(audit.Warning, check, t.subject(), "DEFAULT instead of FULL: the table has virtual generated columns ("+list(t.VirtualColumns)+"), with which PostgreSQL 18 would refuse UPDATE and DELETE"+lost(want), "")
	default:
		c.add(audit.Info, check, t.subject(), identityName(t.Identity, t.IdentityIndex)+lost(want), "set replica_identity: full for "+t.subject())
	}
}

// lost is what a replica identity other than FULL does not log.
func lost(code string) string {
	if code == "f" {
		return ""
	}
	return ": entries of UPDATE and DELETE have no old values, and unchanged values that are stored out of line (TOAST) are unknown"
}

// checkIdentityCost tells the price of FULL once. The figures are of a table of
// 8 columns and 330 bytes per row; see docs/overhead.md.
func (c *checker) checkIdentityCost(audited []*table) {
	n := 0
	for _, t := range audited {
		if t.holdsRows() && c.identityCode(t) == "f" {
			n++
		}
	}
	if n > 0 {
		c.add(audit.Info, "replica_identity", "", fmt.Sprintf("FULL on %d tables writes each old row to the log: an UPDATE of one row of 330 bytes takes 808 bytes instead of 479", n),
			"replica_identity: default, where old values are not worth that")
	}
}

// checkRefusal: a published table whose rows cannot be told apart.
func (c *checker) checkRefusal(t *table) {
	message := "the table has no primary key: once published, PostgreSQL refuses the application's UPDATE and DELETE"
	if t.HasKey && !t.UsableKey {
		message = "the primary key is deferrable: once published, PostgreSQL refuses the application's UPDATE and DELETE"
	}
	switch {
	case t.Published:
		c.add(audit.Failure, "primary_key", t.subject(), strings.Replace(message, "once published, PostgreSQL refuses", "PostgreSQL refuses, right now,", 1),
			"ALTER TABLE "+t.sql()+" REPLICA IDENTITY FULL")
	case t.identifies(c.identityCode(t)):
		c.add(audit.Info, "primary_key", t.subject(), message+"; setup gives it replica identity FULL before", setupVerb)
	default:
		c.add(audit.Failure, "primary_key", t.subject(), message, c.keyFix(t))
	}
}

func (c *checker) checkStamps(t *table) {
	const check = "stamp_triggers"
	subject := t.subject()
	switch {
	case t.Stamps && t.TruncationStamps:
		c.add(audit.OK, check, subject, "stamps are written before every statement", "")
	case !t.HasStamp && !t.HasTruncationStamp && t.Partition:
		c.add(audit.Failure, check, subject, "the partition has no stamp triggers: those of its parent do not fire for statements that name the partition", setupVerb)
	case !t.HasStamp && !t.HasTruncationStamp:
		c.add(audit.Failure, check, subject, "the table has no stamp triggers: nobody is named for its changes", setupVerb)
	default:
		c.add(audit.Failure, check, subject, "a stamp trigger is missing, disabled or altered: somebody may have worked past it", setupVerb)
	}
}

func (c *checker) checkColumns(t *table) {
	const check = "generated_columns"
	if len(t.StoredColumns) > 0 && c.server.major() < 18 {
		c.add(audit.Info, check, t.subject(), "before PostgreSQL 18 stored generated columns are not captured: "+list(t.StoredColumns), "")
	}
	if len(t.VirtualColumns) > 0 {
		c.add(audit.Info, check, t.subject(), "virtual generated columns are in no log, and not captured: "+list(t.VirtualColumns), "")
	}
}

// checkUnaudited reports tables that are meant and cannot be captured, and
// tables that are captured and are not meant.
func (c *checker) checkUnaudited(t *table) {
	meant := t.matched || t.byParent
	switch {
	case meant && t.Kind == "f":
		c.add(audit.Warning, "not_covered", t.subject(), "a foreign table: its rows are written elsewhere, and are not in this log", "exclude it; audit the other database")
	case meant && t.Persistence == "u":
		c.add(audit.Warning, "not_covered", t.subject(), "an UNLOGGED table: its changes are not in the log", "ALTER TABLE "+t.sql()+" SET LOGGED; or exclude it")
	case !meant && t.Published:
		c.add(audit.Warning, "published_tables", t.subject(), "the table is published, and is not configured", "name it under tables, or ALTER PUBLICATION "+quoted(c.cfg.Publication)+" DROP TABLE "+t.sql())
	case !meant && (t.HasStamp || t.HasTruncationStamp):
		c.add(audit.Info, "stamp_triggers", t.subject(), "the table has a stamp trigger, and is not configured", "DROP TRIGGER IF EXISTS pgwitness_stamp ON "+t.sql()+"; DROP TRIGGER IF EXISTS pgwitness_stamp_truncate ON "+t.sql())
	case !meant && t.heir && t.logged():
		c.add(audit.Warning, "inheritance", t.subject(), "the table inherits from another, and is not configured: what is done to it by way of the parent is not captured either", "name it under tables")
	}
}

// checkNotCovered lists what no logical decoding tells.
func (c *checker) checkNotCovered() {
	n := c.notCovered
	if n.LargeObjects > 0 {
		c.add(audit.Warning, "not_covered", "large objects", fmt.Sprintf("%d large objects are not captured", n.LargeObjects), "keep such data in a bytea column")
	}
	c.add(audit.Info, "not_covered", "sequences", fmt.Sprintf("%d sequences are not captured; the values that rows took from them are", n.Sequences), "")
	c.add(audit.Info, "not_covered", "views", fmt.Sprintf("%d views hold no rows of their own; changes through them appear under their tables", n.Views), "")
	c.add(audit.Info, "not_covered", "temporary tables", "they belong to one session, and are not captured", "")
}
