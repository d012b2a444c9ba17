package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

const trailLength = 3000 // entries; the month ends after some two thousand

// victim is the sequence that most cases tamper with.
const victim = 1500

// clean is what the SQL files answer about a trail of n entries that holds.
func cleanHashes(n int) string { return fmt.Sprintf("[%d,0,[]]", n) }
func cleanLinks(n int) string  { return fmt.Sprintf("[%d,1,0,%d,[],[],[],[],[]]", n, n-1) }

// pristine is a trail in ClickHouse that can be brought back after each case.
func pristine(t *testing.T, entries []audit.Entry) *database {
	t.Helper()
	db := newDatabase(t)
	db.store(entries)
	db.exec("CREATE TABLE kept AS audit_logs")
	db.exec("CREATE TABLE kept_genesis AS genesis")
	db.exec("INSERT INTO kept SELECT * FROM audit_logs")
	db.exec("INSERT INTO kept_genesis SELECT * FROM genesis")
	return db
}

// restore fills audit_logs with what was kept; columns is "*" or a list with
// what is to be altered on the way.
func (db *database) restore(columns string) {
	db.t.Helper()
	db.exec("TRUNCATE TABLE audit_logs")
	db.exec("INSERT INTO audit_logs SELECT " + columns + " FROM kept SETTINGS insert_deduplicate = 0")
}

// hashedColumns are all columns that a hash covers, each with an expression that
// alters the smallest thing in it.
func hashedColumns() map[string]string {
	columns := map[string]string{
		"id":         "reinterpretAsUUID(bitXor(reinterpretAsUInt128(id), 1))",
		"timestamp":  "timestamp + toIntervalMicrosecond(1)",
		"changed":    "['statut', 'total']",
		"xid":        "bitXor(xid, 1)",
		"commit_lsn": "bitXor(commit_lsn, 1)",
		"ordinal":    "bitXor(ordinal, 2)",
		"salt":       flipped("salt", 16, "FixedString(16)"),
	}
	for _, name := range strings.Fields(`actor_id actor_email actor_role actor_type resource_type resource_id action old_values new_values
		source ip_address user_agent geo_country geo_city geo_lat geo_lon reason_code reason_note attribution request_id trace_id
		api_key_id db_user application_name schema_name table_name operation`) {
		columns[name] = flipped(name, 1, "Nullable(String)")
	}
	return columns
}

// flipped is SQL for a column with the lowest bit of its byte n turned over.
func flipped(column string, n int, as string) string {
	return fmt.Sprintf("CAST(concat(substring(%[1]s, 1, %[2]d - 1), char(bitXor(ascii(substring(%[1]s, %[2]d, 1)), 1)), substring(%[1]s, %[2]d + 1)), '%[3]s')", column, n, as)
}

// One flipped bit in one column of one stored entry, another entry for each
// column: the Go verifier and the SQL file both name these entries, and no
// others.
func TestEveryHashedColumn(t *testing.T) {
	db := pristine(t, makeTrail(trailLength))
	columns := hashedColumns()
	if n := len(strings.Split(db.columns(), ",")); len(columns) != n-3 { // stream, sequence and seal have cases of their own
		t.Errorf("%d columns are tried, the table has %d hashed ones: %s", len(columns), n-3, db.columns())
	}
	var replaced, want, sequences []string
	for i, name := range slices.Sorted(maps.Keys(columns)) {
		sequence := 10 + 75*i
		replaced = append(replaced, fmt.Sprintf("if(sequence = %d, %s, %s) AS %s", sequence, columns[name], name, name))
		want = append(want, fmt.Sprintf("%s: integrity content_altered %d", name, sequence))
		sequences = append(sequences, fmt.Sprint(sequence))
	}
	db.restore("* REPLACE (" + strings.Join(replaced, ", ") + ")")

	got := faults(verifyTrail(t, db.source(), Options{}, 0))
	for i := range min(len(got), len(want)) {
		name, _, _ := strings.Cut(want[i], ":")
		got[i] = name + ": " + got[i]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verifier (-want +got):\n%s", diff)
	}
	if got, want := db.sqlFile("entry_hash.sql"), fmt.Sprintf("[%d,%d,[%s]]", trailLength, len(columns), strings.Join(sequences, ",")); got != want {
		t.Errorf("entry_hash.sql says %s, want %s", got, want)
	}
}

// columns lists the columns of audit_logs that are stored, stored_at apart.
func (db *database) columns() string {
	db.t.Helper()
	return db.ch.Value("SELECT arrayStringConcat(groupArray(name), ',') FROM system.columns WHERE database = ? AND table = 'audit_logs' AND default_kind = ''", db.ch.Database)
}

// in is the same database for a subtest.
func (db *database) in(t *testing.T) *database {
	sub := *db
	sub.t = t
	return &sub
}

// corruption is one way to tamper with a trail, in the words of an
// administrator of ClickHouse, and who finds it where.
type corruption struct {
	name       string
	statements []string
	want       []string // findings of the verifier; none: only checkpoints kept elsewhere tell
	hashes     string   // what entry_hash.sql answers; "" for clean
	links      string   // what links.sql answers; "" for clean
}

func corruptions() []corruption {
	const sync = " SETTINGS mutations_sync = 2"
	return []corruption{
		{
			name:       "edited-actor",
			statements: []string{"ALTER TABLE audit_logs UPDATE actor_id = 'user:99' WHERE sequence = 1500" + sync},
			want:       []string{"integrity content_altered 1500"},
			hashes:     "[3000,1,[1500]]",
		},
		{
			name:       "emptied-reason", // NULL became '': 1509 had no note
			statements: []string{"ALTER TABLE audit_logs UPDATE reason_note = '' WHERE sequence = 1509" + sync},
			want:       []string{"integrity content_altered 1509"},
			hashes:     "[3000,1,[1509]]",
		},
		{
			name:       "forgotten-reason", // '' became NULL
			statements: []string{"ALTER TABLE audit_logs UPDATE reason_note = NULL WHERE sequence = 1508" + sync},
			want:       []string{"integrity content_altered 1508"},
			hashes:     "[3000,1,[1508]]",
		},
		{
			name:       "edited-first",
			statements: []string{"ALTER TABLE audit_logs UPDATE action = 'create' WHERE sequence = 0" + sync},
			want:       []string{"integrity content_altered 0"},
			hashes:     "[3000,1,[0]]",
		},
		{
			name:       "edited-last",
			statements: []string{"ALTER TABLE audit_logs UPDATE action = 'create' WHERE sequence = 2999" + sync},
			want:       []string{"integrity content_altered 2999"},
			hashes:     "[3000,1,[2999]]",
		},
		{
			name:       "edited-prev-hash",
			statements: []string{"ALTER TABLE audit_logs UPDATE seal = " + flipped("seal", 1, "FixedString(64)") + " WHERE sequence = 1500" + sync},
			want:       []string{"integrity prev_hash_altered 1500"},
			hashes:     "[3000,1,[1500]]",
			links:      "[3000,1,0,2999,[1500],[],[],[],[]]",
		},
		{
			name:       "edited-entry-hash",
			statements: []string{"ALTER TABLE audit_logs UPDATE seal = " + flipped("seal", 64, "FixedString(64)") + " WHERE sequence = 1500" + sync},
			want:       []string{"integrity entry_hash_altered 1500"},
			hashes:     "[3000,1,[1500]]",
			links:      "[3000,1,0,2999,[1501],[],[],[],[]]",
		},
		{
			name:       "deleted-row",
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence = 1500" + sync},
			want:       []string{"completeness missing 1500"},
			hashes:     "[2999,0,[]]",
			links:      "[2999,1,0,2999,[],[[1500,1500]],[],[],[]]",
		},
		{
			name:       "deleted-range",
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence BETWEEN 1000 AND 1999" + sync},
			want:       []string{"completeness missing 1000 to 1999"},
			hashes:     "[2000,0,[]]",
			links:      "[2000,1,0,2999,[],[[1000,1999]],[],[],[]]",
		},
		{
			name:       "deleted-head",
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence < 10" + sync},
			want:       []string{"completeness missing 0 to 9"},
			hashes:     "[2990,0,[]]",
			links:      "[2990,1,10,2999,[],[[0,9]],[],[],[]]",
		},
		{
			name:       "duplicated-row",
			statements: []string{"INSERT INTO audit_logs SELECT * FROM kept WHERE sequence = 1500 SETTINGS insert_deduplicate = 0"},
			want:       []string{"completeness duplicate 1500"},
			hashes:     "[3001,0,[]]",
			links:      "[3001,1,0,2999,[],[],[1500],[],[]]",
		},
		{
			name:       "edited-duplicate",
			statements: []string{"INSERT INTO audit_logs SELECT * REPLACE ('user:99' AS actor_id) FROM kept WHERE sequence = 1500 SETTINGS insert_deduplicate = 0"},
			want:       []string{"integrity content_altered 1500", "completeness duplicate 1500"},
			hashes:     "[3001,1,[1500]]",
			links:      "[3001,1,0,2999,[],[],[1500],[],[]]",
		},
		{
			name: "swapped-order", // two neighbours changed places
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence IN (1500, 1501)" + sync,
				"INSERT INTO audit_logs SELECT * REPLACE (3001 - kept.sequence AS sequence) FROM kept WHERE kept.sequence IN (1500, 1501)"},
			want:   []string{"integrity swapped 1500", "integrity swapped 1501"},
			hashes: "[3000,2,[1500,1501]]",
			links:  "[3000,1,0,2999,[1500,1501,1502],[],[],[1501],[1500,1501,1502]]",
		},
		{
			name: "swapped-far-apart",
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence IN (300, 2700)" + sync,
				"INSERT INTO audit_logs SELECT * REPLACE (3000 - kept.sequence AS sequence) FROM kept WHERE kept.sequence IN (300, 2700)"},
			want:   []string{"integrity swapped 300", "integrity swapped 2700"},
			hashes: "[3000,2,[300,2700]]",
			links:  "[3000,1,0,2999,[300,301,2700,2701],[],[],[301,2700],[301,2701]]",
		},
		{
			name:       "renamed-stream", // the entry was moved out of sight
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence = 1500" + sync, "INSERT INTO audit_logs SELECT * REPLACE ('shoq' AS stream) FROM kept WHERE sequence = 1500"},
			want:       []string{"completeness missing 1500"},
			hashes:     "[2999,0,[]]",
			links:      "[2999,1,0,2999,[],[[1500,1500]],[],[],[]]",
		},
		{
			name:       "renumbered-row",
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence = 1500" + sync, "INSERT INTO audit_logs SELECT * REPLACE (1501 AS sequence) FROM kept WHERE kept.sequence = 1500"},
			want:       []string{"integrity content_altered 1501", "completeness missing 1500", "completeness duplicate 1501"},
			hashes:     "[3000,1,[1501]]",
			links:      "[3000,1,0,2999,[],[[1500,1500]],[1501],[],[]]",
		},
		{
			name:       "far-away-row", // a sequence that would make segments of it all too many
			statements: []string{"INSERT INTO audit_logs SELECT * REPLACE (1000000000000 AS sequence) FROM kept WHERE kept.sequence = 1500"},
			want:       []string{"integrity content_altered 1000000000000", "completeness missing 3000 to 999999999999"},
			hashes:     "[3001,1,[1000000000000]]",
			links:      "[3001,1,0,1000000000000,[],[[3000,999999999999]],[],[],[]]",
		},
		{
			name:       "other-genesis",
			statements: []string{"TRUNCATE TABLE genesis", "INSERT INTO genesis SELECT * REPLACE ('8' AS system_id) FROM kept_genesis"},
			want:       []string{"integrity genesis_mismatch 0"},
			links:      "[3000,1,0,2999,[0],[],[],[],[]]",
		},
		{
			name:       "second-genesis",
			statements: []string{"INSERT INTO genesis SELECT * REPLACE ('8' AS system_id) FROM kept_genesis"},
			want:       []string{"integrity genesis_mismatch 0"},
			links:      "[3000,2,0,2999,[],[],[],[],[]]",
		},
		{
			name:       "lost-genesis",
			statements: []string{"TRUNCATE TABLE genesis"},
			want:       []string{"integrity genesis_mismatch 0"},
			links:      "[3000,0,0,2999,[0],[],[],[],[]]",
		},
		{
			name:       "truncated-tail", // passes every check inside of the database
			statements: []string{"ALTER TABLE audit_logs DELETE WHERE sequence >= 2900" + sync},
			hashes:     cleanHashes(2900),
			links:      cleanLinks(2900),
		},
	}
}

func TestCorruptions(t *testing.T) {
	db := pristine(t, makeTrail(trailLength))
	for _, c := range corruptions() {
		t.Run(c.name, func(t *testing.T) {
			db := db.in(t)
			db.restore("*")
			db.exec("TRUNCATE TABLE genesis")
			db.exec("INSERT INTO genesis SELECT * FROM kept_genesis SETTINGS insert_deduplicate = 0")
			for _, s := range c.statements {
				db.exec(s)
			}
			checkCorruption(t, db, c)
		})
	}
}

func checkCorruption(t *testing.T, db *database, c corruption) {
	t.Helper()
	report := verifyTrail(t, db.source(), Options{}, 0)
	if diff := cmp.Diff(c.want, faults(report)); diff != "" {
		t.Errorf("verifier (-want +got):\n%s", diff)
	}
	if report.Holds() != (len(c.want) == 0) {
		t.Errorf("verifier says holds: %v", report.Holds())
	}
	if c.hashes == "" {
		c.hashes = cleanHashes(trailLength)
	}
	if got := db.sqlFile("entry_hash.sql"); got != c.hashes {
		t.Errorf("entry_hash.sql says %s, want %s", got, c.hashes)
	}
	if c.links == "" {
		c.links = cleanLinks(trailLength)
	}
	if got := db.sqlFile("links.sql"); got != c.links {
		t.Errorf("links.sql says %s, want %s", got, c.links)
	}
}

// Tampering by somebody who can compute hashes, before or after the sealing.
func TestForgeries(t *testing.T) {
	tests := []struct {
		corruption
		forge func(entries []audit.Entry) []audit.Entry
	}{
		{
			// Passes every check inside of the database: only checkpoints kept
			// elsewhere tell.
			corruption: corruption{name: "rechained-suffix"},
			forge: func(es []audit.Entry) []audit.Entry {
				es[victim].ActorID = audit.T("user:99")
				reseal(es[victim:], es[victim-1].Hash)
				return es
			},
		},
		{
			corruption: corruption{
				name: "rehashed-row", want: []string{"integrity link_broken 1501"},
				links: "[3000,1,0,2999,[1501],[],[],[],[]]",
			},
			forge: func(es []audit.Entry) []audit.Entry {
				es[victim].ActorID = audit.T("user:99")
				reseal(es[victim:victim+1], es[victim-1].Hash)
				return es
			},
		},
		{
			corruption: corruption{
				name: "forked-head", want: []string{"completeness duplicate 2999"},
				hashes: "[3001,0,[]]", links: "[3001,1,0,2999,[],[],[2999],[],[]]",
			},
			forge: func(es []audit.Entry) []audit.Entry {
				fork := es[2999]
				fork.ActorID = audit.T("user:99")
				es = append(es, fork)
				reseal(es[3000:], es[2998].Hash)
				return es
			},
		},
		{
			corruption: corruption{
				name: "left-out-before-sealing", want: []string{"completeness ordinal_hole 1501"},
				links: "[3000,1,0,2999,[],[],[],[],[1501]]",
			},
			forge: func(es []audit.Entry) []audit.Entry {
				es = slices.Delete(append(es, makeEntry(trailLength)), victim+1, victim+2)
				for i := range es {
					es[i].Sequence = uint64(i)
				}
				reseal(es[victim:], es[victim-1].Hash)
				return es
			},
		},
		{
			corruption: corruption{
				name: "sealed-out-of-order", want: []string{"completeness out_of_order 1503"},
				links: "[3000,1,0,2999,[],[],[],[1503],[]]",
			},
			forge: func(es []audit.Entry) []audit.Entry {
				transactions := slices.Concat(es[1503:1506], es[1500:1503])
				es = slices.Concat(es[:1500], transactions, es[1506:])
				for i := range es {
					es[i].Sequence = uint64(i)
				}
				reseal(es[victim:], es[victim-1].Hash)
				return es
			},
		},
		{
			corruption: corruption{name: "foreign-id", want: []string{"completeness wrong_id 1500"}},
			forge: func(es []audit.Entry) []audit.Entry {
				es[victim].ID[15] ^= 1
				reseal(es[victim:], es[victim-1].Hash)
				return es
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := newDatabase(t)
			db.store(tt.forge(makeTrail(trailLength)))
			checkCorruption(t, db, tt.corruption)
		})
	}
}
