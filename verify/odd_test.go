package verify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgwitness/pgwitness/audit"
)

// oddTrail is a sealed trail of entries with values that no application should
// write, and some do.
func oddTrail(n int) []audit.Entry {
	random := rand.New(rand.NewPCG(7, 7))
	texts := []audit.Text{
		nil, {}, audit.T("\x00"), audit.T("a\x00"), audit.T("\xff\xfe"), audit.T("\xc3\x28"), audit.T("n,"), audit.T("0:,"), audit.T("3:abc,"),
		audit.T("☃ 𝄞 '\"\\\t\n\r"), audit.T(strings.Repeat("x", 127)), audit.T(strings.Repeat("\x00", 128)), audit.T(strings.Repeat("9", 16_384)),
	}
	text := func() audit.Text { return texts[random.IntN(len(texts))] }
	entries := makeTrail(n)
	for i := range entries {
		e := &entries[i]
		for _, t := range []*audit.Text{
			&e.ActorID, &e.ActorEmail, &e.ActorRole, &e.ActorType, &e.ResourceType, &e.ResourceID, &e.Action, &e.OldValues, &e.NewValues,
			&e.Source, &e.IPAddress, &e.UserAgent, &e.GeoCountry, &e.GeoCity, &e.GeoLat, &e.GeoLon, &e.ReasonCode, &e.ReasonNote,
			&e.Attribution, &e.RequestID, &e.TraceID, &e.APIKeyID, &e.DBUser, &e.ApplicationName, &e.SchemaName, &e.TableName, &e.Operation,
		} {
			if random.IntN(3) > 0 {
				*t = text()
			}
		}
		e.Changed = [][]string{nil, {""}, {"", ""}, {"a,b"}, {"\x00", "\xff"}, {"größe"}}[random.IntN(6)]
		e.XID = []uint32{0, 9, 10, math.MaxUint32}[random.IntN(4)]
	}
	entries[n-1].CommitLSN, entries[n-1].Ordinal = math.MaxUint64, 0
	entries[n-1].ID = audit.EntryID(testStream, entries[n-1].Timestamp, entries[n-1].Position())
	g := testGenesis()
	reseal(entries, genesisHash(&g))
	return entries
}

// The verifier and the SQL of auditors say the same of odd values, and both find
// whatever is done to them.
func TestOddValues(t *testing.T) {
	const n = 601 // the last entry is the only one of its transaction
	db := pristine(t, oddTrail(n))
	if got := faults(verifyTrail(t, db.source(), Options{}, 0)); len(got) > 0 {
		t.Errorf("verifier: %s", got)
	}
	if got := db.sqlFile("entry_hash.sql"); got != cleanHashes(n) {
		t.Errorf("entry_hash.sql says %s", got)
	}
	if got := db.sqlFile("links.sql"); got != cleanLinks(n) {
		t.Errorf("links.sql says %s", got)
	}
	const null = "CAST(NULL, 'Nullable(String)')"
	for name, alter := range map[string]string{
		"NULL and empty":  "if(isNull(X), '', if(X = '', " + null + ", X))",
		"a zero more":     "concat(X, char(0))",
		"a zero less":     "if(endsWith(ifNull(X, ''), char(0)), substring(X, 1, length(X) - 1), X)",
		"another bad one": "replaceAll(X, char(255), char(254))",
		"repaired":        "toValidUTF8(X)",
	} {
		t.Run(name, func(t *testing.T) {
			db := db.in(t)
			var replaced, differs []string
			for _, column := range []string{"new_values", "actor_id", "attribution"} { // of each kind
				to := strings.ReplaceAll(alter, "X", column)
				replaced = append(replaced, fmt.Sprintf("CAST(if(sequence %% 7 = 3, %s, %s), 'Nullable(String)') AS %s", to, column, column))
				differs = append(differs, fmt.Sprintf("NOT (%[2]s <=> kept_%[1]s)", column, "l."+column))
			}
			db.restore("* REPLACE (" + strings.Join(replaced, ", ") + ")")
			changed := db.ch.Value(`SELECT arrayStringConcat(arrayMap(s -> toString(s), groupArraySorted(100)(l.sequence)), ',') FROM ` + db.ch.Database + `.audit_logs AS l INNER JOIN
				(SELECT sequence, new_values AS kept_new_values, actor_id AS kept_actor_id, attribution AS kept_attribution FROM ` + db.ch.Database + `.kept) AS k USING sequence
				WHERE ` + strings.Join(differs, " OR "))
			if changed == "" {
				t.Fatal("nothing was altered")
			}
			var want []string
			for sequence := range strings.SplitSeq(changed, ",") {
				want = append(want, "integrity content_altered "+sequence)
			}
			if diff := cmp.Diff(want, faults(verifyTrail(t, db.source(), Options{}, 0))); diff != "" {
				t.Errorf("verifier (-want +got):\n%s", diff)
			}
			if got, want := db.sqlFile("entry_hash.sql"), fmt.Sprintf("[%d,%d,[%s]]", n, len(want), changed); got != want {
				t.Errorf("entry_hash.sql says %s, want %s", got, want)
			}
		})
	}
}
