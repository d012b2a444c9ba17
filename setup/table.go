package setup

// table is a relation that could be audited, as check/tables.sql reads it.
type table struct {
	OID                uint32   `db:"oid"`
	Schema             string   `db:"schema"`
	Name               string   `db:"name"`
	Kind               string   `db:"kind"`
	Persistence        string   `db:"persistence"`
	Partition          bool     `db:"partition"`
	Ancestors          []uint32 `db:"ancestors"`
	Parents            []uint32 `db:"parents"`
	Owned              bool     `db:"owned"`
	Identity           string   `db:"identity"`
	IdentityIndex      string   `db:"identity_index"`
	HasKey             bool     `db:"has_key"`
	UsableKey          bool     `db:"usable_key"`
	RowSecurity        bool     `db:"row_security"`
	StoredColumns      []string `db:"stored_columns"`
	VirtualColumns     []string `db:"virtual_columns"`
	Member             bool     `db:"member"`
	RowFilter          bool     `db:"row_filter"`
	ColumnList         bool     `db:"column_list"`
	Published          bool     `db:"published"`
	Stamps             bool     `db:"stamps"`
	TruncationStamps   bool     `db:"truncation_stamps"`
	HasStamp           bool     `db:"has_stamp"`
	HasTruncationStamp bool     `db:"has_truncation_stamp"`
	Readable           bool     `db:"readable"`
	Reachable          bool     `db:"reachable"`
	Filtered           bool     `db:"filtered"`

	matched  bool   // meant by the configuration itself
	byParent bool   // a parent of this partition is
	heir     bool   // a table that it inherits from is
	excluded bool   // taken out by the configuration
	wanted   string // replica identity configured: full, default or keep
}

// subject names the table in findings.
func (t *table) subject() string { return t.Schema + "." + t.Name }

// sql is the table in SQL.
func (t *table) sql() string { return quoted(t.Schema, t.Name) }

// logged reports whether the write-ahead log tells the changes of the rows.
func (t *table) logged() bool { return t.Kind != "f" && t.Persistence == "p" }

// audited reports whether the changes of the table are to be captured.
func (t *table) audited() bool { return t.logged() && (t.matched || t.byParent) }

// holdsRows is false for a partitioned table, whose rows lie in its partitions.
func (t *table) holdsRows() bool { return t.Kind == "r" }

// named reports whether the table must be named in the publication: partitions
// are published with the parent.
func (t *table) named() bool { return t.audited() && !t.byParent }

// identityCode is what pg_class.relreplident is to become. An index that is
// the replica identity already serves as well as the primary key.
func (t *table) identityCode() string {
	switch t.wanted {
	case IdentityFull:
		return "f"
	case IdentityDefault:
		return "d"
	}
	return t.Identity
}

// identifies reports whether rows can be told apart under the replica identity
// code. If not, PostgreSQL refuses UPDATE and DELETE on a published table.
func (t *table) identifies(code string) bool {
	switch code {
	case "f":
		return true
	case "d":
		return t.UsableKey
	case "i":
		return t.IdentityIndex != ""
	}
	return false
}

// identityName is a replica identity in SQL.
func identityName(code, index string) string {
	switch code {
	case "f":
		return "FULL"
	case "n":
		return "NOTHING"
	case "i":
		return "USING INDEX " + quoted(index)
	}
	return "DEFAULT"
}
